// SPDX-License-Identifier: GPL-3.0-or-later

package chat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // people choose a zone; a small machine has no files of them
	"unicode/utf8"

	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
)

// Limits of a login's settings.
const (
	maxZone        = 255 // octets of a time zone's name
	maxStampText   = 200 // octets
	maxCanned      = 50
	maxCannedTitle = 100                      // octets
	maxCannedText  = 2000                     // octets
	maxBack        = 7 * 24 * 60              // minutes
	MaxChats       = 50                       // at once, that a login may set as the most
	maxAhead       = 2 * 365 * 24 * time.Hour // of Until
)

// What a person says of their availability at the desk.
const (
	Available    = "available"
	Away         = "away"
	DoNotDisturb = "dnd"
	QuietHours   = "quiet" // never said: it follows from Quiet
)

// Settings are a login's own. The zero value is not a login's default:
// DefaultSettings is.
type Settings struct {
	Name         string     `json:"name"`         // beside one's address in mails, where they have none; empty: not set
	Availability string     `json:"availability"` // Available, Away or DoNotDisturb
	Until        *time.Time `json:"until"`        // it is Available again then; nil: until changed
	Quiet        *Quiet     `json:"quiet"`        // nil: none
	Zone         string     `json:"zone"`         // IANA name of the time zone; empty: UTC
	Back         int        `json:"back"`         // usually back within so many minutes; 0: computed from past answers
	Chats        int        `json:"chats"`        // at once; 0: any number
	Push         bool       `json:"push"`         // notifications to one's browsers
	Transcript   bool       `json:"transcript"`   // by mail at the end of a conversation
	Unread       bool       `json:"unread"`       // what was said since one left, by mail
	Canned       []Canned   `json:"canned"`       // replies to choose from
	Stamp        bool       `json:"stamp"`        // one's mails carry chat links
	StampText    string     `json:"stamp_text"`   // words on them; {name} is one's name; empty: the usual
	Lang         string     `json:"lang"`         // "en" or "ko": of one's links and mails; empty: not set
	Unproven     string     `json:"unproven"`     // Yes or No: whoever presses one's links may come in unproven
}

// The values of Settings.Unproven.
const (
	Yes = "yes"
	No  = "no"
)

// Quiet are the hours of each day in which nothing rings, in the zone of the
// settings. They may go over midnight; if both times are the same they are
// the whole day.
type Quiet struct {
	From string `json:"from"`           // "22:00"
	To   string `json:"to"`             // "07:00"
	Days []int  `json:"days,omitempty"` // on which they begin, 0 is Sunday; empty: every day
}

// Canned is a reply kept for use again.
type Canned struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// SettingError says which setting is wrong.
type SettingError struct{ Field, Text string }

func (e *SettingError) Error() string { return "room: setting " + e.Field + ": " + e.Text }

// DefaultSettings are those of a login that has set nothing.
func DefaultSettings() Settings {
	return Settings{Availability: Available, Push: true, Unread: true, Canned: []Canned{}, Stamp: true, Unproven: Yes}
}

// Check returns a *SettingError if a setting is not possible.
func (s Settings) Check(now time.Time) error {
	wrong := func(field, format string, args ...any) error {
		return &SettingError{field, fmt.Sprintf(format, args...)}
	}
	switch {
	case !slices.Contains([]string{Available, Away, DoNotDisturb}, s.Availability):
		return wrong("availability", "it is available, away or dnd")
	case s.Unproven != Yes && s.Unproven != No:
		return wrong("unproven", "it is yes or no")
	case s.Until != nil && s.Until.Sub(now) > maxAhead:
		return wrong("until", "it is too far ahead")
	case s.Back < 0 || s.Back > maxBack:
		return wrong("back", "it is 0 to %d minutes", maxBack)
	case s.Chats < 0 || s.Chats > MaxChats:
		return wrong("chats", "it is 0 to %d", MaxChats)
	case len(s.Name) > clean.MaxNameOctets:
		return wrong("name", "it has at most %d octets", clean.MaxNameOctets)
	case len(s.StampText) > maxStampText:
		return wrong("stamp_text", "it has at most %d octets", maxStampText)
	case s.Lang != "" && !slices.Contains(words.Languages, s.Lang):
		return wrong("lang", "it is one of %s", strings.Join(words.Languages, ", "))
	case len(s.Canned) > maxCanned:
		return wrong("canned", "there are at most %d", maxCanned)
	}
	if _, err := time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" || len(s.Zone) > maxZone {
		return wrong("zone", "there is no such time zone")
	}
	if q := s.Quiet; q != nil {
		for _, at := range []string{q.From, q.To} {
			if _, err := minutes(at); err != nil {
				return wrong("quiet", "times are like 22:00")
			}
		}
		if len(q.Days) > 7 || slices.ContainsFunc(q.Days, func(d int) bool { return d < 0 || d > 6 }) {
			return wrong("quiet", "days are 0 to 6")
		}
	}
	for _, c := range s.Canned {
		switch {
		case strings.TrimSpace(c.Text) == "":
			return wrong("canned", "a reply is empty")
		case len(c.Title) > maxCannedTitle || len(c.Text) > maxCannedText:
			return wrong("canned", "a title has at most %d octets, a text %d", maxCannedTitle, maxCannedText)
		}
	}
	return nil
}

// minutes reads "22:00" as minutes since midnight.
func minutes(at string) (int, error) {
	h, m, _ := strings.Cut(at, ":")
	hour, err := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	if err != nil || err2 != nil || len(h) > 2 || len(m) != 2 || hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, errors.New("not a time of day")
	}
	return hour*60 + minute, nil
}

// At is the availability that the settings ask for at a time: Available, Away,
// DoNotDisturb or QuietHours. until is when that ends, zero if it is not known;
// next is when At may change, zero if it will not.
func (s Settings) At(now time.Time) (state string, until, next time.Time) {
	state = s.Availability
	if s.Until != nil && state != Available {
		if now.Before(*s.Until) {
			until, next = *s.Until, *s.Until
		} else {
			state = Available
		}
	}
	if s.Quiet == nil {
		return state, until, next
	}
	within, edge := s.Quiet.at(now, s.Zone)
	if next.IsZero() || edge.Before(next) {
		next = edge
	}
	if within && state != DoNotDisturb {
		return QuietHours, edge, next
	}
	return state, until, next
}

// at says whether now is within the quiet hours, and when that changes.
func (q Quiet) at(now time.Time, zone string) (within bool, edge time.Time) {
	in, err := time.LoadLocation(zone)
	if err != nil {
		in = time.UTC
	}
	from, _ := minutes(q.From)
	to, _ := minutes(q.To)
	now = now.In(in)
	edge = now.AddDate(0, 0, 8)
	// Of the nights around now, some hold it; they may touch each other.
	for day := -1; day <= 8; day++ {
		begin := time.Date(now.Year(), now.Month(), now.Day()+day, 0, from, 0, 0, in)
		end := time.Date(now.Year(), now.Month(), now.Day()+day, 0, to, 0, 0, in)
		if to <= from {
			end = time.Date(now.Year(), now.Month(), now.Day()+day+1, 0, to, 0, 0, in)
		}
		if len(q.Days) > 0 && !slices.Contains(q.Days, int(begin.Weekday())) {
			continue
		}
		switch {
		case !begin.After(now) && end.After(now): // we are in it
			within, edge = true, end
		case within && !begin.After(edge): // it goes straight on
			edge = end
		case !within && begin.After(now) && begin.Before(edge):
			edge = begin
		}
	}
	return within, edge
}

// Tidy brings settings into the form that is stored.
func (s *Settings) Tidy() {
	if s.Availability == Available {
		s.Until = nil
	}
	s.Name = clean.Name(s.Name)
	s.StampText = clean.Line(s.StampText, maxStampText, maxStampText)
	if s.Canned == nil {
		s.Canned = []Canned{}
	}
	for i, c := range s.Canned {
		s.Canned[i] = Canned{Title: Storable(strings.TrimSpace(c.Title), maxCannedTitle),
			Text: Storable(c.Text, maxCannedText)}
	}
}

// Storable makes s storable (UTF-8 without NUL) and cuts it to max bytes.
func Storable(s string, max int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
