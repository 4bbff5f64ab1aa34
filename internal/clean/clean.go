// SPDX-License-Identifier: GPL-3.0-or-later

// Package clean is what strangers' names, subjects and messages go through
// before they are stored or shown.
//
// It takes away what cannot be seen but changes what is seen: controls, bidi
// overrides, zero-width characters, towers of combining marks, invalid UTF-8.
// It does not escape: whoever writes HTML, a header or a log line still does.
// What was cleaned stays as it is when it is cleaned again.
//
// What writing needs stays: joiners within emoji and within words of scripts that
// join, and selectors behind the characters whose form they choose. Messages keep
// line breaks, tabs, directional marks and isolates too; names and subjects lose
// every bidi control. All are brought into NFC, in which two spellings of one text,
// as of Hangul from macOS, are the same.
package clean

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits. A name or a subject that is longer is cut (a name ends in … then), a message is refused.
const (
	MaxName          = 80  // runes
	MaxNameOctets    = 255 // octets
	MaxSubject       = 250 // runes
	MaxSubjectOctets = 998 // octets of a header line, RFC 5322 section 2.1.1

	maxMarks = 8 // combining marks on one letter; no script's spelling needs more
)

// ErrTooLong: a message is longer than its bound.
var ErrTooLong = errors.New("clean: the message is too long")

// Name returns a person's name as one line, or nothing if nothing of it can
// be seen.
func Name(s string) string {
	const more = "…" // says that it was cut
	name := Line(s, MaxName, MaxNameOctets)
	if Line(s, MaxName+1, MaxNameOctets+utf8.UTFMax) == name {
		return name
	}
	return Line(name, MaxName-1, MaxNameOctets-len(more)) + more
}

// Subject returns a subject as one line, or nothing if nothing of it can be
// seen.
func Subject(s string) string { return Line(s, MaxSubject, MaxSubjectOctets) }

// Line returns s as one line of at most so many runes and octets. White space
// becomes single spaces.
func Line(s string, runes, octets int) string {
	// A rune of the result comes from at most one kept rune and its marks, so
	// what is far beyond the bound cannot matter.
	s = head(s, 16*octets+1024)
	var b builder
	for i, r := range s {
		switch {
		case unicode.IsSpace(r) || isBreak(r):
			b.space()
		case bidi(r):
		default:
			b.part(s, i, r)
		}
	}
	s = cut(norm.NFC.String(b.String()), runes, octets)
	return blank(strings.TrimRight(s, " "))
}

// Message returns what a person wrote, with \n for every kind of line break
// and without white space at its end. It is empty if nothing of it can be
// seen. A text of more than octets is refused with ErrTooLong, before any
// work is done if it is much longer.
func Message(s string, octets int) (string, error) {
	if len(s) > 16*octets+1024 {
		return "", tooLong(octets)
	}
	if !plain(s) {
		s = unified(strings.ReplaceAll(s, "\r\n", "\n"))
	}
	s = blank(strings.Trim(strings.TrimRight(s, " \t\n"), "\n"))
	if len(s) > octets {
		return "", tooLong(octets)
	}
	return s, nil
}

// plain says whether there is nothing in a text that unified would change.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// unified has one kind of line break, no character that is not seen or
// changes how others are, and one form of each letter (NFC).
func unified(s string) string {
	var b builder
	for i, r := range s {
		switch {
		case r == '\t':
			b.add(r)
		case r == '\n' || r == '\r' || r == '\v' || r == '\f' || isBreak(r):
			b.add('\n')
		case overrides(r):
		default:
			b.part(s, i, r)
		}
	}
	return norm.NFC.String(b.String())
}

func tooLong(octets int) error {
	return fmt.Errorf("%w: more than %d octets", ErrTooLong, octets)
}

// builder collects runes.
type builder struct {
	strings.Builder
	last  rune
	marks int  // combining marks since the last letter
	flag  bool // within a subdivision flag
}

// part adds the rune of s at i, which belongs to a word or an emoji, unless it is not seen and means nothing there.
func (b *builder) part(s string, i int, r rune) {
	switch {
	case r == zwj || r == zwnj:
		if next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):]); joins(b.last) && joins(next) {
			b.add(r)
		}
	case selector(r):
		if varies(b.last, r) {
			b.add(r)
		}
	case tag(r): // subdivision flags, as Wales's, are a black flag and tags (UTS 51 section 3.2)
		if b.flag {
			b.addRaw(r)
		}
	case !invisible(r):
		b.add(r)
	}
}

func (b *builder) add(r rune) {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		if b.marks++; b.marks > maxMarks {
			return
		}
	} else if r != zwj && r != zwnj {
		b.marks = 0
	}
	b.addRaw(r)
	b.flag = r == blackFlag
}

func (b *builder) addRaw(r rune) {
	b.WriteRune(r)
	b.last = r
}

// space adds a single space, but not at the beginning.
func (b *builder) space() {
	if b.Len() > 0 && b.last != ' ' {
		b.add(' ')
	}
}

// head is the beginning of s, of about max octets.
func head(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// cut shortens s without leaving half a letter or half an emoji: it goes back
// to where something new begins.
func cut(s string, runes, octets int) string {
	n, boundary := 0, 0
	var before rune
	for i, r := range s {
		if !continues(before, r) {
			boundary = i
		}
		if n == runes || i+utf8.RuneLen(r) > octets {
			return s[:boundary]
		}
		n++
		before = r
	}
	return s
}

// blank is s, or nothing if s shows nothing.
func blank(s string) string {
	for _, r := range s {
		if !unicode.IsSpace(r) && !unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
			return s
		}
	}
	return ""
}
