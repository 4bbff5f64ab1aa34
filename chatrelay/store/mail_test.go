// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestRoomOfPeople: a mail of a thread stays in the room of its people; to others it
// opens a room of their own, which says where it came from and nothing more.
func TestRoomOfPeople(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		dave := chat.Person{Addr: "dave@there.test"}
		hidden := func(p chat.Person) chat.Person { p.Hidden = true; return p }
		is(t, s.SetGroups(ctx, "", map[string][]string{"sales@here.test": {carol.Addr}}), nil)
		sales := chat.Person{Addr: "sales@here.test"}
		for name, c := range map[string]struct {
			first, next []chat.Person // recipients of Alice's mails
			same        bool
		}{
			"the same": {[]chat.Person{bob, carol}, []chat.Person{carol, bob}, true},
			"written otherwise": {[]chat.Person{bob}, []chat.Person{{Addr: "bob@THERE.test", Name: "Robert"}},
				true},
			"oneself in Cc":          {[]chat.Person{bob}, []chat.Person{bob, alice}, true},
			"a tag of a login":       {[]chat.Person{carol}, []chat.Person{{Addr: "carol+shop@here.test"}}, true},
			"somebody new":           {[]chat.Person{bob}, []chat.Person{bob, dave}, false},
			"somebody else":          {[]chat.Person{bob}, []chat.Person{dave}, false},
			"one of two":             {[]chat.Person{bob, carol}, []chat.Person{bob}, false},
			"Bcc not named again":    {[]chat.Person{bob, hidden(dave)}, []chat.Person{bob}, true},
			"Bcc named":              {[]chat.Person{bob, hidden(dave)}, []chat.Person{bob, dave}, true},
			"a new Bcc":              {[]chat.Person{bob}, []chat.Person{bob, hidden(dave)}, false},
			"a group and its member": {[]chat.Person{sales}, []chat.Person{sales}, true},
		} {
			m := hello(name + "1@x")
			m.Subject, m.Recipients = "Offer", c.first
			old := must(s.OpenFromMail(ctx, m))(t)
			if name == "a group and its member" {
				must(s.Join(ctx, carol.Addr, old.Room))(t)
			}
			me := must(s.Info(ctx, old.Room))(t).Owner
			must(s.Append(ctx, "", old.Room, chat.Message{From: me, Kind: chat.KindText, Text: "card 4242"}))(t)
			m = hello(name+"2@x", name+"1@x")
			m.Subject, m.Recipients = "Fwd: offer", c.next
			o := must(s.OpenFromMail(ctx, m))(t)
			if (o.Room == old.Room) != c.same {
				t.Errorf("%s: the same room: %v", name, o.Room == old.Room)
			}
			if c.same {
				continue
			}
			list := must(s.Messages(ctx, o.Room, 0, 0))(t)
			if len(list) != 2 || list[0].Kind != chat.KindNote || list[1].Kind != chat.KindMail {
				t.Fatalf("%s: messages %+v", name, list)
			}
			what, when, _ := strings.Cut(list[0].Text, "\n")
			when, subject, _ := strings.Cut(when, "\n")
			if at, err := time.Parse(time.RFC3339, when); what != chat.NoteFrom || err != nil ||
				time.Since(at) > time.Minute || subject != "Offer" {
				t.Errorf("%s: note %q", name, list[0].Text)
			}
			// The next mail of these people stays with them.
			m = hello(name+"3@x", name+"1@x", name+"2@x")
			m.Recipients = c.next
			if must(s.OpenFromMail(ctx, m))(t).Room != o.Room {
				t.Errorf("%s: a third room", name)
			}
		}
		// Somebody new need not learn what the thread was about.
		m := hello("secret@x")
		m.Subject = "Carol's notice"
		must(s.OpenFromMail(ctx, m))(t)
		m = hello("lunch@x", "secret@x")
		m.Subject, m.Recipients = "Lunch?", []chat.Person{dave}
		o := must(s.OpenFromMail(ctx, m))(t)
		for _, m := range must(s.Messages(ctx, o.Room, 0, 0))(t) {
			if strings.Contains(m.Text, "notice") {
				t.Errorf("told: %q", m.Text)
			}
		}
		// A thread that the sender was never in has no origin.
		m = hello("stranger@x", "secret@x")
		m.Sender, m.Recipients = carol, []chat.Person{dave}
		if list := must(s.Messages(ctx, must(s.OpenFromMail(ctx, m))(t).Room, 0, 0))(t); len(list) != 1 {
			t.Errorf("messages %+v", list)
		}
	})
}

// TestLanguageOfAPerson: that of the settings, else that of a transcript.
func TestLanguageOfAPerson(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		speaks := func(p chat.Person, want string) {
			t.Helper()
			if got := must(s.Language(ctx, p))(t); got != want {
				t.Errorf("%s: %q, want %q", p.Addr, got, want)
			}
		}
		speaks(alice, "")
		speaks(bob, "")
		who := must(s.Invite(ctx, o.Invites[bob.Addr]))(t).Recipient
		wish := chat.TranscriptPreference{Participant: who.ID, On: true, Lang: "ko"}
		is(t, s.SetTranscriptPreference(ctx, "", o.Room, wish), nil)
		speaks(bob, "ko")
		must(s.ChangeSettings(ctx, alice.Login, func(c *chat.Settings) error { c.Lang = "en"; return nil }))(t)
		speaks(alice, "en")
		_, err := s.ChangeSettings(ctx, alice.Login, func(c *chat.Settings) error { c.Lang = "xx"; return nil })
		if err == nil {
			t.Error("an unknown language was taken")
		}
	})
}

// TestInviteInto: somebody comes into a room without a mail.
func TestInviteInto(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		room := must(s.OpenFromMail(ctx, hello("1@x")))(t).Room
		info := must(s.Info(ctx, room))(t)
		token, p, err := s.InviteInto(ctx, room, info.Owner, chat.Person{Addr: "Dave@There.test", Name: "Dave"})
		ok(t, err)
		i := must(s.Invite(ctx, token))(t)
		if i.Room != room || i.Recipient != p || i.Callee.ID != info.Owner || p.Addr != "dave@there.test" ||
			i.Subject != info.Subject {
			t.Errorf("invite %+v of %+v", i, p)
		}
		_, again, err := s.InviteInto(ctx, room, info.Owner, chat.Person{Addr: "dave@there.test"})
		if err != nil || again.ID != p.ID || len(must(s.Info(ctx, room))(t).Participants) != len(info.Participants)+1 {
			t.Errorf("invited twice: %+v, %v", again, err)
		}
		_, _, err = s.InviteInto(ctx, room, 1<<40, chat.Person{Addr: "eve@there.test"})
		is(t, err, chat.ErrUnknown)
	})
}

// TestNameOfTheSettings: a mail without a name is from whom its sender's settings say;
// one with a name keeps it.
func TestNameOfTheSettings(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		_, err := s.ChangeSettings(ctx, "mina@here.test", func(set *chat.Settings) error {
			set.Name = "Mina Kim"
			return nil
		})
		ok(t, err)
		for given, want := range map[string]string{"": "Mina Kim", "M.": "M."} {
			o := must(s.OpenFromMail(ctx, chat.Mail{MessageID: "name" + given + "@here.test", Subject: "Hello",
				Sender:     chat.Person{Login: "mina@here.test", Addr: "mina@here.test", Name: given},
				Recipients: []chat.Person{{Addr: "kim@there.test"}}, Date: time.Now()}))(t)
			info := must(s.Info(ctx, o.Room))(t)
			if got := info.Participant(info.Owner).Name; got != want || o.Sender.Name != want {
				t.Errorf("a mail from %q is from %q, %q", given, got, o.Sender.Name)
			}
		}
		if name := must(s.NameOf(ctx, "mina@here.test"))(t); name != "Mina Kim" {
			t.Errorf("the name is %q", name)
		}
	})
}
