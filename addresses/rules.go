// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/internal/charsets"
)

// Bounds of what people set.
const (
	MaxForward  = 5
	MaxFilters  = 50
	maxContains = 200  // characters that a filter looks for
	maxFolder   = 100  // characters of a mailbox's name
	maxSubject  = 200  // characters
	maxNotice   = 4000 // characters
)

// Rules are what somebody has set for their own mail.
type Rules struct {
	Forward  []string `json:"forward"` // addresses that get the mail
	Keep     bool     `json:"keep"`    // forwarded mail is also in the mailbox
	Vacation Vacation `json:"vacation"`
	Filters  []Filter `json:"filters"` // the first that fits decides
}

// Vacation is a notice to those who write to somebody who is away.
type Vacation struct {
	On      bool   `json:"on"`
	Subject string `json:"subject"` // empty: words of ours
	Text    string `json:"text"`
	Until   string `json:"until"` // its last day, as 2026-12-24; empty: until it is switched off
}

// Fields that a filter may look at.
var Fields = []string{"from", "to", "subject"}

// Filter puts mail of which a field contains a text into a mailbox.
type Filter struct {
	Field    string `json:"field"` // one of Fields; "to" is Cc as well
	Contains string `json:"contains"`
	Folder   string `json:"folder"` // empty: INBOX
	Seen     bool   `json:"seen"`   // it is marked as read
}

// checked are the rules as they are kept.
func (r Rules) checked() (Rules, error) {
	if len(r.Forward) > MaxForward {
		return r, unfit("mail is forwarded to at most %d addresses", MaxForward)
	}
	forward := []string{}
	for _, to := range r.Forward {
		to = Fold(to)
		if err := CheckAddr(to); err != nil {
			return r, err
		}
		if !slices.Contains(forward, to) {
			forward = append(forward, to)
		}
	}
	r.Forward = forward
	v := &r.Vacation
	v.Subject, v.Text = strings.TrimSpace(v.Subject), strings.TrimSpace(v.Text)
	switch {
	case v.On && v.Text == "":
		return r, unfit("a notice without a text")
	case utf8.RuneCountInString(v.Subject) > maxSubject || strings.ContainsAny(v.Subject, "\r\n"):
		return r, unfit("the subject is one line of up to %d characters", maxSubject)
	case utf8.RuneCountInString(v.Text) > maxNotice:
		return r, unfit("the text has more than %d characters", maxNotice)
	}
	if v.Until != "" {
		if _, err := time.Parse(time.DateOnly, v.Until); err != nil {
			return r, unfit("%q is not a day like 2026-12-24", v.Until)
		}
	}
	if len(r.Filters) > MaxFilters {
		return r, unfit("there are at most %d filters", MaxFilters)
	}
	filters := []Filter{}
	for i, f := range r.Filters {
		f.Contains, f.Folder = strings.TrimSpace(f.Contains), strings.TrimSpace(f.Folder)
		if err := f.check(); err != nil {
			return r, fmt.Errorf("filter %d: %w", i+1, err)
		}
		filters = append(filters, f)
	}
	r.Filters = filters
	return r, nil
}

func (f Filter) check() error {
	switch {
	case !slices.Contains(Fields, f.Field):
		return unfit("%q is none of %s", f.Field, strings.Join(Fields, ", "))
	case f.Contains == "":
		return unfit("it looks for nothing")
	case utf8.RuneCountInString(f.Contains) > maxContains:
		return unfit("it looks for more than %d characters", maxContains)
	case utf8.RuneCountInString(f.Folder) > maxFolder || strings.ContainsFunc(f.Folder, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == utf8.RuneError || r == '%' || r == '*'
	}):
		return unfit("%q is not a folder's name of up to %d characters", f.Folder, maxFolder)
	}
	return nil
}

// Sort finds the first filter that fits a mail.
func (r Rules) Sort(h textproto.Header) (Filter, bool) {
	read := make(map[string]string, len(Fields))
	for _, f := range r.Filters {
		text, ok := read[f.Field]
		if !ok {
			text = fieldOf(h, f.Field)
			read[f.Field] = text
		}
		if strings.Contains(text, strings.ToLower(f.Contains)) {
			return f, true
		}
	}
	return Filter{}, false
}

// fieldOf is a field as a person reads it, in lower case.
func fieldOf(h textproto.Header, name string) string {
	keys := []string{name}
	if name == "to" {
		keys = append(keys, "cc")
	}
	var all []string
	for _, key := range keys {
		for _, v := range h.Values(key) {
			if decoded, err := charsets.Words.DecodeHeader(v); err == nil {
				v = decoded
			}
			all = append(all, strings.ToLower(v))
		}
	}
	return strings.Join(all, "\n")
}
