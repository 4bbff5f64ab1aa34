// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// unreadMails are the mails of unread words to an address.
func (w *world) unreadMails(addr string) (list []chat.ServerMail) {
	for _, m := range w.mail.all() {
		if m.Stop != "" && m.To.Addr == addr {
			list = append(list, m)
		}
	}
	return list
}

// Whoever has left gets what they have not read in one mail, with a link and a way to answer; who is here gets none.
func TestUnreadWordsByMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.UnreadAfter, o.Replies = 400*time.Millisecond, "mall.example" })
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	host.send(frame.Frame{T: frame.TSay, ID: "0", Text: "while you are here"})
	kim.text("while you are here")
	time.Sleep(time.Second)
	if got := w.mail.all(); len(got) > 0 {
		t.Fatalf("mails %+v while everybody is here", got)
	}
	kim.send(frame.Frame{T: frame.TLeave})
	host.until("Kim has left", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 1 })
	for id, text := range map[string]string{"1": "Yes, we ship to Busan.", "2": "It takes two days."} {
		host.send(frame.Frame{T: frame.TSay, ID: id, Text: text})
	}
	eventually(t, "the mail", func() bool { return len(w.unreadMails("kim@far.example")) > 0 })
	m := w.unreadMails("kim@far.example")[0]
	for _, text := range []string{"while you are here", "Yes, we ship to Busan.", "It takes two days.", "Host", "/c/"} {
		if !strings.Contains(m.Text, text) {
			t.Errorf("%q is not in %s", text, m.Text)
		}
	}
	if a, err := w.relay.ReplyAddress(t.Context(), m.ReplyTo); err != nil || a.Room != w.room {
		t.Errorf("answers to %q: %+v, %v", m.ReplyTo, a, err)
	}
	token := strings.TrimSuffix(m.Stop[strings.LastIndex(m.Stop, "/c/")+3:], "/stop")
	if i, err := w.rooms.Invite(t.Context(), token); err != nil || i.Recipient.Addr != "kim@far.example" {
		t.Errorf("the link: %+v, %v", i, err)
	}
	time.Sleep(time.Second)
	if n := len(w.unreadMails("kim@far.example")); n != 1 {
		t.Errorf("%d mails", n)
	}
	if got := append(w.unreadMails("lee@far.example"), w.unreadMails(w.host)...); len(got) > 0 {
		t.Errorf("mailed too: %+v", got)
	}
	if err := w.relay.StopUnread(t.Context(), token, true); err != nil {
		t.Error(err)
	}
}

// The host, who is off, gets what was left for them; not while a desk of theirs shows it, and not from whom they block.
func TestUnreadWordsOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.UnreadAfter = 300 * time.Millisecond })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "do you open on Sunday?"})
	kim.typ(frame.TAck)
	kim.send(frame.Frame{T: frame.TLeave})
	time.Sleep(800 * time.Millisecond)
	if got := w.unreadMails(w.host); len(got) > 0 {
		t.Fatalf("the desk shows it, and %+v", got)
	}
	desk.send(frame.Frame{T: frame.TAway, On: true})
	eventually(t, "the mail", func() bool { return len(w.unreadMails(w.host)) > 0 })
	if m := w.unreadMails(w.host)[0]; !strings.Contains(m.Text, "do you open on Sunday?") {
		t.Error(m.Text)
	}
	info, err := w.rooms.Info(t.Context(), w.room)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(info.Participants, func(p chat.Participant) bool { return p.Addr == "lee@far.example" })
	if err := w.relay.Block(t.Context(), w.host, w.room, info.Participants[i].ID, true); err != nil {
		t.Fatal(err)
	}
	if hears, err := w.relay.hears(t.Context(), info.Participants[i], info.Participant(info.Owner)); hears || err != nil {
		t.Errorf("the host hears whom they block, %v", err)
	}
	if hears, err := w.relay.hears(t.Context(), info.Participant(info.Owner), info.Participants[i]); hears || err != nil {
		t.Errorf("who is blocked hears the host, %v", err)
	}
}

// What is left for a group after all have declined reaches its members.
func TestUnreadWordsOfAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.UnreadAfter = 300 * time.Millisecond
		o.Groups = map[string][]string{"host@mall.example": {"mina@mall.example", "joon@mall.example"}}
	})
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "is anybody there?"})
	kim.typ(frame.TAck)
	kim.send(frame.Frame{T: frame.TLeave})
	eventually(t, "both mails", func() bool {
		return len(w.unreadMails("mina@mall.example")) == 1 && len(w.unreadMails("joon@mall.example")) == 1
	})
}

// What a browser by link has seen is read, until its person has been in the room and has proven who they are. From then
// on a browser that only has a link of theirs reads nothing in their place.
func TestUnreadWordsOfTheProven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.UnreadAfter = 300 * time.Millisecond })
	host := w.in(w.desk(), frame.Frame{})
	welcome := host.typ(frame.TWelcome)
	say := func(text string) int64 {
		host.send(frame.Frame{T: frame.TSay, ID: text, Text: text})
		return host.until(text, func(f *frame.Frame) bool { return f.T == frame.TAck && f.ID == text }).Offset
	}
	link := w.chat(w.token, 1)
	seen := func(want int64) bool {
		marks, err := w.rooms.SeenBy(t.Context(), w.room)
		return err == nil && marks[link.Me] == want
	}
	kim := w.in(link, frame.Frame{})
	read := say("read by link")
	kim.text("read by link")
	kim.send(frame.Frame{T: frame.TSeen, Offset: read})
	eventually(t, "the mark of a browser by link", func() bool { return seen(read) })

	owner := w.in(w.proven(w.token, 2), frame.Frame{})
	owner.typ(frame.TWelcome)
	owner.send(frame.Frame{T: frame.TLeave})
	token, err := w.rooms.NewInvite(t.Context(), w.room, link.Me, welcome.Me, "another link of Kim's")
	if err != nil {
		t.Fatal(err)
	}
	thief := w.in(w.chat(token, 3), frame.Frame{})
	thief.typ(frame.TWelcome)
	for _, text := range []string{"for Kim", "for Kim alone"} {
		offset := say(text)
		thief.text(text)
		thief.send(frame.Frame{T: frame.TSeen, Offset: offset})
	}
	eventually(t, "a mail, though a browser shows the words", func() bool { return len(w.unreadMails("kim@far.example")) > 0 })
	if m := w.unreadMails("kim@far.example")[0]; !strings.Contains(m.Text, "for Kim alone") {
		t.Error(m.Text)
	}
	if !seen(read) {
		t.Error("the browser by link has marked words as read")
	}
}
