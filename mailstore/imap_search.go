// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
	gomessage "github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
)

func (m *imapMailbox) SearchMessages(byUID bool, criteria *imap.SearchCriteria) ([]uint32, error) {
	defer m.session.sync(m.box, byUID)
	m.resolveSets(criteria)
	var found, damaged []uint32
	for _, p := range m.session.all() {
		msg, err := m.box.message(p.uid)
		if errors.Is(err, ErrNoMessage) {
			continue
		}
		if errors.Is(err, ErrClosed) {
			return nil, m.user.answer(err)
		}
		c := candidate{m: m, place: p, msg: msg, err: err}
		matched := err == nil && c.matches(criteria)
		if c.err != nil {
			// One that cannot be read matches nothing; the others can.
			m.report("SEARCH", p.uid, c.err)
			damaged = append(damaged, p.uid)
			continue
		}
		if matched && byUID {
			found = append(found, p.uid)
		} else if matched {
			found = append(found, p.seq)
		}
	}
	if status, ok := damage(damaged).(*imap.ErrStatusResp); ok && m.session.conn != nil {
		_ = m.session.conn.SendUpdate(&imapbackend.StatusUpdate{StatusResp: status.Resp}) // untagged: a warning
	}
	return found, nil
}

// resolveSets gives * its meaning in all sets of the criteria.
func (m *imapMailbox) resolveSets(c *imap.SearchCriteria) {
	star := func(set *imap.SeqSet, byUID bool) *imap.SeqSet {
		if set == nil {
			return nil
		}
		fixed := new(imap.SeqSet)
		for _, p := range m.session.resolve(byUID, set) {
			if byUID {
				fixed.AddNum(p.uid)
			} else {
				fixed.AddNum(p.seq)
			}
		}
		return fixed
	}
	c.Uid, c.SeqNum = star(c.Uid, true), star(c.SeqNum, false)
	for _, not := range c.Not {
		m.resolveSets(not)
	}
	for _, or := range c.Or {
		m.resolveSets(or[0])
		m.resolveSets(or[1])
	}
}

// candidate is one message that is compared with criteria; what costs reading
// is read when it is first asked for.
type candidate struct {
	m      *imapMailbox
	place  place
	msg    *message
	header *mail.Header
	text   []byte // the decoded text of the body, in lower case
	read   bool   // text is
	err    error
}

func (c *candidate) matches(w *imap.SearchCriteria) bool {
	return c.matchesIndex(w) && c.matchesHeader(w) && c.matchesText(w) &&
		!slices.ContainsFunc(w.Not, c.matches) &&
		!slices.ContainsFunc(w.Or, func(or [2]*imap.SearchCriteria) bool {
			return !c.matches(or[0]) && !c.matches(or[1])
		})
}

// day is a time's date without its zone (RFC 3501 section 6.4.4).
func day(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

func inDays(t, since, before time.Time) bool {
	return (since.IsZero() || !day(t).Before(day(since))) && (before.IsZero() || day(t).Before(day(before)))
}

// matchesIndex compares what needs no reading.
func (c *candidate) matchesIndex(w *imap.SearchCriteria) bool {
	size := c.msg.size()
	switch {
	case w.Uid != nil && !w.Uid.Contains(c.place.uid),
		w.SeqNum != nil && !w.SeqNum.Contains(c.place.seq),
		w.Larger > 0 && size <= int64(w.Larger),
		w.Smaller > 0 && size >= int64(w.Smaller),
		!inDays(time.Unix(c.msg.date, 0).UTC(), w.Since, w.Before):
		return false
	}
	has := func(flag string) bool {
		if strings.EqualFold(flag, imap.RecentFlag) {
			return c.m.session.isRecent(c.place.uid)
		}
		if bit := systemFlags[strings.ToLower(flag)]; bit != 0 {
			return c.msg.flags&bit != 0
		}
		return slices.ContainsFunc(c.msg.keywords, func(k string) bool { return strings.EqualFold(k, flag) })
	}
	return !slices.ContainsFunc(w.WithFlags, func(f string) bool { return !has(f) }) &&
		!slices.ContainsFunc(w.WithoutFlags, has)
}

func (c *candidate) matchesHeader(w *imap.SearchCriteria) bool {
	if len(w.Header) == 0 && w.SentSince.IsZero() && w.SentBefore.IsZero() {
		return true
	}
	h := c.readHeader()
	if h == nil {
		return false
	}
	if !w.SentSince.IsZero() || !w.SentBefore.IsZero() {
		sent, err := h.Date()
		if err != nil || !inDays(sent, w.SentSince, w.SentBefore) {
			return false
		}
	}
	for key, values := range w.Header {
		for _, value := range values {
			if !hasField(h, key, value) {
				return false
			}
		}
	}
	return true
}

// hasField says whether a field with that name contains a value, in any case.
func hasField(h *mail.Header, key, value string) bool {
	for f := h.FieldsByKey(key); f.Next(); {
		if contains(decoded(f), value) {
			return true
		}
	}
	return false
}

func decoded(f gomessage.HeaderFields) string {
	text, err := f.Text()
	if err != nil {
		return f.Value() // in an unknown charset
	}
	return text
}

func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

func (c *candidate) matchesText(w *imap.SearchCriteria) bool {
	for _, part := range w.Body {
		if !c.bodyHas(part) {
			return false
		}
	}
	for _, part := range w.Text {
		if !c.headerHas(part) && !c.bodyHas(part) {
			return false
		}
	}
	return true
}

func (c *candidate) headerHas(part string) bool {
	h := c.readHeader()
	if h == nil {
		return false
	}
	for f := h.Fields(); f.Next(); {
		if contains(f.Key()+": "+decoded(f), part) {
			return true
		}
	}
	return false
}

func (c *candidate) bodyHas(part string) bool {
	if !c.read {
		c.read = true
		c.err = c.m.parse(c.place.uid, c.msg, func(h textproto.Header, body io.Reader) {
			var b bytes.Buffer
			collectText(&b, gomessage.Header{Header: h}, body, 0)
			c.text = bytes.ToLower(b.Bytes())
		})
	}
	return bytes.Contains(c.text, bytes.ToLower([]byte(part)))
}

func (c *candidate) readHeader() *mail.Header {
	if c.header == nil && c.err == nil {
		c.err = c.m.parse(c.place.uid, c.msg, func(h textproto.Header, _ io.Reader) {
			c.header = &mail.Header{Header: gomessage.Header{Header: h}}
		})
	}
	return c.header
}

const (
	// maxParts is how deep parts are searched for text.
	maxParts = 20
	// maxSearched is the octets of text of one message that a search looks at.
	maxSearched = 16 << 20
)

// collectText appends the decoded text parts of a body. What is malformed is
// searched as it stands.
func collectText(b *bytes.Buffer, h gomessage.Header, body io.Reader, depth int) {
	e, err := gomessage.New(h, body)
	if e == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
		return
	}
	if parts := e.MultipartReader(); parts != nil && depth < maxParts {
		for {
			part, err := parts.NextPart()
			if part == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
				return
			}
			if parts := part.MultipartReader(); parts != nil {
				collectText(b, part.Header, part.Body, depth+1)
			} else {
				appendText(b, part)
			}
		}
	}
	appendText(b, e)
}

func appendText(b *bytes.Buffer, e *gomessage.Entity) {
	kind, _, _ := e.Header.ContentType()
	if kind != "" && !strings.HasPrefix(kind, "text/") && !strings.HasPrefix(kind, "message/") {
		return
	}
	// A body that cannot be decoded to its end is searched up to there.
	_, _ = io.Copy(b, io.LimitReader(e.Body, int64(max(maxSearched-b.Len(), 0))))
	b.WriteByte('\n')
}
