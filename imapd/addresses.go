// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import "strings"

// maxAddresses is how many addresses of one field are told.
const maxAddresses = 5000

// maxNameWords is how many words behind a comma may belong to the name before it.
const maxNameWords = 16

// mailAddress is an address as ENVELOPE has it. One without a host begins a group,
// or ends it where it has no mailbox either (RFC 3501 section 7.4.2).
type mailAddress struct {
	name, route, mailbox, host string
	hasHost                    bool
}

// addresses reads a list of addresses (RFC 5322 section 3.4), and of what is not
// one as much as can be made of it: words before a comma that are no address are
// the beginning of the next one's name.
func addresses(s string) (list []mailAddress) {
	t := addressReader{tokens: tokens{s: s}}
	group := false
	var words []string // that may be a name
	var comment string
	add := func(route, spec string, angled bool) {
		a := mailAddress{route: route, hasHost: true}
		a.mailbox, a.host = splitAddress(spec)
		switch {
		case angled:
			a.name = strings.Join(words, " ")
		case comment != "":
			a.name = comment
		}
		list = append(list, a)
		words, comment = nil, ""
	}
	rest := func() { // what stands there is no address, or a bare one
		spec := strings.Join(words, "")
		if len(words) == 0 {
			return
		}
		if !strings.Contains(spec, "@") {
			spec = strings.Join(words, " ")
		}
		words = nil
		add("", spec, false)
	}
	for len(list) < maxAddresses {
		ch, word, kind := t.read()
		switch {
		case kind == wordEnd:
			rest()
			if group {
				list = append(list, mailAddress{})
			}
			return list
		case kind == wordComment:
			comment = word
		case kind == wordText:
			words = append(words, word)
		case ch == '<':
			route, spec := t.angle()
			add(route, spec, true)
		case ch == ':' && !group && len(words) > 0 && !strings.Contains(strings.Join(words, ""), "@"):
			group = true
			list = append(list, mailAddress{mailbox: strings.Join(words, " ")})
			words, comment = nil, ""
		case ch == ',':
			if len(words) > 0 && !strings.Contains(strings.Join(words, ""), "@") && t.nameFollows() {
				words[len(words)-1] += ","
				continue
			}
			rest()
			comment = ""
		case ch == ';':
			rest()
			comment = ""
			if group {
				group = false
				list = append(list, mailAddress{})
			}
		default:
			words = append(words, string(ch))
		}
	}
	return list
}

// splitAddress divides an address at its last @.
func splitAddress(spec string) (mailbox, host string) {
	at := strings.LastIndexByte(spec, '@')
	if at < 0 {
		return spec, ""
	}
	return spec[:at], spec[at+1:]
}

type addressReader struct{ tokens }

// What addressReader.read returns.
const (
	wordSpecial = iota
	wordText
	wordComment
	wordEnd
)

// read reads a word, a comment or a special.
func (t *addressReader) read() (special byte, word string, kind int) {
	for t.at < len(t.s) && (t.s[t.at] <= ' ') {
		t.at++
	}
	if t.at >= len(t.s) {
		return 0, "", wordEnd
	}
	switch ch := t.s[t.at]; ch {
	case '(':
		return 0, t.comment(), wordComment
	case '"':
		return 0, t.quoted(), wordText
	case '<', ',', ':', ';', '>':
		t.at++
		return ch, "", wordSpecial
	}
	start := t.at
	for t.at < len(t.s) && t.s[t.at] > ' ' && strings.IndexByte(`("<,:;>`, t.s[t.at]) < 0 {
		t.at++
	}
	return 0, t.s[start:t.at], wordText
}

// comment reads a comment, without its parentheses.
func (t *addressReader) comment() string {
	start := t.at
	t.blank()
	text := strings.TrimRight(t.s[start:t.at], " \t\r\n")
	return strings.TrimSuffix(strings.TrimPrefix(text, "("), ")")
}

// angle reads an address up to its >, and its route (RFC 5322 section 4.4).
func (t *addressReader) angle() (route, spec string) {
	start := t.at
	quoted := false
	for ; t.at < len(t.s); t.at++ {
		switch ch := t.s[t.at]; {
		case ch == '\\' && quoted:
			t.at++
		case ch == '"':
			quoted = !quoted
		case ch == '>' && !quoted:
			spec = t.s[start:t.at]
			t.at++
			if strings.HasPrefix(spec, "@") {
				if before, after, ok := strings.Cut(spec, ":"); ok {
					route, spec = before, after
				}
			}
			return route, strings.TrimSpace(spec)
		}
	}
	t.at = min(t.at, len(t.s))
	return "", strings.TrimSpace(t.s[min(start, t.at):t.at])
}

// nameFollows says whether the next address has a name, and is in angle brackets:
// then words before it that are no address belong to that name.
func (t *addressReader) nameFollows() bool {
	ahead := *t
	for range maxNameWords {
		switch ch, word, kind := ahead.read(); {
		case kind == wordText && strings.Contains(word, "@"), kind == wordEnd:
			return false
		case kind == wordSpecial && ch != ',':
			return ch == '<'
		}
	}
	return false
}
