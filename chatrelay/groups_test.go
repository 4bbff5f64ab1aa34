// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

const mina, joon, sales = "mina@mall.example", "joon@mall.example", "sales@mall.example"

func withSales(o *Options) {
	o.Interval = time.Minute
	o.Groups = map[string][]string{"Sales@mall.example": {mina, joon}}
}

// salesMail is a mail that Mina wrote as Sales, and the link in it.
func (w *world) salesMail() (roomID, token string) {
	w.t.Helper()
	o, err := w.rooms.OpenFromMail(w.t.Context(), chat.Mail{MessageID: "g1@mall.example",
		Sender:     chat.Person{Login: mina, Addr: sales, Name: "Sales"},
		Recipients: []chat.Person{{Addr: "kim@far.example", Name: "Kim"}}, Subject: "Offer", Date: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return o.Room, o.Invites["kim@far.example"]
}

func TestGroupRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	roomID, token := w.salesMail()
	kim := w.in(w.chat(token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.State != frame.Off {
		t.Fatalf("status %+v", f.Status)
	}
	one, two := w.deviceOf(mina, "one"), w.deviceOf(joon, "two")
	kim.status(frame.Available)

	// One declines, the other rings on; both decline.
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Ringing); len(f.Attempt.Devices) != 2 {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	ring := one.typ(frame.TRing).Ring
	if two.typ(frame.TRing); ring.Group != "Sales" || ring.Room != roomID {
		t.Fatalf("ring %+v", ring)
	}
	one.send(frame.Frame{T: frame.TDecline, AttemptID: ring.Attempt})
	if f := one.typ(frame.TRingEnd); f.Code != frame.EndDeclined {
		t.Fatalf("%+v", f)
	}
	if two.settle().had(frame.TRingEnd) {
		t.Fatal("the other stopped ringing")
	}
	two.send(frame.Frame{T: frame.TDecline, AttemptID: ring.Attempt, Text: "lunch"})
	if f := kim.state(attempt.Declined); f.Attempt.Words != "lunch" {
		t.Fatalf("attempt %+v", f.Attempt)
	}

	// The first to answer takes it and is in the room, the other is told who.
	kim.send(frame.Frame{T: frame.TAttempt})
	two.send(frame.Frame{T: frame.TAnswer, AttemptID: two.typ(frame.TRing).Ring.Attempt})
	f := kim.state(attempt.Answered)
	by := f.Attempt.By
	if f := kim.text("answered"); f.Msg.From != by || by == 0 {
		t.Fatalf("note %+v, by %d", f.Msg, by)
	}
	if f := one.until("elsewhere", func(f *frame.Frame) bool {
		return f.T == frame.TRingEnd && f.Code == frame.EndElsewhere
	}); f.Name != joon {
		t.Fatalf("%+v", f)
	}
	two.until("answered", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.Code == frame.EndAnswered })
	e, err := w.relay.Enter(t.Context(), signedIn(joon, ""), roomID)
	if err != nil || e.Me != by {
		t.Fatalf("entry %+v, %v, by %d", e, err, by)
	}
	member := w.in(e, frame.Frame{})
	member.text("answered")
	member.send(frame.Frame{T: frame.TSay, ID: "a", Text: "good day"})
	kim.text("good day")
	// Who is here needs no ring; what a member calls is the customer, not the group.
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.typ(frame.TState)
	one.seen = nil
	if one.settle().had(frame.TRing) {
		t.Error("it rings though a member is here")
	}
	kim.send(frame.Frame{T: frame.TLeave})
	member.until("Kim is gone", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 1 })
	member.send(frame.Frame{T: frame.TAttempt})
	if f := member.until("an alarm for Kim", func(f *frame.Frame) bool {
		return f.T == frame.TState && f.Attempt.State == attempt.Alarmed
	}); f.Attempt.Caller != by {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	if m := w.mail.all(); len(m) != 1 || m[0].To.Addr != "kim@far.example" {
		t.Errorf("mails %+v", m)
	}
}

// Nobody of the group is there: each gets a mail with a link, and a ring that
// waits; who comes first has it.
func TestGroupAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	roomID, token := w.salesMail()
	kim := w.in(w.chat(token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	mails := w.mail.all()
	to := []string{}
	for _, m := range mails {
		to = append(to, m.To.Addr)
	}
	if slices.Sort(to); !slices.Equal(to, []string{joon, mina}) {
		t.Fatalf("mails to %v", to)
	}
	kim.send(frame.Frame{T: frame.TLeave})
	eventually(t, "the room ends", func() bool {
		h := w.relay.use(roomID, nil)
		if h != nil {
			h.leave()
		}
		return h == nil
	})
	one, two := w.deviceOf(mina, "one"), w.deviceOf(joon, "two")
	ring := one.typ(frame.TRing).Ring
	if two.typ(frame.TRing); !ring.Waiting || ring.Group != "Sales" {
		t.Fatalf("ring %+v", ring)
	}
	two.send(frame.Frame{T: frame.TDecline, AttemptID: ring.Attempt})
	two.typ(frame.TRingEnd)
	one.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	one.until("answered", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.Code == frame.EndAnswered })
	e, err := w.relay.Enter(t.Context(), signedIn(mina, ""), roomID)
	if err != nil {
		t.Fatal(err)
	}
	member := w.in(e, frame.Frame{})
	member.state(attempt.Answered)
	eventually(t, "the ring waits no more", func() bool {
		waiting, err := w.rooms.WaitingFor(t.Context(), joon)
		return err == nil && len(waiting) == 0
	})
	if w.deviceOf(joon, "three").settle().had(frame.TRing) {
		t.Error("the ring still waits")
	}
	if _, err := w.relay.Enter(t.Context(), signedIn(w.host, ""), roomID); err == nil {
		t.Error("somebody who is no member came in")
	}
	// The link in a member's mail opens the room, too.
	_, link, _ := strings.Cut(mails[0].Text, "/c/")
	link, _, _ = strings.Cut(link, "\n")
	w.in(w.chat(link, 5), frame.Frame{}).typ(frame.TWelcome)
}

// The members are at different relays, and so is what a login has set.
func TestGroupAndSettingsAcrossRelays(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, withSales)
	home, other := all[0], all[1]
	roomID, token := home.salesMail()
	eventually(t, "a grant", func() bool { _, err := home.dir.Grant(t.Context(), sales); return err == nil })
	e := home.chat(token, 1)
	one, two := home.deviceOf(mina, "one"), other.deviceOf(joon, "two")
	kim := home.come(e, frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.State != frame.Available {
		t.Fatalf("status %+v", f.Status)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Ringing)
	ring := two.typ(frame.TRing).Ring
	one.typ(frame.TRing)
	two.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	if f := one.typ(frame.TRingEnd); f.Code != frame.EndElsewhere || f.Name != joon {
		t.Fatalf("%+v", f)
	}
	if f := two.typ(frame.TRingEnd); f.Code != frame.EndAnswered {
		t.Fatalf("%+v", f)
	}
	kim.state(attempt.Answered)
	entry, err := other.relay.Enter(t.Context(), signedIn(joon, ""), roomID)
	if err != nil {
		t.Fatal(err)
	}
	member := other.come(entry, frame.Frame{})
	member.typ(frame.TWelcome)
	member.send(frame.Frame{T: frame.TLeave})

	// Do not disturb, set at one relay, counts at the other at once.
	lee := home.come(home.chat(home.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	desk := other.device("desk")
	lee.status(frame.Available)
	other.set(func(s *chat.Settings) { s.Availability = chat.DoNotDisturb })
	lee.status(frame.DND)
	lee.send(frame.Frame{T: frame.TAttempt})
	if f := lee.state(attempt.Alarmed); f.Attempt.Why != frame.DND {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	other.set(func(s *chat.Settings) { s.Availability, s.Chats = chat.Available, 1 })
	lee.state(attempt.Ringing)
	id := desk.typ(frame.TRing).Ring.Attempt
	// Blocked at one, refused at the other.
	if err := other.relay.Block(t.Context(), other.host, home.room, lee.seen[0].Me, true); err != nil {
		t.Fatal(err)
	}
	desk.until("the end", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.AttemptID == id })
	if err := other.relay.Unblock(t.Context(), other.host, "lee@far.example"); err != nil {
		t.Fatal(err)
	}
	lee.send(frame.Frame{T: frame.TCancel})
	lee.state(attempt.Cancelled)

	// A chat in a room of the other relay makes busy here.
	var elsewhere string
	o, err := other.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "b1@mall.example",
		Sender:     chat.Person{Login: home.host, Addr: home.host},
		Recipients: []chat.Person{{Addr: "pat@far.example"}}, Subject: "Order 9", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere = o.Room
	if got, err := other.relay.cluster.Claim(t.Context(), elsewhere); err != nil || got != other.relay.opt.Host {
		t.Fatal(got, err)
	}
	pat := other.in(other.chat(o.Invites["pat@far.example"], 3), frame.Frame{})
	pat.typ(frame.TWelcome)
	he, err := other.relay.Enter(t.Context(), signedIn(home.host, ""), elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	host := other.in(he, frame.Frame{})
	host.typ(frame.TWelcome)
	lee.until("busy", func(f *frame.Frame) bool { return f.T == frame.TStatus && f.Status.Busy })
	lee.send(frame.Frame{T: frame.TAttempt})
	lee.state(attempt.Busy)
	host.send(frame.Frame{T: frame.TLeave})
	lee.state(attempt.Ringing)
	desk.until("a ring", func(f *frame.Frame) bool { return f.T == frame.TRing && f.Ring.Attempt != id })
}

// openFrom are the hours of a group that opens at a time, and stays open.
type openFrom struct{ at time.Time }

func (h openFrom) At(now time.Time) (bool, time.Time) {
	if now.Before(h.at) {
		return false, h.at
	}
	return true, time.Time{}
}

// TestGroupHours: a closed group is mailed and not rung, whoever is there, and is rung by
// whoever waits as soon as it opens. Its members are reached under their own names.
func TestGroupHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	_, token := w.salesMail()
	one := w.deviceOf(mina, "one")
	kim := w.in(w.chat(token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.State != frame.Available {
		t.Fatalf("status %+v", f.Status)
	}
	opens := time.Now().Add(1500 * time.Millisecond)
	w.relay.SetGroupHours(map[string]Hours{sales: openFrom{opens}})
	if f := kim.status(frame.Closed); f.Status.Until == nil || !f.Status.Until.Equal(opens) {
		t.Fatalf("status %+v", f.Status)
	}
	if s := w.relay.Status(t.Context(), mina); s.State != frame.Available {
		t.Errorf("a member under her own name: %+v", s)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Unanswered); f.Attempt.Why != frame.Closed {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	if one.settle().had(frame.TRing) {
		t.Error("a closed group was rung")
	}
	kim.status(frame.Available)
	kim.state(attempt.Ringing)
	one.typ(frame.TRing)
	w.relay.SetGroupHours(map[string]Hours{sales: openFrom{time.Now().Add(time.Hour)}})
	kim.status(frame.Closed)
	one.typ(frame.TRingEnd)
	w.relay.SetGroupHours(nil)
	kim.status(frame.Available)
}
