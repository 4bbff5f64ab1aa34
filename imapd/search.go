// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"github.com/chmail/chmail/internal/charsets"
)

const (
	// maxSearchKeys is how many keys a SEARCH may have, maxSearchNesting how deep
	// they may lie in each other.
	maxSearchKeys, maxSearchNesting = 1000, 64
	// maxSearched is the octets of text of one message that a search looks at.
	maxSearched = 16 << 20
	// maxSearchedHeader is the same of its header.
	maxSearchedHeader = 1 << 20
)

// Search implements imapserver.Session.
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, o *imap.SearchOptions) (
	*imap.SearchData, error) {
	keys := maxSearchKeys
	q, err := s.query(criteria, &keys, maxSearchNesting)
	if err != nil {
		return nil, err
	}
	byUID := kind == imapserver.NumKindUID
	var found []place
	var damaged []uint32
	err = s.each(s.view.all(), func(p place, m Message) bool {
		c := candidate{s: s, place: p, m: m}
		matched := c.matches(q)
		switch {
		case c.err == nil:
			if matched {
				found = append(found, p)
			}
		case !errors.Is(c.err, ErrNoMessage):
			// One that cannot be read matches nothing; the others can.
			s.log("SEARCH", c.err, "mailbox", s.view.name, "uid", p.uid)
			damaged = append(damaged, p.uid)
		}
		return true
	})
	if err != nil {
		return nil, s.answer("SEARCH", err)
	}
	if err := damage(damaged); err != nil {
		if err := s.c.respond([]byte("* " + status(err) + "\r\n")); err != nil { // untagged: a warning
			return nil, err
		}
	}
	if o.ReturnSave {
		s.view.save(found)
	}
	return searchData(found, byUID), nil
}

func searchData(found []place, byUID bool) *imap.SearchData {
	data := &imap.SearchData{Count: uint32(len(found)), All: imap.SeqSet(nil)}
	var seqs imap.SeqSet
	var uids imap.UIDSet
	for _, p := range found {
		if byUID {
			uids.AddNum(imap.UID(p.uid))
		} else {
			seqs.AddNum(p.seq)
		}
	}
	data.All = seqs
	if byUID {
		data.All = uids
	}
	if len(found) > 0 {
		first, last := found[0], found[len(found)-1]
		data.Min, data.Max = first.seq, last.seq
		if byUID {
			data.Min, data.Max = first.uid, last.uid
		}
	}
	return data
}

// save keeps the result of a search for later commands (RFC 5182).
func (v *view) save(found []place) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.saved = uidsAt(found)
}

// query is criteria made ready: sets are of this mailbox, words in lower case.
type query struct {
	*imap.SearchCriteria
	sets       [][]place // a message must be in each
	body, text []string
	header     []imap.SearchCriteriaHeaderField
	not        []*query
	or         [][2]*query
}

func (s *session) query(c *imap.SearchCriteria, keys *int, depth int) (*query, error) {
	*keys -= 1 + len(c.Header) + len(c.Body) + len(c.Text) + len(c.Flag) + len(c.NotFlag) + len(c.SeqNum) + len(c.UID)
	if *keys < 0 || depth == 0 {
		return nil, no(imap.ResponseCodeLimit, "Too long a search")
	}
	q := &query{SearchCriteria: c, header: slices.Clone(c.Header)}
	for _, set := range c.SeqNum {
		places, _ := s.view.resolve(set) // none of them is no error here
		q.sets = append(q.sets, places)
	}
	for _, set := range c.UID {
		places, _ := s.view.resolve(set)
		q.sets = append(q.sets, places)
	}
	for _, word := range c.Body {
		q.body = append(q.body, strings.ToLower(word))
	}
	for _, word := range c.Text {
		q.text = append(q.text, strings.ToLower(word))
	}
	for i := range q.header {
		q.header[i].Value = strings.ToLower(q.header[i].Value)
	}
	for i := range c.Not {
		not, err := s.query(&c.Not[i], keys, depth-1)
		if err != nil {
			return nil, err
		}
		q.not = append(q.not, not)
	}
	for i := range c.Or {
		var or [2]*query
		for n := range or {
			var err error
			if or[n], err = s.query(&c.Or[i][n], keys, depth-1); err != nil {
				return nil, err
			}
		}
		q.or = append(q.or, or)
	}
	return q, nil
}

// candidate is one message that is compared with a query; what costs reading is
// read when it is first asked for.
type candidate struct {
	s      *session
	place  place
	m      Message
	header []field // decoded, in lower case; nil: not read
	body   []byte  // the decoded text of the body, in lower case
	read   bool    // body is
	err    error
}

func (c *candidate) matches(q *query) bool {
	return c.matchesIndex(q) && c.matchesHeader(q) && c.matchesText(q) &&
		!slices.ContainsFunc(q.not, c.matches) &&
		!slices.ContainsFunc(q.or, func(or [2]*query) bool { return !c.matches(or[0]) && !c.matches(or[1]) })
}

// day is a time's date without its zone (RFC 3501 section 6.4.4).
func day(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

func inDays(t, since, before time.Time) bool {
	return (since.IsZero() || !day(t).Before(day(since))) && (before.IsZero() || day(t).Before(day(before)))
}

// matchesIndex compares what needs no reading.
func (c *candidate) matchesIndex(q *query) bool {
	for _, set := range q.sets {
		if _, in := slices.BinarySearchFunc(set, c.place, bySeq); !in {
			return false
		}
	}
	switch {
	case q.Larger > 0 && c.m.Size <= q.Larger,
		q.Smaller > 0 && c.m.Size >= q.Smaller,
		!inDays(c.m.Date, q.Since, q.Before):
		return false
	}
	has := func(flag imap.Flag) bool {
		if strings.EqualFold(string(flag), `\Recent`) {
			return c.s.view.isRecent(c.place.uid)
		}
		return slices.ContainsFunc(c.m.Flags, func(f string) bool { return strings.EqualFold(f, string(flag)) })
	}
	return !slices.ContainsFunc(q.Flag, func(f imap.Flag) bool { return !has(f) }) &&
		!slices.ContainsFunc(q.NotFlag, has)
}

func (c *candidate) matchesHeader(q *query) bool {
	if len(q.header) == 0 && q.SentSince.IsZero() && q.SentBefore.IsZero() {
		return true
	}
	if !c.readHeader() {
		return false
	}
	if !q.SentSince.IsZero() || !q.SentBefore.IsZero() {
		date, ok := c.date()
		if !ok || !inDays(date, q.SentSince, q.SentBefore) {
			return false
		}
	}
	for _, want := range q.header {
		if !slices.ContainsFunc(c.header, func(f field) bool {
			return strings.EqualFold(f.name, want.Key) && strings.Contains(f.value, want.Value)
		}) {
			return false
		}
	}
	return true
}

// date is when the message was sent, by its header.
func (c *candidate) date() (time.Time, bool) {
	for _, f := range c.header {
		if f.name == "date" {
			t, err := mail.ParseDate(f.value)
			return t, err == nil
		}
	}
	return time.Time{}, false
}

func (c *candidate) matchesText(q *query) bool {
	for _, word := range q.body {
		if !c.bodyHas(word) {
			return false
		}
	}
	for _, word := range q.text {
		if !c.headerHas(word) && !c.bodyHas(word) {
			return false
		}
	}
	return true
}

func (c *candidate) headerHas(word string) bool {
	return c.readHeader() && slices.ContainsFunc(c.header, func(f field) bool {
		return strings.Contains(f.name+": "+f.value, word)
	})
}

// readHeader reads the fields, and reports whether it could.
func (c *candidate) readHeader() bool {
	if c.header != nil || c.err != nil {
		return c.err == nil
	}
	var body Body
	if body, c.err = c.s.view.box.Body(c.m.UID); c.err != nil {
		return false
	}
	defer body.Close()
	c.header = []field{}
	var raw bytes.Buffer
	end := int64(0)
	limited := io.TeeReader(io.LimitReader(body, maxSearchedHeader), &raw)
	var at []extent
	c.err = eachField(limited, func(name string, e extent) {
		at = append(at, e)
		end = e.end
	})
	for _, e := range at {
		name, value, _ := bytes.Cut(raw.Bytes()[e.start:min(e.end, end)], []byte(":"))
		c.header = append(c.header, field{
			strings.ToLower(string(bytes.TrimSpace(name))), strings.ToLower(decodeWords(unfold(value))),
		})
	}
	return c.err == nil
}

// unfold takes the line ends out of a field.
func unfold(value []byte) string {
	return strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "", "\t", " ").Replace(string(value)))
}

// decodeWords decodes the encoded words of a field (RFC 2047), where it can.
func decodeWords(value string) string {
	if text, err := charsets.Words.DecodeHeader(value); err == nil {
		return text
	}
	return value
}

func (c *candidate) bodyHas(word string) bool {
	if !c.read && c.err == nil {
		c.read = true
		var root *part
		if root, c.err = c.s.structure(c.m, false); c.err == nil {
			var text bytes.Buffer
			c.err = c.collect(&text, root)
			c.body = bytes.ToLower(text.Bytes())
		}
	}
	return c.err == nil && bytes.Contains(c.body, []byte(word))
}

// collect appends the decoded text parts.
func (c *candidate) collect(to *bytes.Buffer, p *part) error {
	if p.multipart || p.isMessage() {
		for _, kid := range p.kids {
			if err := c.collect(to, kid); err != nil {
				return err
			}
		}
		return nil
	}
	if p.kind != "text" && p.kind != "message" {
		return nil
	}
	body, err := c.s.view.box.Body(c.m.UID)
	if err != nil {
		return err
	}
	defer body.Close()
	body.Skip(p.body.start)
	read := &readErrors{r: io.LimitReader(body, p.body.len())}
	// A body that cannot be decoded to its end is searched up to there.
	_, _ = io.Copy(to, io.LimitReader(decoded(read, p), int64(max(maxSearched-to.Len(), 0))))
	to.WriteByte('\n')
	return read.err
}

// readErrors tells errors of reading from those of decoding.
type readErrors struct {
	r   io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// decoded is the text of a part in UTF-8.
func decoded(r io.Reader, p *part) io.Reader {
	switch p.encoding() {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	}
	for _, param := range p.params {
		if param.name == "charset" {
			if e := charsets.ForReading(param.value); e != nil {
				return e.NewDecoder().Reader(r)
			}
		}
	}
	return r
}
