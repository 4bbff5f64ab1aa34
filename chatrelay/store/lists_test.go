// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
)

const sales = "sales@here.test"

// listedAs are the subjects of a login's list.
func listedAs(t *testing.T, s *Store, login, list string) (subjects []string) {
	t.Helper()
	for _, c := range must(s.Rooms(ctx, login, chat.RoomQuery{List: list}))(t) {
		subjects = append(subjects, c.Subject)
	}
	return subjects
}

// mailed opens a room of a mail and returns its people: the sender, and Bob.
func mailed(t *testing.T, s *Store, subject, from string) (room string, people []chat.Participant) {
	t.Helper()
	m := hello(subject + "@x")
	m.Subject, m.Sender.Addr = subject, from
	room = must(s.OpenFromMail(ctx, m))(t).Room
	return room, must(s.Info(ctx, room))(t).Participants
}

func said(t *testing.T, s *Store, room string, from int64, text string) chat.Message {
	t.Helper()
	return must(s.Append(ctx, "", room, chat.Message{From: from, Kind: chat.KindText, Text: text}))(t)
}

// A mail is no conversation before somebody says something or tries to reach
// somebody; what the server notes does not count.
func TestMailsAreNoConversations(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		mailed(t, s, "mail", alice.Addr)
		noted, _ := mailed(t, s, "noted", alice.Addr)
		must(s.Append(ctx, "", noted, chat.Message{Kind: chat.KindNote, Text: "alarmed"}))(t)
		room, people := mailed(t, s, "said", alice.Addr)
		said(t, s, room, people[1].ID, "hello")
		rung, people := mailed(t, s, "rung", alice.Addr)
		ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: "a", Room: rung, Caller: people[1].ID, Callee: people[0].ID,
			State: attempt.Ringing, Started: time.Now()}))
		sent, people := mailed(t, s, "file", alice.Addr)
		must(s.Post(ctx, "", sent, chat.Message{From: people[1].ID, Kind: chat.KindFile, File: picture("abc")}))(t)
		if got := listedAs(t, s, alice.Login, chat.ListChats); !slices.Equal(got, []string{"file", "rung", "said"}) {
			t.Errorf("conversations %v", got)
		}
		if got := listedAs(t, s, alice.Login, chat.ListMails); !slices.Equal(got, []string{"noted", "mail"}) {
			t.Errorf("mails %v", got)
		}
		if c := must(s.Summary(ctx, alice.Login, rung))(t); !c.Talked || c.Last.Kind != chat.KindMail {
			t.Errorf("summary %+v", c)
		}
		_, err := s.Summary(ctx, carol.Addr, rung)
		is(t, err, chat.ErrUnknown)
		_, err = s.Rooms(ctx, alice.Login, chat.RoomQuery{List: "everything"})
		is(t, err, chat.ErrQuery)
		// The search finds mails as well.
		if hits, _, err := s.Search(ctx, alice.Login, "mail", "", 9); err != nil || len(hits) != 1 {
			t.Errorf("hits %+v, %v", hits, err)
		}
	})
}

// Members of a group list its rooms before they have been in them.
func TestListsOfAGroup(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login, carol.Addr}}))
		private, people := mailed(t, s, "private", alice.Addr)
		said(t, s, private, people[1].ID, "hello")
		room, people := mailed(t, s, "offer", sales)
		said(t, s, room, people[1].ID, "how much?")
		for login, want := range map[string]map[string][]string{
			alice.Login: {chat.ListChats: {"offer", "private"}, chat.ListMine: {"private"},
				chat.ListUnassigned: {"offer"}, chat.ListAll: {"offer", "private"}},
			carol.Addr: {chat.ListChats: {"offer"}, chat.ListMine: nil,
				chat.ListUnassigned: {"offer"}, chat.ListAll: {"offer"}},
			"dave@here.test": {chat.ListChats: nil, chat.ListUnassigned: nil},
		} {
			for list, want := range want {
				if got := listedAs(t, s, login, list); !slices.Equal(got, want) {
					t.Errorf("%s of %s: %v, want %v", list, login, got, want)
				}
			}
		}
		c := must(s.Summary(ctx, carol.Addr, room))(t)
		if c.Me != people[0].ID || c.Unread != 1 || len(c.Teams) != 1 || c.Teams[0].Group != sales {
			t.Errorf("summary %+v", c)
		}
		if desks := must(s.Desks(ctx, room))(t); len(desks) != 2 || !slices.Contains(desks, carol.Addr) {
			t.Errorf("at the desks of %v", desks)
		}
		if hits, _, err := s.Search(ctx, carol.Addr, "how much", "", 9); err != nil || len(hits) != 1 {
			t.Errorf("hits %+v, %v", hits, err)
		}
	})
}

func TestDismiss(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login, carol.Addr}}))
		private, people := mailed(t, s, "private", alice.Addr)
		room, group := mailed(t, s, "offer", sales)
		began := time.Now().Add(-time.Minute)
		missed := func(id, room string, people []chat.Participant, state string) {
			t.Helper()
			ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: id, Room: room, Caller: people[1].ID, Callee: people[0].ID,
				State: state, Started: began, Ended: began.Add(time.Second)}))
		}
		missed("a", private, people, attempt.Alarmed)
		missed("b", private, people, attempt.Cancelled)
		missed("c", private, people, attempt.Answered)
		missed("d", room, group, attempt.Unanswered)
		c := must(s.Summary(ctx, alice.Login, private))(t)
		if m := c.Missed; m == nil || m.Count != 2 || m.Attempt != "b" || m.From != people[1].ID ||
			!m.At.Equal(moment(micros(began))) {
			t.Fatalf("missed %+v", m)
		}
		lists := func(want ...int) {
			t.Helper()
			for i, login := range []string{alice.Login, carol.Addr} {
				if got := listedAs(t, s, login, chat.ListMissed); len(got) != want[i] {
					t.Errorf("%s missed %v", login, got)
				}
				if waiting := must(s.WaitingFor(ctx, login))(t); len(waiting) != want[i] {
					t.Errorf("for %s waits %+v", login, waiting)
				}
			}
		}
		lists(2, 1)
		if rooms := must(s.Dismiss(ctx, alice.Login, room))(t); !slices.Equal(rooms, []string{room}) {
			t.Errorf("dismissed in %v", rooms)
		}
		lists(1, 1) // a colleague has not
		must(s.Dismiss(ctx, alice.Login, room))(t)
		_, err := s.Dismiss(ctx, carol.Addr, private)
		is(t, err, chat.ErrUnknown)
		if rooms := must(s.Dismiss(ctx, alice.Login, ""))(t); !slices.Equal(rooms, []string{private}) {
			t.Errorf("dismissed in %v", rooms)
		}
		lists(0, 1)
		began = time.Now().Add(time.Minute) // a later call is another one
		missed("e", private, people, attempt.Unanswered)
		lists(1, 1)
		// Whoever enters has missed nothing any more, in a group for all.
		ok(t, s.AckWaiting(ctx, must(s.Join(ctx, carol.Addr, room))(t).Login, room))
		lists(1, 0)
	})
}
