// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // zones are there on every machine
)

// Hours are when a shop is open. The zero value: always.
type Hours struct {
	Zone string  `json:"zone"` // IANA name
	Week [7]Span `json:"week"` // by weekday, Sunday first
}

// Span is a part of a day, in minutes since midnight; To may go over midnight, up
// to the same time of the next day. From == To: closed.
type Span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

const day = 24 * 60

// ParseHours reads what a shop's row has; empty: always open.
func ParseHours(text string) (h Hours, err error) {
	if text == "" {
		return Hours{}, nil
	}
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return Hours{}, fmt.Errorf("reading opening hours: %w", err)
	}
	return h, h.check()
}

func (h Hours) check() error {
	if _, err := time.LoadLocation(h.Zone); err != nil || h.Zone == "Local" {
		return errors.New("reading opening hours: there is no such time zone")
	}
	for _, s := range h.Week {
		if s.From < 0 || s.From >= day || s.To < s.From || s.To > s.From+day {
			return errors.New("reading opening hours: no such time of day")
		}
	}
	return nil
}

// Always says that the shop has no hours.
func (h Hours) Always() bool { return h.Zone == "" }

// Text is what a shop's row has. Hours that cannot be give an error.
func (h Hours) Text() (string, error) {
	if h.Always() {
		return "", nil
	}
	if err := h.check(); err != nil {
		return "", err
	}
	b, err := json.Marshal(h)
	return string(b), err
}

// At says whether the shop is open, and when that changes; zero: never.
func (h Hours) At(now time.Time) (open bool, changes time.Time) {
	if h.Always() {
		return true, time.Time{}
	}
	zone, err := time.LoadLocation(h.Zone)
	if err != nil { // checked when it was stored
		zone = time.UTC
	}
	local := now.In(zone)
	// Days around now, in order; spans of two days may touch each other.
	for d := -1; d <= 8; d++ {
		date := time.Date(local.Year(), local.Month(), local.Day()+d, 0, 0, 0, 0, zone)
		s := h.Week[date.Weekday()]
		if s.From == s.To {
			continue
		}
		from := time.Date(date.Year(), date.Month(), date.Day(), 0, s.From, 0, 0, zone)
		to := time.Date(date.Year(), date.Month(), date.Day(), 0, s.To, 0, 0, zone)
		switch {
		case open && from.After(changes): // it closes before this day begins
			return true, changes
		case open || !from.After(now) && to.After(now):
			if open = true; to.After(changes) {
				changes = to
			}
		case from.After(now):
			return false, from
		}
	}
	if open { // the whole week
		return true, time.Time{}
	}
	return false, time.Time{}
}
