// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"testing"
	"time"
)

// TestHours: open and closed, over midnight, days that touch, and a zone's days.
func TestHours(t *testing.T) {
	t.Parallel()
	week := Hours{Zone: "Asia/Seoul"}
	for d := 1; d <= 5; d++ {
		week.Week[d] = Span{9 * 60, 18 * 60}
	}
	late := Hours{Zone: "Asia/Seoul"}
	late.Week[1], late.Week[2] = Span{20 * 60, 26 * 60}, Span{2 * 60, 4 * 60} // Monday 20:00 to Tuesday 4:00
	ever := Hours{Zone: "Asia/Seoul"}
	for d := range ever.Week {
		ever.Week[d] = Span{0, day}
	}
	for _, c := range []struct {
		what, at string
		h        Hours
		open     bool
		changes  string
	}{
		{"no hours", "2026-03-02T03:00:00+09:00", Hours{}, true, ""},
		{"Monday before", "2026-03-02T08:59:00+09:00", week, false, "2026-03-02T09:00:00+09:00"},
		{"Monday", "2026-03-02T09:00:00+09:00", week, true, "2026-03-02T18:00:00+09:00"},
		{"Monday as UTC has Sunday", "2026-03-02T00:30:00Z", week, true, "2026-03-02T18:00:00+09:00"},
		{"Friday evening", "2026-03-06T18:00:00+09:00", week, false, "2026-03-09T09:00:00+09:00"},
		{"after midnight", "2026-03-03T01:00:00+09:00", late, true, "2026-03-03T04:00:00+09:00"},
		{"the whole week", "2026-03-03T01:00:00+09:00", ever, true, ""},
		{"never", "2026-03-03T01:00:00+09:00", Hours{Zone: "UTC"}, false, ""},
		// Clocks go forward on 29 March 2026 in Berlin.
		{"a day of 23 hours", "2026-03-29T01:30:00+01:00",
			Hours{Zone: "Europe/Berlin", Week: [7]Span{0: {9 * 60, 10 * 60}}}, false, "2026-03-29T09:00:00+02:00"},
	} {
		now, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		open, changes := c.h.At(now)
		want := time.Time{}
		if c.changes != "" {
			if want, err = time.Parse(time.RFC3339, c.changes); err != nil {
				t.Fatal(err)
			}
		}
		if open != c.open || !changes.Equal(want) {
			t.Errorf("%s: %v until %v, want %v until %v", c.what, open, changes, c.open, want)
		}
		text, err := c.h.Text()
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if back, err := ParseHours(text); err != nil || back != c.h {
			t.Errorf("%s: read back %+v, %v", c.what, back, err)
		}
	}
	for _, text := range []string{"{", `{"zone":"Mars/Base"}`, `{"zone":"UTC","week":[{"from":5,"to":1}]}`,
		`{"zone":"UTC","week":[{"from":5,"to":1446}]}`, `{"zone":"Local"}`} {
		if h, err := ParseHours(text); err == nil {
			t.Errorf("%s is %+v", text, h)
		}
	}
}
