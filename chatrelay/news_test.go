// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"fmt"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// listed waits for a frame that says what the desk lists of a room.
func (c *client) listed(what string, room string, fits func(chat.Summary) bool) chat.Summary {
	c.t.Helper()
	return *c.until(what, func(f *frame.Frame) bool {
		return f.T == frame.TRoom && f.Room == room && f.Summary != nil && fits(*f.Summary)
	}).Summary
}

// A desk learns from frames all that its list shows, few of them for many
// messages, also on a device that is elsewhere.
func TestNewsBringWhatTheDeskLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	me := kim.typ(frame.TWelcome).Me
	one, two := w.device("one"), w.device("two")
	for i := range 30 {
		kim.send(frame.Frame{T: frame.TSay, ID: fmt.Sprint(i), Text: fmt.Sprintf("message %d", i)})
	}
	got := one.listed("the last message", w.room, func(c chat.Summary) bool { return c.Last.Text == "message 29" })
	if got.Unread != 30 || !got.Talked || got.Last.From != me || got.People != 3 || len(got.Participants) != 3 {
		t.Errorf("summary %+v", got)
	}
	if n := len(one.seen); n > 15 {
		t.Errorf("%d frames for 30 messages", n)
	}
	host := w.in(w.desk(), frame.Frame{})
	host.text("message 29")
	host.send(frame.Frame{T: frame.TSeen, Offset: got.Last.Offset})
	two.listed("nothing unread", w.room, func(c chat.Summary) bool { return c.Unread == 0 })

	// A mail that is sent appears.
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "n1@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host, Name: "Host"},
		Recipients: []chat.Person{{Addr: "pat@far.example"}}, Subject: "Invoice", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if c := two.listed("the mail", o.Room, func(chat.Summary) bool { return true }); c.Talked || c.Subject != "Invoice" {
		t.Errorf("summary %+v", c)
	}
}

// A missed call that is dismissed at one desk is gone from all, and does not
// ring at the next sign-on.
func TestDismissedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	kim.send(frame.Frame{T: frame.TLeave})
	eventually(t, "the room ends", func() bool { return !w.relay.isLive(w.room) })
	one := w.device("one")
	if !one.typ(frame.TRing).Ring.Waiting {
		t.Fatal("no ring waits")
	}
	if err := w.relay.Dismiss(t.Context(), w.host, w.room); err != nil {
		t.Fatal(err)
	}
	one.listed("no missed call", w.room, func(c chat.Summary) bool { return c.Missed == nil })
	if w.device("two").settle().had(frame.TRing) {
		t.Error("it rings again")
	}
}

// What one relay knows of a group's room, a member's desk at another shows.
func TestNewsAcrossRelays(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, withSales)
	home, other := all[0], all[1]
	roomID, token := home.salesMail()
	desk := other.deviceOf(joon, "far")
	kim := home.come(home.chat(token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "how much?"})
	c := desk.listed("the question", roomID, func(c chat.Summary) bool { return c.Last.Text == "how much?" })
	if len(c.Teams) != 1 || c.Teams[0].Group != sales || c.Unread != 1 {
		t.Errorf("summary %+v", c)
	}
}
