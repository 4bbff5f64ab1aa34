// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// team is a store with a group of Alice and Carol, and a room of it in which Bob
// has asked something. dave@here.test is on this server, and no member.
func team(t *testing.T, dsn string) (s *Store, room string, people []chat.Participant) {
	t.Helper()
	s = open(t, dsn)
	ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login, carol.Addr}}))
	room, people = mailed(t, s, "offer", sales)
	said(t, s, room, people[1].ID, "how much?")
	return s, room, people
}

// assignee is who looks after a room, as a login sees it.
func assignee(t *testing.T, s *Store, login, room string) string {
	t.Helper()
	return must(s.Summary(ctx, login, room))(t).Teams[0].Assignee
}

func TestAssign(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, room, _ := team(t, dsn)
		ok(t, s.Assign(ctx, alice.Login, room, "", alice.Login, new("")))
		is(t, s.Assign(ctx, carol.Addr, room, sales, carol.Addr, new("")), chat.ErrTaken)
		for login, want := range map[string][]string{alice.Login: {"offer"}, carol.Addr: nil} {
			for _, list := range []string{chat.ListMine, chat.ListChats} {
				if got := listedAs(t, s, login, list); !slices.Equal(got, want) {
					t.Errorf("%s of %s: %v", list, login, got)
				}
			}
			if got := listedAs(t, s, login, chat.ListUnassigned); got != nil {
				t.Errorf("unassigned %v", got)
			}
			if got := listedAs(t, s, login, chat.ListAll); len(got) != 1 {
				t.Errorf("all %v", got)
			}
		}
		if c := must(s.Summary(ctx, carol.Addr, room))(t); c.Unread != 0 || c.Teams[0].Assignee != alice.Login {
			t.Errorf("summary %+v", c)
		}
		// Taking over, handing over, and back to the group.
		ok(t, s.Assign(ctx, carol.Addr, room, sales, carol.Addr, new(alice.Login)))
		ok(t, s.Assign(ctx, carol.Addr, room, sales, "ALICE@here.test", nil))
		if got := assignee(t, s, carol.Addr, room); got != alice.Login {
			t.Errorf("%s has it", got)
		}
		ok(t, s.Assign(ctx, alice.Login, room, "", "", nil))
		if got := listedAs(t, s, carol.Addr, chat.ListUnassigned); len(got) != 1 {
			t.Errorf("unassigned %v", got)
		}

		private, _ := mailed(t, s, "private", alice.Addr)
		for name, err := range map[string]error{
			"a stranger":      s.Assign(ctx, "dave@here.test", room, "", "dave@here.test", nil),
			"to a stranger":   s.Assign(ctx, alice.Login, room, "", "dave@here.test", nil),
			"another group":   s.Assign(ctx, alice.Login, room, "press@here.test", alice.Login, nil),
			"no group":        s.Assign(ctx, alice.Login, private, "", alice.Login, nil),
			"an unknown room": s.Assign(ctx, alice.Login, "x", "", alice.Login, nil),
		} {
			t.Log(name)
			is(t, err, chat.ErrUnknown)
		}
		// Who leaves the group looks after nothing of it.
		ok(t, s.Assign(ctx, alice.Login, room, "", carol.Addr, nil))
		ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login}}))
		if got := assignee(t, s, alice.Login, room); got != "" {
			t.Errorf("%s has it", got)
		}
	})
}

// Who says something first looks after the room, whichever way they say it.
func TestTake(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, room, people := team(t, dsn)
		if must(s.Take(ctx, "dave@here.test", room))(t) {
			t.Error("a stranger has it")
		}
		if !must(s.Take(ctx, alice.Login, room))(t) || must(s.Take(ctx, carol.Addr, room))(t) ||
			assignee(t, s, alice.Login, room) != alice.Login {
			t.Error("the first has it not")
		}
		ok(t, s.Assign(ctx, alice.Login, room, "", "", nil))
		must(s.Post(ctx, "", room, chat.Message{From: people[1].ID, Kind: chat.KindText, Text: "?", Via: chat.ViaMail}))(t)
		if got := assignee(t, s, alice.Login, room); got != "" {
			t.Errorf("%s has it", got)
		}
		me := must(s.Join(ctx, carol.Addr, room))(t)
		must(s.Post(ctx, "", room, chat.Message{From: me.ID, Kind: chat.KindText, Text: "ten", Via: chat.ViaMail}))(t)
		if got := assignee(t, s, alice.Login, room); got != carol.Addr {
			t.Errorf("%s has it", got)
		}
	})
}

// What colleagues note reaches nobody else, on any way out.
func TestTeamNotesStayInTheTeam(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, _, _ := team(t, dsn)
		m := hello("both@x")
		m.Sender.Addr, m.Recipients = sales, append(m.Recipients, chat.Person{Addr: "dave@here.test"})
		room := must(s.OpenFromMail(ctx, m))(t).Room
		people := must(s.Info(ctx, room))(t).Participants
		said(t, s, room, people[1].ID, "how much?")
		n := must(s.AddTeamNote(ctx, alice.Login, room, chat.TeamNote{ID: "1", Text: "secret discount"}))(t)
		again := must(s.AddTeamNote(ctx, alice.Login, room, chat.TeamNote{ID: "1", Text: "secret discount"}))(t)
		if n != again || n.Group != sales || n.Login != alice.Login || n.Pos != 1 || n.Behind != 2 {
			t.Fatalf("note %+v, again %+v", n, again)
		}
		must(s.AddTeamNote(ctx, carol.Addr, room, chat.TeamNote{ID: "1", Text: "secret, agreed"}))(t)
		for _, login := range []string{alice.Login, carol.Addr} {
			list := must(s.TeamNotes(ctx, login, room))(t)
			if len(list) != 2 || list[0] != n || list[1].Text != "secret, agreed" {
				t.Errorf("notes of %s: %+v", login, list)
			}
			if c := must(s.Summary(ctx, login, room))(t); c.Notes != 2 {
				t.Errorf("summary %+v", c)
			}
		}
		// dave is in the room, and no colleague.
		if c := must(s.Summary(ctx, "dave@here.test", room))(t); c.Notes != 0 || len(c.Teams) != 0 {
			t.Errorf("a customer's summary %+v", c)
		}
		if list := must(s.TeamNotes(ctx, "dave@here.test", room))(t); len(list) != 0 {
			t.Errorf("a customer reads %+v", list)
		}
		_, err := s.TeamNotes(ctx, "eve@here.test", room)
		is(t, err, chat.ErrUnknown)
		_, err = s.AddTeamNote(ctx, "eve@here.test", room, chat.TeamNote{ID: "2", Text: "x"})
		is(t, err, chat.ErrUnknown)
		_, err = s.AddTeamNote(ctx, alice.Login, room, chat.TeamNote{ID: "2", Text: strings.Repeat("x", chat.MaxTeamNote+1)})
		is(t, err, chat.ErrFull)

		for _, m := range must(s.Messages(ctx, room, 0, 0))(t) {
			if strings.Contains(m.Text, "secret") {
				t.Errorf("message %+v", m)
			}
		}
		if i := must(s.Info(ctx, room))(t); i.Next != 3 {
			t.Errorf("the next offset is %d", i.Next)
		}
		if c := must(s.Summary(ctx, alice.Login, room))(t); c.Last.Text != "how much?" || c.Unread != 1 {
			t.Errorf("summary %+v", c)
		}
		for _, login := range []string{alice.Login, "dave@here.test"} {
			if hits, _, err := s.Search(ctx, login, "secret", "", 9); err != nil || len(hits) != 0 {
				t.Errorf("hits %+v, %v", hits, err)
			}
		}
		// Erased with who wrote them; the customer's end changes nothing.
		must(s.Erase(ctx, people[1].Addr))(t)
		if list := must(s.TeamNotes(ctx, carol.Addr, room))(t); len(list) != 2 {
			t.Errorf("notes %+v", list)
		}
		must(s.Erase(ctx, alice.Login))(t)
		if list := must(s.TeamNotes(ctx, carol.Addr, room))(t); len(list) != 1 || list[0].Login != carol.Addr {
			t.Errorf("notes %+v", list)
		}
	})
}

// Without a group, notes and labels are one's own.
func TestLabels(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, room, _ := team(t, dsn)
		private, people := mailed(t, s, "private", alice.Addr)
		said(t, s, private, people[1].ID, "hello")
		ok(t, s.Label(ctx, alice.Login, room, "", "  VIP\n", true))
		ok(t, s.Label(ctx, carol.Addr, room, sales, "VIP", true))
		ok(t, s.Label(ctx, carol.Addr, room, sales, "late", true))
		ok(t, s.Label(ctx, alice.Login, private, "", "VIP", true))
		if c := must(s.Summary(ctx, carol.Addr, room))(t); !slices.Equal(c.Labels, []string{"VIP", "late"}) {
			t.Errorf("labels %v", c.Labels)
		}
		if all := must(s.Labels(ctx, alice.Login))(t); len(all) != 2 || all[0] != (chat.Label{Label: "VIP", Rooms: 2}) {
			t.Errorf("labels %+v", all)
		}
		for login, want := range map[string]int{alice.Login: 2, carol.Addr: 1, "dave@here.test": 0} {
			if list := must(s.Rooms(ctx, login, chat.RoomQuery{Label: "VIP"}))(t); len(list) != want {
				t.Errorf("%s lists %+v", login, list)
			}
		}
		ok(t, s.Label(ctx, alice.Login, room, "", "VIP", false))
		if list := must(s.Rooms(ctx, carol.Addr, chat.RoomQuery{Label: "VIP"}))(t); len(list) != 0 {
			t.Errorf("list %+v", list)
		}
		is(t, s.Label(ctx, "dave@here.test", room, "", "VIP", true), chat.ErrUnknown)
		is(t, s.Label(ctx, alice.Login, room, "", " \n", true), chat.ErrQuery)
		for i := range maxLabelsRoom - 1 { // "late" is there
			ok(t, s.Label(ctx, alice.Login, room, "", fmt.Sprint(i), true))
		}
		is(t, s.Label(ctx, alice.Login, room, "", "one more", true), chat.ErrFull)
		ok(t, s.Label(ctx, alice.Login, room, "", "late", true))
	})
}
