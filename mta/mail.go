// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"bytes"
	"io"
	"net/mail"
	"slices"
	"strings"

	"github.com/emersion/go-message/textproto"
	"github.com/foxcpp/maddy/framework/buffer"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/charsets"
	"github.com/chmail/chmail/mta/stamp"
)

// smallBody is the length in bytes up to which a recipient's body is made once, in
// memory: those who sign and those who store it read it each.
const smallBody = 64 << 10

// stampedBody is one recipient's body.
func stampedBody(raw buffer.Buffer, c *stamp.Copy) (buffer.Buffer, error) {
	b := stamped{Buffer: raw, copy: c}
	if b.Len() > smallBody {
		return b, nil
	}
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	made := bytes.NewBuffer(make([]byte, 0, b.Len()+bytes.MinRead))
	if _, err := made.ReadFrom(r); err != nil {
		return nil, err
	}
	return buffer.MemoryBuffer{Slice: made.Bytes()}, nil
}

// stamped is a large one, made anew from the submitted one at each Open; nothing of
// it is stored.
type stamped struct {
	buffer.Buffer
	copy *stamp.Copy
}

// Open implements buffer.Buffer.
func (b stamped) Open() (io.ReadCloser, error) {
	raw, err := b.Buffer.Open()
	if err != nil {
		return nil, err
	}
	return b.copy.Reader(raw), nil
}

// Len implements buffer.Buffer.
func (b stamped) Len() int { return b.Buffer.Len() + int(b.copy.Growth()) }

// Remove implements buffer.Buffer. The submitted body belongs to who made it.
func (b stamped) Remove() error { return nil }

// mailOf is what a header says about its conversation. Its sender is the login; what
// the From field says beside it is for the rooms to believe, and nothing when there
// is more than one address.
func mailOf(h textproto.Header, login string, copies []*outgoing) chat.Mail {
	names := make(map[string]string)
	for _, key := range []string{"To", "Cc"} {
		for _, a := range addresses(h, key) {
			names[strings.ToLower(a.Address)] = a.Name
		}
	}
	m := chat.Mail{
		MessageID:  first(messageIDs(h.Get("Message-Id"))),
		References: references(h),
		Sender:     chat.Person{Login: login, Addr: strings.ToLower(login)},
		Subject:    decodeText(h.Get("Subject")),
	}
	if from := addresses(h, "From"); len(from) == 1 {
		m.Sender.Addr, m.Sender.Name = strings.ToLower(from[0].Address), from[0].Name
	}
	if date, err := mail.ParseDate(h.Get("Date")); err == nil {
		m.Date = date
	}
	for _, c := range copies {
		name, listed := names[strings.ToLower(c.rcpt)]
		if !listed {
			_, listed = names[strings.ToLower(c.written)]
		}
		m.Recipients = append(m.Recipients, chat.Person{Addr: c.rcpt, Name: name, Hidden: !listed}) // not listed: Bcc
	}
	return m
}

// references are the message IDs of References and In-Reply-To, each once,
// the message that is answered last (RFC 5322 section 3.6.4).
func references(h textproto.Header) []string {
	refs := messageIDs(h.Get("References"))
	for _, id := range messageIDs(h.Get("In-Reply-To")) {
		if !slices.Contains(refs, id) {
			refs = append(refs, id)
		}
	}
	return refs[max(0, len(refs)-maxReferences):]
}

// messageIDs finds what stands between angle brackets.
func messageIDs(v string) []string {
	var ids []string
	for {
		_, rest, ok := strings.Cut(v, "<")
		id, after, closed := strings.Cut(rest, ">")
		if !ok || !closed {
			return ids
		}
		if id = strings.Join(strings.Fields(id), ""); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		v = after
	}
}

func first(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ids[0]
}

// decodeText returns a field as a person reads it, or as it is if it cannot
// be decoded.
func decodeText(v string) string {
	if decoded, err := charsets.Words.DecodeHeader(v); err == nil {
		v = decoded
	}
	return strings.ToValidUTF8(strings.TrimSpace(v), "\uFFFD")
}

// addresses of every field named key; a list that cannot be read is none.
func addresses(h textproto.Header, key string) []*mail.Address {
	parser := mail.AddressParser{WordDecoder: charsets.Words}
	var all []*mail.Address
	for _, v := range h.Values(key) {
		if list, err := parser.ParseList(v); err == nil {
			all = append(all, list...)
		}
	}
	return all
}
