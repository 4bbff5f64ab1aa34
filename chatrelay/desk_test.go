// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// looked waits for a frame that says who looks after a room.
func (c *client) looked(room, assignee string) {
	c.t.Helper()
	c.listed("that "+assignee+" has it", room, func(c chat.Summary) bool {
		return len(c.Teams) == 1 && c.Teams[0].Assignee == assignee
	})
}

// Whoever answers looks after the room; all desks learn of it at once, and of
// what becomes of it, also at other relays. What is noted comes to the team alone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, withSales)
	home, other := all[0], all[1]
	roomID, token := home.salesMail()
	kim := home.come(home.chat(token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	one, two := home.deviceOf(mina, "one"), other.deviceOf(joon, "two")
	kim.send(frame.Frame{T: frame.TAttempt})
	two.send(frame.Frame{T: frame.TAnswer, AttemptID: two.typ(frame.TRing).Ring.Attempt})
	one.looked(roomID, joon)
	two.looked(roomID, joon)
	if err := home.relay.Assign(t.Context(), mina, roomID, "", mina, new(joon)); err != nil {
		t.Fatal(err)
	}
	one.looked(roomID, mina)
	two.looked(roomID, mina)
	if err := home.relay.Assign(t.Context(), mina, roomID, sales, "", nil); err != nil {
		t.Fatal(err)
	}
	two.looked(roomID, "")
	e, err := other.relay.Enter(t.Context(), signedIn(joon, ""), roomID)
	if err != nil {
		t.Fatal(err)
	}
	member := other.come(e, frame.Frame{})
	member.send(frame.Frame{T: frame.TSay, ID: "a", Text: "good day"})
	one.looked(roomID, joon)
	if got := other.relay.Colleagues(t.Context(), mina); len(got) != 1 || got[0].Group != sales ||
		got[0].Members[0] != (Colleague{mina, frame.Available, false}) || got[0].Members[1].Login != joon {
		t.Errorf("colleagues %+v", got)
	}

	n, err := home.relay.AddTeamNote(t.Context(), mina, roomID, chat.TeamNote{ID: "1", Text: "secret rebate\u202e"})
	if err != nil || n.Text != "secret rebate" {
		t.Fatalf("note %+v, %v", n, err)
	}
	two.listed("a note", roomID, func(c chat.Summary) bool { return c.Notes == 1 })
	if list, err := other.relay.TeamNotes(t.Context(), joon, roomID); err != nil || len(list) != 1 {
		t.Errorf("notes %+v, %v", list, err)
	}
	kim.text("good day")
	kim.settle()
	again := home.come(home.chat(token, 1), frame.Frame{}) // the whole history
	again.text("good day")
	again.settle()
	for _, f := range append(kim.seen, again.seen...) {
		if b := frame.Encode(f); bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("assignee")) {
			t.Errorf("the customer gets %s", b)
		}
	}
	for _, m := range home.mail.all() {
		if strings.Contains(m.Text+m.HTML+m.Subject, "secret") {
			t.Errorf("mail %+v", m)
		}
	}
}

// The figures are of whole days of the login's time zone.
func TestFigures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	w.set(func(s *chat.Settings) { s.Zone = "Pacific/Kiritimati" }) // 14 hours ahead
	zone, err := time.LoadLocation("Pacific/Kiritimati")
	if err != nil {
		t.Fatal(err)
	}
	today := time.Now().In(zone).Format(time.DateOnly)
	f, err := w.relay.Figures(t.Context(), w.host, 3, "")
	if err != nil || len(f.Days) != 3 || f.Days[2] != (chat.Figure{Name: today, Asked: 1, Missed: 1}) {
		t.Errorf("figures %+v, %v", f, err)
	}
	if f, err := w.relay.Figures(t.Context(), w.host, 1, "2026-02-01"); err != nil || len(f.Days) != 1 ||
		f.Days[0].Name != "2026-02-01" {
		t.Errorf("figures %+v, %v", f, err)
	}
	for until, days := range map[string]int{"": 0, "yesterday": 7, "2026-02-30": 7, "2026-02-01": 101} {
		if _, err := w.relay.Figures(t.Context(), w.host, days, until); !errors.Is(err, chat.ErrQuery) {
			t.Errorf("%d days until %q: %v", days, until, err)
		}
	}
}
