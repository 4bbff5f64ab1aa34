// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"errors"
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"

	"github.com/chmail/chmail/internal/charsets"
)

var strict = mail.AddressParser{WordDecoder: charsets.Words}

// toUTF8 reads a field's value that is not in ASCII. Mail programs of old wrote such
// in the charset of the text.
func toUTF8(v, charset string) string {
	if strings.Contains(v, "\x1b$") {
		if s, err := japanese.ISO2022JP.NewDecoder().String(v); err == nil {
			return s
		}
	}
	if utf8.ValidString(v) {
		return v
	}
	if e := charsets.ForReading(charset); e != nil {
		if s, err := e.NewDecoder().String(v); err == nil && !strings.ContainsRune(s, utf8.RuneError) {
			return s
		}
	}
	s, err := charmap.Windows1252.NewDecoder().String(v)
	if err != nil {
		return strings.ToValidUTF8(v, "\uFFFD")
	}
	return s
}

// Errors of mailboxes.
var (
	errNoAddress  = errors.New("no address")
	errUnclear    = errors.New("it cannot be read")
	errBadAddress = errors.New("it has an address that is none")
)

// mailboxes reads a list of addresses: by RFC 5322, or, where it breaks its rules,
// as a person would. exact tells that every part of the server can read it.
func mailboxes(v, charset string) (list []*mail.Address, exact bool, err error) {
	if list, err = mail.ParseAddressList(v); err == nil {
		exact = true
	} else if list, err = strict.ParseList(v); err != nil {
		list, err = lenient(toUTF8(v, charset))
	}
	if err == nil && len(list) == 0 { // a group of nobody
		err = errNoAddress
	}
	return list, exact, err
}

// lenient splits a list at the commas that stand outside quotes, comments and angle
// brackets. What has no address belongs to the name of the next.
func lenient(v string) ([]*mail.Address, error) {
	var (
		list []*mail.Address
		s    = scanner{rest: v}
		name strings.Builder
	)
	for {
		e, more, err := s.element()
		if err != nil {
			return nil, err
		}
		if e.name != "" {
			if name.Len() > 0 {
				name.WriteString(", ")
			}
			name.WriteString(e.name)
		}
		if e.addr != "" {
			if !plausible(e.addr) {
				return nil, errBadAddress
			}
			list = append(list, &mail.Address{Name: decoded(name.String()), Address: e.addr})
			name.Reset()
		}
		if !more {
			break
		}
	}
	if len(list) == 0 {
		return nil, errNoAddress
	}
	return list, nil
}

// decoded is a name with its RFC 2047 words read, those that can be.
func decoded(name string) string {
	if s, err := charsets.Words.DecodeHeader(name); err == nil {
		name = s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(name))
}

// plausible says whether addr has a local part and a domain, and nothing that
// ends an address.
func plausible(addr string) bool {
	i := strings.LastIndexByte(addr, '@')
	return i > 0 && isDomain(addr[i+1:]) &&
		!strings.ContainsFunc(addr, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }) &&
		!strings.ContainsAny(addr, `<>,;()"`) && !strings.Contains(addr[:i], "@")
}

// isDomain says whether s can be a domain, or is an address in brackets.
func isDomain(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		return strings.HasSuffix(inner, "]") && strings.Trim(inner, "0123456789abcdefABCDEF.:IPv]") == ""
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return false
		}
		return r < 0x80 || r == utf8.RuneError
	})
}

// scanner reads the elements of a list.
type scanner struct{ rest string }

// element is what stands between two commas.
type element struct{ name, addr string }

// element reads up to the next comma.
func (s *scanner) element() (e element, more bool, err error) {
	var (
		text, comment bytes.Buffer // text is outside quotes; quoted text is marked, so that its @ counts not
		angle         string
		angles, after int // how many, and where the text after one begins
	)
	end := func() (element, error) {
		if angles > 0 && strings.Contains(text.String()[after:], "@") { // another address?
			angles++
		}
		return elementOf(text.String(), comment.String(), angle, angles)
	}
	for s.rest != "" {
		c := s.rest[0]
		switch c {
		case ',', ';':
			s.rest = s.rest[1:]
			e, err = end()
			return e, true, err
		case '"':
			quoted, ok := s.quoted()
			if !ok { // a lone quote is a letter
				s.rest = s.rest[1:]
				continue
			}
			text.WriteString(strings.ReplaceAll(quoted, "@", quotedAt))
		case '(':
			inner, ok := s.comment()
			if !ok {
				text.WriteByte(c)
				s.rest = s.rest[1:]
				continue
			}
			comment.WriteString(inner)
		case '<':
			i := strings.IndexByte(s.rest, '>')
			if i < 0 {
				return e, false, errUnclear
			}
			angle = s.rest[1:i]
			angles++
			after = text.Len()
			s.rest = s.rest[i+1:]
		default:
			text.WriteByte(c)
			s.rest = s.rest[1:]
		}
	}
	e, err = end()
	return e, false, err
}

// quotedAt stands for an @ in quotes.
const quotedAt = "\x00"

// quoted reads a quoted string.
func (s *scanner) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			if i++; i < len(s.rest) {
				b.WriteByte(s.rest[i])
			}
		case '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		default:
			b.WriteByte(s.rest[i])
		}
	}
	return "", false
}

// comment reads a comment, which may have others in it.
func (s *scanner) comment() (string, bool) {
	depth := 0
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				inner := s.rest[1:i]
				s.rest = s.rest[i+1:]
				return inner, true
			}
		}
	}
	return "", false
}

// elementOf finds name and address of an element.
func elementOf(text, comment, angle string, angles int) (element, error) {
	if angles > 1 {
		return element{}, errUnclear
	}
	named := func(name string) string {
		return strings.Join(strings.Fields(strings.ReplaceAll(name, quotedAt, "@")), " ")
	}
	if angles == 1 {
		if i := strings.LastIndexByte(angle, ':'); strings.HasPrefix(angle, "@") && i > 0 { // an old route
			angle = angle[i+1:]
		}
		return element{name: named(text), addr: strings.TrimSpace(angle)}, nil
	}
	var e element
	var name []string
	for _, word := range strings.Fields(text) {
		switch {
		case !strings.Contains(word, "@"):
			name = append(name, word)
		case e.addr != "":
			return element{}, errUnclear
		default:
			e.addr = strings.TrimPrefix(word, "mailto:")
		}
	}
	e.name = named(strings.Join(name, " "))
	if e.name == "" {
		e.name = named(comment)
	}
	return e, nil
}

// format writes a list as RFC 5322 has it.
func format(list []*mail.Address) string {
	all := make([]string, len(list))
	for i, a := range list {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}
