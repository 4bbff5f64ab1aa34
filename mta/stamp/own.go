// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"net/url"
	"strings"
)

// tokenLength is how many characters of base64url a link ends in.
const tokenLength = 22

// own knows the links of this server: its base, "/c/" and a token. http and https
// are the same, as mail programs change one into the other.
type own struct {
	rest string // of a link, from "://" to the token, in lower case; empty: there are none
}

func ownOf(base string) own {
	_, rest, ok := strings.Cut(strings.ToLower(base), "://")
	if !ok || rest == "" {
		return own{}
	}
	return own{"://" + rest + "/c/"}
}

// leads says whether an address is a link of this server, also one that a
// gateway has packed into an address of its own.
func (o own) leads(address string) bool {
	if o.rest == "" {
		return false
	}
	for range 3 {
		_, after, ok := strings.Cut(strings.ToLower(address), o.rest)
		if ok && len(after) >= tokenLength && strings.IndexFunc(after[:tokenLength], notToken) < 0 &&
			(len(after) == tokenLength || notToken(rune(after[tokenLength]))) {
			return true
		}
		plain, err := url.QueryUnescape(address)
		if err != nil || plain == address {
			return false
		}
		address = plain
	}
	return false
}

func notToken(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// cut is a piece of the text that is taken out.
type cut struct {
	from, to spot
	inline   bool // of a line that goes on
}

// finder finds links of this server in a text, character by character.
type finder struct {
	own    own
	at     int  // characters of a link that have matched; 0: none
	last   byte // the character before
	opened byte // what stood before the link
	open   spot // where that stood
	prior  spot // of the last bracket
	from   spot // where the link begins
}

const scheme = "http"

// read takes the next character. It returns a link when the character shows that one
// has ended; bracketed: the link and the brackets around it.
func (f *finder) read(c byte, here, after func() spot) (link, bracketed cut, found bool) {
	if c == '<' || c == '[' || c == '(' {
		f.prior = here()
	}
	if f.at == 0 && c|0x20 != 'h' {
		f.last = c
		return
	}
	whole := len(scheme) + len(f.own.rest) + tokenLength
	lower := c
	if 'A' <= c && c <= 'Z' {
		lower += 'a' - 'A'
	}
	switch {
	case f.own.rest == "":
		return
	case f.at == whole:
		f.at = 0
		if notToken(rune(c)) {
			link = cut{f.from, here(), true}
			if bracketed = link; closes(f.opened, c) {
				bracketed = cut{f.open, after(), true}
			}
			found = true
		}
	case f.at >= len(scheme)+len(f.own.rest):
		if f.at++; notToken(rune(c)) {
			f.at = 0
		}
	case f.at > len(scheme):
		if f.at++; lower != f.own.rest[f.at-len(scheme)-1] {
			f.at = 0
		}
	case f.at == len(scheme):
		switch {
		case lower == 's' && f.last|0x20 == 'p':
		case c == f.own.rest[0]:
			f.at++
		default:
			f.at = 0
		}
	case f.at > 0 && lower == scheme[f.at]:
		f.at++
	default:
		f.at = 0
	}
	if f.at == 0 && lower == 'h' && (f.last <= ' ' || strings.IndexByte(`<>[(*"';:`, f.last) >= 0) {
		f.at, f.from, f.opened, f.open = 1, here(), f.last, f.prior
	}
	f.last = c
	return link, bracketed, found
}

// closes says whether a bracket closes another.
func closes(open, c byte) bool {
	return open == '<' && c == '>' || open == '[' && c == ']' || open == '(' && c == ')'
}
