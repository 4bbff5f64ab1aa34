// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"mime"
	"strconv"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// Stamp is what one recipient's copy says about the chat.
type Stamp struct {
	Login      string // who authenticated
	Host       string // the relay's name
	Port       int    // granted UDP port; 0 leaves CHmail-Port out
	URL        string // the recipient's link, ASCII
	SenderName string // for the visible text; the login if empty
	Lang       string // "en" or "ko", where the mail does not say; empty: as the writer writes
	Text       string // instead of the usual words on the link; {name} is the sender
}

// Reasons why a message gets no stamp.
const (
	ReasonAsked     = "CHmail-Stamp: no"
	ReasonNull      = "null sender"
	ReasonAutomatic = "Auto-Submitted"
	ReasonList      = "list mail"
)

// Wanted says whether a message is to be stamped, and if not, why: the sender
// asked for none, or nobody wrote it by hand to the one who reads it
// (Auto-Submitted is RFC 3834 section 5, the List- fields are RFC 2919 and RFC 2369).
func Wanted(h textproto.Header, mailFrom string) (bool, string) {
	switch {
	case word(h.Get("CHmail-Stamp")) == "no":
		return false, ReasonAsked
	case mailFrom == "" || mailFrom == "<>":
		return false, ReasonNull
	case h.Has("Auto-Submitted") && word(h.Get("Auto-Submitted")) != "no":
		return false, ReasonAutomatic
	case h.Has("List-Id") || h.Has("List-Post"):
		return false, ReasonList
	}
	switch word(h.Get("Precedence")) {
	case "list", "bulk", "junk":
		return false, ReasonList
	}
	return true, ""
}

// word is a field's value up to its parameters or comment, in lower case.
func word(v string) string {
	if i := strings.IndexAny(v, ";("); i >= 0 {
		v = v[:i]
	}
	return strings.ToLower(strings.TrimSpace(v))
}

// Clean returns a copy of h without any CHmail-* field: what a client claims
// about the chat is not believed.
func Clean(h textproto.Header) textproto.Header {
	h = h.Copy()
	for f := h.Fields(); f.Next(); {
		if len(f.Key()) >= 7 && strings.EqualFold(f.Key()[:7], "CHmail-") {
			f.Del()
		}
	}
	return h
}

// Header returns a copy of h with one each of the CHmail-* fields of s.
func Header(h textproto.Header, s Stamp) textproto.Header {
	h = Clean(h)
	// A raw field keeps its capitals; each goes on top of the last.
	add := func(name, value string) { h.AddRaw([]byte(name + ": " + value + "\r\n")) }
	add("CHmail-Chat", "<"+clean(s.URL)+">")
	if s.Port != 0 {
		add("CHmail-Port", strconv.Itoa(s.Port))
	}
	add("CHmail-Host", clean(s.Host))
	add("CHmail-Login", mime.BEncoding.Encode("utf-8", clean(s.Login)))
	return h
}

// clean takes control characters and outer space out of a value.
func clean(v string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' {
			return -1
		}
		return r
	}, v))
}
