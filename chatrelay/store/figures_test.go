// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
)

func TestFigures(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ok(t, s.SetGroups(ctx, "", map[string][]string{sales: {alice.Login, carol.Addr}}))
		private, mine := mailed(t, s, "private", alice.Addr)
		room, group := mailed(t, s, "offer", sales)
		joined := must(s.Join(ctx, carol.Addr, room))(t)
		seoul, err := time.LoadLocation("Asia/Seoul")
		ok(t, err)
		first := time.Date(2026, 3, 1, 0, 0, 0, 0, seoul)
		n := 0
		asked := func(room string, people []chat.Participant, at time.Time, took time.Duration, state string, taker int64) {
			t.Helper()
			n++
			ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: fmt.Sprint(n), Room: room, Caller: people[1].ID,
				Callee: people[0].ID, State: state, Started: at, Ended: at.Add(took), Taker: taker}))
		}
		asked(private, mine, first, 10*time.Second, attempt.Answered, 0)
		asked(private, mine, first.Add(23*time.Hour+59*time.Minute), 40*time.Second, attempt.Answered, 0)
		asked(room, group, first.Add(24*time.Hour), 20*time.Second, attempt.Answered, joined.ID)
		asked(room, group, first.Add(25*time.Hour), time.Minute, attempt.Alarmed, 0)
		asked(room, group, first.Add(26*time.Hour), time.Second, attempt.Cancelled, 0)
		asked(private, mine, first.Add(-time.Second), time.Second, attempt.Answered, 0)
		asked(private, mine, first.Add(72*time.Hour), time.Second, attempt.Answered, 0)

		f := must(s.Figures(ctx, alice.Login, first, first.Add(72*time.Hour), seoul))(t)
		if want := (chat.Figure{Asked: 5, Answered: 3, Missed: 2, Median: 20}); f.Total != want {
			t.Errorf("total %+v, want %+v", f.Total, want)
		}
		if want := []chat.Figure{{Name: "2026-03-01", Asked: 2, Answered: 2, Median: 25},
			{Name: "2026-03-02", Asked: 3, Answered: 1, Missed: 2, Median: 20},
			{Name: "2026-03-03"}}; !slices.Equal(f.Days, want) {
			t.Errorf("days %+v, want %+v", f.Days, want)
		}
		if want := []chat.Figure{{Name: alice.Login, Asked: 2, Answered: 2, Median: 25},
			{Name: carol.Addr, Asked: 1, Answered: 1, Median: 20},
			{Name: sales, Asked: 3, Answered: 1, Missed: 2, Median: 20}}; !slices.Equal(f.Of, want) {
			t.Errorf("of %+v, want %+v", f.Of, want)
		}
		if f := must(s.Figures(ctx, carol.Addr, first, first.Add(72*time.Hour), seoul))(t); f.Total.Asked != 3 {
			t.Errorf("those of a colleague %+v", f)
		}
		if f := must(s.Figures(ctx, "dave@here.test", first, first.Add(72*time.Hour), seoul))(t); f.Total.Asked != 0 {
			t.Errorf("those of a stranger %+v", f)
		}
		ok(t, s.Block(ctx, alice.Login, private, mine[1].ID))
		if f := must(s.Figures(ctx, alice.Login, first, first.Add(72*time.Hour), seoul))(t); f.Total.Asked != 0 {
			t.Errorf("with who is blocked %+v", f)
		}
		for _, until := range []time.Time{first, first.AddDate(0, 0, chat.MaxFigureDays+1)} {
			_, err := s.Figures(ctx, alice.Login, first, until, seoul)
			is(t, err, chat.ErrQuery)
		}
	})
}

// TestDaysWithoutMidnight: a day whose midnight the clocks leave out is one day.
func TestDaysWithoutMidnight(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("America/Santiago")
	ok(t, err)
	from := time.Date(2025, 9, 5, 0, 0, 0, 0, zone) // on 7 September 2025 it begins at one o'clock
	days := daysOf(from, time.Date(2025, 9, 9, 0, 0, 0, 0, zone), zone)
	if want := []string{"2025-09-05", "2025-09-06", "2025-09-07", "2025-09-08"}; !slices.Equal(days, want) {
		t.Errorf("days %v, want %v", days, want)
	}
}
