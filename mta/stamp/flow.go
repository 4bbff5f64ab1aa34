// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/unicode"

	"github.com/chmail/chmail/internal/quotation"
)

const (
	maxLine   = 1000 // octets of a line of text that are looked at
	maxRecent = 10   // lines that are remembered
	longLine  = 60   // characters from which on a mail program may have broken a line
)

// flow follows the lines of a text, or of a page, and knows where the words of
// the writer end: above the signature, and above the mail that is quoted. What is
// quoted above the writer's last words stays above them.
type flow struct {
	charset encoding.Encoding
	decoder *encoding.Decoder

	recent []line
	above  mark // where the link goes
	held   mark // the same, if the line at hand was broken off a quoted one
	ended  bool // what follows is a signature or history
	old    bool // what follows is history

	hangul, latin int // characters of the writer
}

// mark is a place for the link.
type mark struct {
	at    spot
	ok    bool
	blank bool // an empty line is above
}

// line is one that was read.
type line struct {
	start spot
	text  string // without white space around it
	depth int    // how deep it is quoted
	rest  string // the text without the marks of the quotation
}

// decode returns a line as text.
func (f *flow) decode(b []byte) string {
	text := string(b)
	if f.charset != nil && f.charset != unicode.UTF8 && !ascii(b) {
		if f.decoder == nil {
			f.decoder = f.charset.NewDecoder()
		}
		if decoded, err := f.decoder.Bytes(b); err == nil {
			text = string(decoded)
		}
	}
	return text
}

// seen is a text without the white space around it.
func seen(text string) string { return strings.TrimSpace(strings.ReplaceAll(text, "\u00a0", " ")) }

// count looks at the script in which somebody writes.
func (f *flow) count(c byte) {
	switch {
	case f.ended:
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		f.latin++
	case f.charset == unicode.UTF8 && c >= 0xEA && c <= 0xED: // the first byte of a syllable
		f.hangul++
	case f.charset == korean.EUCKR && c >= 0x80:
		f.hangul++
	}
}

// put takes a line. quoted says that it is of a quotation by its place in a page.
func (f *flow) put(l line, quoted bool) {
	l.depth, l.rest = 0, l.text
	if quotation.Quoted(l.text) {
		l.depth, l.rest = quotation.Unquoted(l.text)
	}
	held := f.held
	f.held = mark{}
	switch {
	case f.ended:
		f.old = f.old || f.history(&l) >= 0
	case l.text == "":
	case quoted || l.depth > 0:
		if held.ok {
			f.above = held
		}
		if !f.above.ok {
			f.above = f.markAt(f.attribution(), l.start)
		}
	case l.text == "--":
		f.end(l.start, false)
	default:
		if i := f.history(&l); i >= 0 {
			f.endAt(f.markAt(i, l.start), true)
			break
		}
		if n := len(f.recent); n > 0 && f.recent[n-1].depth > 0 && len(f.recent[n-1].text) >= longLine {
			f.held = f.above
		}
		f.above = mark{}
	}
	if len(f.recent) == maxRecent {
		f.recent = append(f.recent[:0], f.recent[1:]...)
	}
	f.recent = append(f.recent, l)
}

// end says that a signature begins at a spot, or history.
func (f *flow) end(at spot, old bool) { f.endAt(f.markAt(len(f.recent), at), old) }

func (f *flow) endAt(m mark, old bool) {
	if !f.above.ok && !f.ended {
		f.above = m
	}
	f.ended, f.old = true, f.old || old
}

// quote says that a quotation begins at a spot. Words behind it may follow.
func (f *flow) quote(at spot) {
	if !f.above.ok && !f.ended {
		f.above = f.markAt(f.attribution(), at)
	}
}

// markAt is the place before a recent line, or at the spot that follows them.
func (f *flow) markAt(i int, at spot) mark {
	if i < len(f.recent) {
		at = f.recent[i].start
	}
	return mark{at, true, i == 0 || f.recent[i-1].text == ""}
}

// attribution returns which of the recent lines is the first of the one before
// a quotation, len(recent) if there is none.
func (f *flow) attribution() int {
	end := len(f.recent)
	for end > 0 && f.recent[end-1].text == "" {
		end--
	}
	for i := end - 1; i >= max(0, end-4) && f.recent[i].text != "" && f.recent[i].depth == 0; i-- {
		if quotation.Attributes(join(f.recent[i:end])) {
			return i
		}
	}
	return len(f.recent)
}

// history says with which of the recent lines, and the next one, an earlier mail
// begins; -1: with none.
func (f *flow) history(next *line) int {
	if next.depth > 0 || next.text == "" {
		return -1
	}
	n := len(f.recent)
	if quotation.Message(next.text) {
		return n
	}
	if !strings.ContainsAny(next.text, ":：") {
		return -1
	}
	var texts []string
	for _, l := range f.recent {
		texts = append(texts, l.text)
	}
	texts = append(texts, next.text)
	for i := range texts {
		if (quotation.Divider(texts[i]) || quotation.Sender(texts[i])) && quotation.Fields(texts[i:]) {
			if i > 0 && i < n && strings.HasSuffix(texts[i-1], ":") { // "Begin forwarded message:"
				i--
			}
			return i
		}
	}
	return -1
}

func join(lines []line) string {
	var all []string
	for _, l := range lines {
		all = append(all, l.text)
	}
	return strings.Join(all, " ")
}

// writesKorean says whether words with so many characters of Hangul and of Latin are Korean.
func writesKorean(hangul, latin int) bool { return hangul > 0 && hangul*4 >= latin }
