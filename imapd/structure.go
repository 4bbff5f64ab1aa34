// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendString writes a string: in quotes where it can be, else as a literal.
func appendString(b []byte, s string, utf8Quoted bool) []byte {
	plain := len(s) <= 4096
	ascii := true
	for i := 0; i < len(s) && plain; i++ {
		switch ch := s[i]; {
		case ch == 0, ch == '\r', ch == '\n':
			plain = false
		case ch >= 0x80:
			ascii = false
		}
	}
	if !plain || !ascii && (!utf8Quoted || !utf8.ValidString(s)) {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, "}\r\n"...)
		return append(b, strings.ReplaceAll(s, "\x00", " ")...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

func appendNString(b []byte, s string, ok, utf8Quoted bool) []byte {
	if !ok {
		return append(b, "NIL"...)
	}
	return appendString(b, s, utf8Quoted)
}

// structure writes BODYSTRUCTURE, or BODY where it is not extended, and ENVELOPE.
type structure struct {
	extended, utf8 bool
}

// appendBody writes a part (RFC 3501 section 7.4.2, body).
func (w structure) appendBody(b []byte, p *part) []byte {
	b = append(b, '(')
	if p.multipart {
		b = w.appendMultipart(b, p)
	} else {
		b = w.appendSingle(b, p)
	}
	return append(b, ')')
}

// emptyPart stands in a multipart that has no part: there must be one.
const emptyPart = `("text" "plain" NIL NIL NIL "7bit" 0 0`

func (w structure) appendMultipart(b []byte, p *part) []byte {
	for _, kid := range p.kids {
		b = w.appendBody(b, kid)
	}
	if len(p.kids) == 0 {
		b = append(b, emptyPart...)
		if w.extended {
			b = append(b, " NIL NIL NIL NIL"...)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	b = appendString(b, orElse(p.sub, "mixed"), w.utf8)
	if !w.extended {
		return b
	}
	b = append(b, ' ')
	b = w.appendParams(b, p.params)
	return w.appendExtension(b, p)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (w structure) appendSingle(b []byte, p *part) []byte {
	b = appendString(b, p.kind, w.utf8)
	b = append(b, ' ')
	b = appendString(b, orElse(p.sub, "plain"), w.utf8)
	b = append(b, ' ')
	b = w.appendParams(b, p.params)
	for _, name := range []string{"content-id", "content-description"} {
		value, ok := p.first(name)
		b = append(b, ' ')
		b = appendNString(b, value, ok, w.utf8)
	}
	b = append(b, ' ')
	b = appendString(b, p.encoding(), w.utf8)
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.body.len(), 10)
	switch {
	case p.isMessage():
		b = append(b, ' ')
		b = w.appendEnvelope(b, p.kids[0])
		b = append(b, ' ')
		b = w.appendBody(b, p.kids[0])
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.lines, 10)
	case p.kind == "text":
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.lines, 10)
	}
	if !w.extended {
		return b
	}
	md5, ok := p.first("content-md5")
	b = append(b, ' ')
	b = appendNString(b, md5, ok, w.utf8)
	return w.appendExtension(b, p)
}

// encoding is a part's Content-Transfer-Encoding; 7bit, where it has none.
func (p *part) encoding() string {
	value, _ := p.first("content-transfer-encoding")
	t := tokens{s: value}
	return orElse(strings.ToLower(t.token()), "7bit")
}

func (w structure) appendParams(b []byte, params []param) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, p := range params {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendString(b, p.name, w.utf8)
		b = append(b, ' ')
		b = appendString(b, p.value, w.utf8)
	}
	return append(b, ')')
}

// appendExtension writes disposition, language and location.
func (w structure) appendExtension(b []byte, p *part) []byte {
	b = append(b, ' ')
	if value, ok := p.first("content-disposition"); ok && value != "" {
		kind, _, params := parseType(value)
		b = append(b, '(')
		b = appendString(b, orElse(kind, "attachment"), w.utf8)
		b = append(b, ' ')
		b = w.appendParams(b, params)
		b = append(b, ')')
	} else {
		b = append(b, "NIL"...)
	}
	b = append(b, ' ')
	var languages []string
	value, _ := p.first("content-language")
	for t := (tokens{s: value}); t.at < len(t.s); t.skipTo(',') {
		if tag := t.token(); tag != "" {
			languages = append(languages, tag)
		}
	}
	if len(languages) == 0 {
		b = append(b, "NIL"...)
	} else {
		for i, tag := range languages {
			b = append(b, " ("[boolInt(i == 0)])
			b = appendString(b, tag, w.utf8)
		}
		b = append(b, ')')
	}
	location, ok := p.first("content-location")
	b = append(b, ' ')
	return appendNString(b, location, ok, w.utf8)
}

// appendEnvelope writes the ENVELOPE of a message. Values are as they stand there:
// encoded words are the client's to read, whatever their charset.
func (w structure) appendEnvelope(b []byte, p *part) []byte {
	b = append(b, '(')
	for _, name := range []string{"date", "subject"} {
		value, ok := p.first(name)
		b = appendNString(b, value, ok, w.utf8)
		b = append(b, ' ')
	}
	from, _ := p.field("from")
	for _, name := range []string{"from", "sender", "reply-to", "to", "cc", "bcc"} {
		list, ok := p.field(name)
		if name == "sender" || name == "reply-to" {
			if len(addresses(list)) == 0 {
				list, ok = from, true // RFC 3501 section 7.4.2
			}
		}
		found := addresses(list)
		if !ok || len(found) == 0 {
			b = append(b, "NIL "...)
			continue
		}
		b = append(b, '(')
		for _, a := range found {
			b = append(b, '(')
			b = appendNString(b, a.name, a.name != "", w.utf8)
			b = append(b, ' ')
			b = appendNString(b, a.route, a.route != "", w.utf8)
			b = append(b, ' ')
			b = appendNString(b, a.mailbox, a.mailbox != "" || a.hasHost, w.utf8)
			b = append(b, ' ')
			b = appendNString(b, a.host, a.hasHost, w.utf8)
			b = append(b, ')')
		}
		b = append(b, ") "...)
	}
	inReplyTo, ok := p.first("in-reply-to")
	b = appendNString(b, inReplyTo, ok, w.utf8)
	b = append(b, ' ')
	id, ok := p.first("message-id")
	b = appendNString(b, id, ok, w.utf8)
	return append(b, ')')
}
