// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// access is what a browser has.
func access(t *testing.T, s *Store, token, claim string) chat.Access {
	t.Helper()
	a, _, err := s.Participant(ctx, token, claim)
	ok(t, err)
	again := must(s.Access(ctx, a.Key))(t)
	if again != a {
		t.Fatalf("by its key %+v, by its link %+v", again, a)
	}
	return a
}

// A browser that pressed a link reads what is said from then on, and one that has
// proven whose it is everything, alone with others that have.
func TestProof(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		m := hello("1@x")
		m.Recipients = []chat.Person{bob, carol}
		o := must(s.OpenFromMail(ctx, m))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		told := ""
		s.OnAccess(func(room string) { told = room })

		early, token := secret(16), o.Invites[bob.Addr]
		must(s.Claim(ctx, token, early, false))(t)
		if a := access(t, s, token, early); a.Proven || a.Since != 0 || a.ID != people[1].ID || !a.Idle {
			t.Fatalf("before anything was said: %+v", a)
		}
		said(t, s, o.Room, people[0].ID, "for Bob")
		late, other := secret(16), o.Invites[carol.Addr]
		must(s.Claim(ctx, other, late, false))(t)
		if a := access(t, s, other, late); a.Since != 3 || !a.Guards(2) || a.Guards(3) {
			t.Fatalf("after the first words: %+v", a)
		}
		must(s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, From: people[0].ID, Text: "alarmed"}))(t)
		guest := secret(16)
		_, _, err := s.ClaimAsGuest(ctx, other, guest, "Gus")
		ok(t, err)
		if a := access(t, s, other, guest); a.Since != 3 || a.Proven || !a.Guest {
			t.Fatalf("a guest: %+v", a)
		}

		// The code proves it. The browser that has not is out; the guest stays.
		if told != "" {
			t.Fatalf("told of %s though nobody has to leave", told)
		}
		owner := secret(16)
		code, _, err := s.NewCode(ctx, other)
		ok(t, err)
		must(s.ClaimWithCode(ctx, other, owner, code))(t)
		if a := access(t, s, other, owner); !a.Proven || a.Since != 0 || told != o.Room {
			t.Fatalf("with a code: %+v, told of %q", a, told)
		}
		_, _, err = s.Participant(ctx, other, late)
		is(t, err, chat.ErrUnknown)
		_, err = s.Claim(ctx, other, late, false)
		is(t, err, chat.ErrClaimed)
		access(t, s, other, guest)
		// A sign-in proves it too, for one browser more, and of the same browser.
		must(s.Claim(ctx, other, late, true))(t)
		must(s.Claim(ctx, other, late, false))(t)
		for _, claim := range []string{owner, late} {
			if a := access(t, s, other, claim); !a.Proven {
				t.Fatalf("%+v", a)
			}
		}
		must(s.Claim(ctx, token, early, true))(t)
		if a := access(t, s, token, early); !a.Proven || a.Since != 0 {
			t.Fatalf("proven later: %+v", a)
		}

		// A mail of the server shows what it is about: what its reader had not seen, and
		// the current part of the conversation.
		talk := must(s.NewInvite(ctx, o.Room, people[0].ID, people[1].ID, "Alarm"))(t)
		must(s.Claim(ctx, talk, early, false))(t)
		if a := access(t, s, talk, early); a.Since != 0 {
			t.Fatalf("of an alarm in a talk: %+v", a)
		}
		age(t, s, "messages", "at", chat.Silence+time.Minute)
		ok(t, s.Seen(ctx, "", o.Room, people[0].ID, 2))
		alarm := must(s.NewInvite(ctx, o.Room, people[0].ID, people[1].ID, "Alarm"))(t)
		said(t, s, o.Room, people[1].ID, "still there?")
		must(s.Claim(ctx, alarm, early, false))(t)
		if a := access(t, s, alarm, early); a.Since != 3 {
			t.Fatalf("of an alarm: %+v", a)
		}
		for _, key := range []string{"", "x", access(t, s, token, early).Key + "A"} {
			_, err = s.Access(ctx, key)
			is(t, err, chat.ErrUnknown)
		}
	})
}

// A browser that came, had nothing to say and left, as a program that tries links
// does, keeps nobody out.
func TestLinkNotInUse(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		token, scanner, owner := o.Invites[bob.Addr], secret(16), secret(16)
		refused := func(claim string) {
			t.Helper()
			_, err := s.Claim(ctx, token, claim, false)
			is(t, err, chat.ErrClaimed)
		}
		must(s.Claim(ctx, token, scanner, false))(t)
		key := access(t, s, token, scanner).Key
		refused(owner) // the first may be on its way in
		ok(t, s.Came(ctx, o.Room, key))
		if access(t, s, token, scanner).Idle {
			t.Fatal("it is here")
		}
		age(t, s, "claims", "idle", time.Hour)
		_, err := s.write.Exec("UPDATE claims SET idle = 0")
		ok(t, err)
		refused(owner)
		ok(t, s.Went(ctx, o.Room, key))
		refused(owner) // it may come back
		age(t, s, "claims", "idle", returnWithin+time.Second)
		must(s.Claim(ctx, token, owner, false))(t)
		_, err = s.Access(ctx, key)
		is(t, err, chat.ErrUnknown)

		// With the owner somebody talked: they keep it.
		key = access(t, s, token, owner).Key
		ok(t, s.Came(ctx, o.Room, key))
		said(t, s, o.Room, people[0].ID, "hello Bob")
		ok(t, s.Went(ctx, o.Room, key))
		age(t, s, "claims", "idle", returnWithin+time.Second)
		_, err = s.write.Exec("UPDATE claims SET idle = 1")
		ok(t, err)
		refused(scanner)
	})
}

// Somebody who was put out does not come back, by no link of theirs and not at the
// desk; what they said stays, and a mail to them opens another room.
func TestRemove(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		m := hello("1@x")
		m.Recipients = []chat.Person{bob, carol}
		o := must(s.OpenFromMail(ctx, m))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		claim := secret(16)
		must(s.Claim(ctx, o.Invites[carol.Addr], claim, true))(t)
		said(t, s, o.Room, people[2].ID, "mine")
		var told string
		s.OnAccess(func(room string) { told = room })
		is(t, s.Remove(ctx, carol.Addr, o.Room, people[0].ID), chat.ErrForbidden) // she wrote to nobody
		is(t, s.Remove(ctx, carol.Addr, o.Room, people[1].ID), chat.ErrForbidden)
		is(t, s.Remove(ctx, alice.Login, o.Room, people[0].ID), chat.ErrForbidden) // herself
		is(t, s.Remove(ctx, "eve@here.test", o.Room, people[1].ID), chat.ErrUnknown)
		is(t, s.Remove(ctx, alice.Login, o.Room, 99), chat.ErrUnknown)
		if told != "" {
			t.Fatal("told of what was refused")
		}
		ok(t, s.Remove(ctx, alice.Login, o.Room, people[2].ID))
		ok(t, s.Remove(ctx, alice.Login, o.Room, people[2].ID))
		if told != o.Room {
			t.Fatalf("told of %q", told)
		}
		_, err := s.Member(ctx, carol.Addr, o.Room)
		is(t, err, chat.ErrUnknown)
		_, err = s.Claim(ctx, o.Invites[carol.Addr], claim, true)
		is(t, err, chat.ErrRevoked)
		info := must(s.Info(ctx, o.Room))(t)
		if p := info.Participants[2]; !p.Removed || p.Addr != carol.Addr || info.Participants[1].Removed {
			t.Fatalf("people %+v", info.Participants)
		}
		if got := texts(t, s, o.Room); len(got) != 1 || got[0] != "mine" {
			t.Fatalf("messages %q", got)
		}
		// The thread goes on without her; with her it is another conversation.
		m.MessageID, m.References, m.Recipients = "2@x", []string{"1@x"}, []chat.Person{bob}
		if again := must(s.OpenFromMail(ctx, m))(t); again.Room != o.Room {
			t.Fatal("the thread's room is not that of who is left")
		}
		m.MessageID, m.Recipients = "3@x", []chat.Person{bob, carol}
		if again := must(s.OpenFromMail(ctx, m))(t); again.Room == o.Room {
			t.Fatal("a mail brought her back")
		}
		// An administrator may put out the owner.
		ok(t, s.Remove(ctx, "", o.Room, people[0].ID))
		_, err = s.Invite(ctx, o.Invites[bob.Addr])
		is(t, err, chat.ErrRevoked)
	})
}

// A member of a group takes back the group's links; of one person only where one is named.
func TestRevokeSome(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		const sales = "sales@here.test"
		ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login, carol.Addr}}))
		m := hello("1@x")
		m.Sender.Addr = sales
		m.Recipients = []chat.Person{bob, {Addr: "dan@there.test"}}
		o := must(s.OpenFromMail(ctx, m))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		_, err := s.RevokeRoom(ctx, carol.Addr, o.Room, 0)
		is(t, err, chat.ErrUnknown) // she has not joined
		must(s.Join(ctx, carol.Addr, o.Room))(t)
		if n := must(s.RevokeRoom(ctx, carol.Addr, o.Room, people[1].ID))(t); n != 1 {
			t.Fatalf("%d links of one", n)
		}
		_, err = s.Invite(ctx, o.Invites[bob.Addr])
		is(t, err, chat.ErrRevoked)
		must(s.Invite(ctx, o.Invites["dan@there.test"]))(t)
		if n := must(s.RevokeRoom(ctx, carol.Addr, o.Room, 0))(t); n != 1 {
			t.Fatalf("%d links of who is left", n)
		}
	})
}
