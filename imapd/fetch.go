// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// fetchGroup is how many messages are made ready at once: those of them that can be
// read become \Seen with one sync, and are sent.
const fetchGroup = 16

// fetchItems is what a FETCH asks for, and in which words.
type fetchItems struct {
	*imap.FetchOptions
	labels    []string // of BodySection, up to the literal
	body      bool     // BODY
	structure bool     // BODYSTRUCTURE
	seen      bool     // it sets \Seen
	utf8      bool
}

// Fetch implements imapserver.Session. It sends what can be read, and answers NO
// with the UIDs of what is damaged (RFC 5530, CORRUPTION).
//
// It writes the answers itself: the library's ENVELOPE and BODYSTRUCTURE have no
// room for what stands in the mail, and it flushes each answer.
func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, o *imap.FetchOptions) error {
	if len(o.BinarySection)+len(o.BinarySectionSize) > 0 {
		return bad("BINARY is not offered")
	}
	places, err := s.view.resolve(set)
	if err != nil {
		return err
	}
	items := s.items(w, o)
	var damaged []uint32
	for group := range slices.Chunk(places, fetchGroup) {
		ready, bad, err := s.prepare(group, items)
		if err != nil {
			return s.answer("FETCH", err)
		}
		damaged = append(damaged, bad...)
		if err := s.send(ready); err != nil {
			return err
		}
	}
	return damage(damaged)
}

// damage is the answer that names damaged messages; nil if there are none.
func damage(uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	var set imap.UIDSet
	for _, uid := range uids {
		set.AddNum(imap.UID(uid))
	}
	return no(imap.ResponseCodeCorruption, "Damaged on the server and not sent: UID "+set.String())
}

// items reads what is asked for. Only the library knows whether the client said
// BODY[HEADER] or RFC822.HEADER, so it is asked to write the beginning of an answer.
func (s *session) items(w *imapserver.FetchWriter, o *imap.FetchOptions) *fetchItems {
	items := &fetchItems{FetchOptions: o, utf8: s.utf8()}
	for _, section := range o.BodySection {
		items.seen = items.seen || !section.Peek
		words := s.c.captured(func() {
			r := w.CreateMessage(1)
			_ = r.WriteBodySection(section, 0).Close()
			_ = r.Close()
		})
		_, label, _ := strings.Cut(words, "(")
		label, _, _ = strings.Cut(label, " {")
		if !strings.HasPrefix(label, "RFC822") {
			label = sectionLabel(section)
		}
		items.labels = append(items.labels, label)
	}
	if o.BodyStructure != nil {
		words := s.c.captured(func() {
			r := w.CreateMessage(1)
			r.WriteBodyStructure(&imap.BodyStructureSinglePart{Extended: &imap.BodyStructureSinglePartExt{}})
			_ = r.Close()
		})
		items.body = strings.Contains(words, "BODY (")
		items.structure = strings.Contains(words, "BODYSTRUCTURE (")
	}
	return items
}

// captured is what the library writes in do.
func (c *conn) captured(do func()) string {
	var words bytes.Buffer
	c.mu.Lock()
	c.capture = &words
	c.mu.Unlock()
	do()
	c.mu.Lock()
	c.capture = nil
	c.mu.Unlock()
	return words.String()
}

// sectionLabel is how an answer names a section. Names of fields stand without
// quotes where they can: not every client reads them in quotes.
func sectionLabel(section *imap.FetchItemBodySection) string {
	b := []byte("BODY[")
	for i, n := range section.Part {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if len(section.Part) > 0 && section.Specifier != imap.PartSpecifierNone {
		b = append(b, '.')
	}
	b = append(b, section.Specifier...)
	names := section.HeaderFields
	if len(names) > 0 {
		b = append(b, ".FIELDS"...)
	} else if names = section.HeaderFieldsNot; len(names) > 0 {
		b = append(b, ".FIELDS.NOT"...)
	}
	for i, name := range names {
		if i == 0 {
			b = append(b, " ("...)
		} else {
			b = append(b, ' ')
		}
		if isAtom(name) {
			b = append(b, name...)
		} else {
			b = appendString(b, name, false)
		}
	}
	if len(names) > 0 {
		b = append(b, ')')
	}
	b = append(b, ']')
	if p := section.Partial; p != nil {
		b = fmt.Appendf(b, "<%d>", p.Offset)
	}
	return string(b)
}

func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7F || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// fetchAnswer is the answer for one message: text, with literals in between.
type fetchAnswer struct {
	s        *session
	seq      uint32
	m        Message
	b        []byte
	literals []literal
	any      bool // an item is written
}

// literal is octets of the message, and tail behind them, that go out at a place
// in the text.
type literal struct {
	at      int
	extents []extent
	tail    string
	body    Body // open and compared with its checksum; nil: it is opened again
}

// begin puts the beginning before the items that are written: UID, and FLAGS, which
// are told where they are asked for or have changed.
func (r *fetchAnswer) begin(items *fetchItems, flags []string, changed bool) {
	rest := r.b
	r.b = fmt.Appendf(make([]byte, 0, 128+len(rest)), "* %d FETCH (", r.seq)
	more := r.any
	r.any = false
	if items.UID {
		r.uid(r.m.UID)
	}
	if changed || items.Flags {
		r.flags(flags)
	}
	if more && r.any {
		r.b = append(r.b, ' ')
	}
	for i := range r.literals {
		r.literals[i].at += len(r.b)
	}
	r.b = append(r.b, rest...)
}

func (r *fetchAnswer) item(name string) {
	if r.any {
		r.b = append(r.b, ' ')
	}
	r.any = true
	r.b = append(append(r.b, name...), ' ')
}

func (r *fetchAnswer) uid(uid uint32) {
	r.item("UID")
	r.b = strconv.AppendUint(r.b, uint64(uid), 10)
}

func (r *fetchAnswer) flags(flags []string) {
	r.item("FLAGS")
	r.b = append(r.b, '(')
	for i, f := range flags {
		if i > 0 {
			r.b = append(r.b, ' ')
		}
		r.b = append(r.b, f...)
	}
	r.b = append(r.b, ')')
}

// prepare makes messages ready, and says which are damaged.
func (s *session) prepare(group []place, items *fetchItems) (ready []*fetchAnswer, damaged []uint32, err error) {
	v := s.view
	err = s.each(group, func(p place, m Message) bool {
		ready = append(ready, &fetchAnswer{s: s, seq: p.seq, m: m})
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	var unseen []uint32
	ready = slices.DeleteFunc(ready, func(r *fetchAnswer) bool {
		err := r.write(items)
		if err != nil {
			release([]*fetchAnswer{r})
		}
		switch {
		case err == nil:
			if !slices.Contains(r.m.Flags, `\Seen`) {
				unseen = append(unseen, r.m.UID)
			}
			return false
		case errors.Is(err, ErrNoMessage): // removed by another session
		default: // the others are still to be had
			s.log("FETCH", err, "mailbox", v.name, "uid", r.m.UID)
			if errors.Is(err, ErrDamaged) {
				damaged = append(damaged, r.m.UID)
			}
		}
		return true
	})
	changed := make(map[uint32]Message)
	if items.seen && v.write && len(unseen) > 0 {
		list, err := v.box.Change(unseen, AddFlags, []string{`\Seen`}, v)
		if err != nil {
			release(ready)
			return nil, nil, err
		}
		for _, m := range list {
			changed[m.UID] = m
		}
	}
	for _, r := range ready {
		m, now := changed[r.m.UID]
		if !now {
			m = r.m
		}
		r.begin(items, v.flags(m), now)
	}
	return ready, damaged, nil
}

// write makes the answer, but for its beginning. What it announces can be sent: the
// body was read, and compared with its checksum.
func (r *fetchAnswer) write(items *fetchItems) error {
	if items.InternalDate {
		r.item("INTERNALDATE")
		r.b = r.m.Date.AppendFormat(r.b, `"_2-Jan-2006 15:04:05 -0700"`)
	}
	if items.RFC822Size {
		r.item("RFC822.SIZE")
		r.b = strconv.AppendInt(r.b, r.m.Size, 10)
	}
	if items.Envelope {
		root, err := r.s.structure(r.m, true)
		if err != nil {
			return err
		}
		r.item("ENVELOPE")
		r.b = structure{utf8: items.utf8}.appendEnvelope(r.b, root)
	}
	if items.body || items.structure {
		root, err := r.s.structure(r.m, false)
		if err != nil {
			return err
		}
		if items.body {
			r.item("BODY")
			r.b = structure{utf8: items.utf8}.appendBody(r.b, root)
		}
		if items.structure {
			r.item("BODYSTRUCTURE")
			r.b = structure{extended: true, utf8: items.utf8}.appendBody(r.b, root)
		}
	}
	for i, section := range items.BodySection {
		if err := r.section(section, items.labels[i]); err != nil {
			return err
		}
	}
	return nil
}

// cache is what is known of the message that was read last: a client often asks
// for several parts of it.
type cache struct {
	uid     uint32
	root    *part
	whole   bool // root has all parts
	checked bool // it was compared with its checksum
}

func (s *session) cached(m Message) *cache {
	if s.parts.uid != m.UID {
		s.parts = cache{uid: m.UID}
	}
	return &s.parts
}

// structure finds the parts of a message, or only reads its header.
func (s *session) structure(m Message, headerOnly bool) (*part, error) {
	known := s.cached(m)
	if known.root != nil && (known.whole || headerOnly) {
		return known.root, nil
	}
	body, err := s.view.box.Body(m.UID)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	root, err := walk(body, headerOnly)
	if err != nil {
		return nil, err
	}
	known.root, known.whole = root, !headerOnly
	return root, nil
}

// section writes one section of a message.
func (r *fetchAnswer) section(section *imap.FetchItemBodySection, label string) error {
	r.item(label)
	top := len(section.Part) == 0
	var body Body
	if known := r.s.cached(r.m); !known.checked && !(top && section.Specifier == imap.PartSpecifierHeader) {
		var err error
		if body, err = r.s.check(r.m); err != nil {
			return err
		}
		known.checked = true
	}
	l, ok, err := r.find(section)
	if l.body = body; err != nil || !ok {
		l.close()
	}
	if err != nil {
		return err
	}
	if !ok {
		r.b = append(r.b, `""`...) // there is no such part
		return nil
	}
	size := l.cut(section.Partial)
	r.b = append(r.b, '{')
	r.b = strconv.AppendInt(r.b, size, 10)
	r.b = append(r.b, "}\r\n"...)
	l.at = len(r.b)
	r.literals = append(r.literals, l)
	return nil
}

// check opens a message and compares it with its checksum.
func (s *session) check(m Message) (Body, error) {
	body, err := s.view.box.Body(m.UID)
	if err != nil {
		return nil, err
	}
	if err := body.Check(true); err != nil {
		_ = body.Close()
		return nil, err
	}
	return body, nil
}

// close lets go of what a literal holds.
func (l *literal) close() {
	if l.body != nil {
		_ = l.body.Close()
		l.body = nil
	}
}

// cut leaves of a literal what a partial FETCH asks for, and returns its octets.
func (l *literal) cut(p *imap.SectionPartial) (size int64) {
	from, left := int64(0), int64(1)<<62
	if p != nil {
		from, left = p.Offset, p.Size
	}
	kept := l.extents[:0]
	for _, e := range l.extents {
		skip := min(from, e.len())
		from -= skip
		e.start += skip
		e.end = min(e.end, e.start+left)
		left -= e.len()
		size += e.len()
		if e.len() > 0 {
			kept = append(kept, e)
		}
	}
	l.extents = kept
	l.tail = l.tail[min(from, int64(len(l.tail))):]
	l.tail = l.tail[:min(left, int64(len(l.tail)))]
	return size + int64(len(l.tail))
}

// find finds the octets of a section; ok is false if there is no such part.
func (r *fetchAnswer) find(section *imap.FetchItemBodySection) (l literal, ok bool, err error) {
	whole := extent{0, r.m.Size}
	names, not := section.HeaderFields, false
	if len(section.HeaderFieldsNot) > 0 {
		names, not = section.HeaderFieldsNot, true
	}
	if len(section.Part) == 0 && section.Specifier == imap.PartSpecifierNone {
		return literal{extents: []extent{whole}}, true, nil
	}
	root, err := r.s.structure(r.m, len(section.Part) == 0)
	if err != nil {
		return l, false, err
	}
	header, text := root.header, extent{root.header.end, r.m.Size}
	if len(section.Part) > 0 {
		p := root.find(section.Part)
		if p == nil {
			return l, false, nil
		}
		header, text = p.header, p.body
		if section.Specifier == imap.PartSpecifierNone {
			return literal{extents: []extent{text}}, true, nil
		}
		if section.Specifier != imap.PartSpecifierMIME {
			if !p.isMessage() {
				return l, false, nil
			}
			header, text = p.kids[0].header, p.kids[0].body
		}
	}
	switch {
	case section.Specifier == imap.PartSpecifierText:
		l.extents = []extent{text}
	case len(names) == 0:
		l.extents = []extent{header}
	default:
		l.tail = "\r\n"
		l.extents, err = r.s.headerFields(r.m, header, names, not)
	}
	return l, true, err
}

// headerFields finds the fields of a header that have these names, or all others.
func (s *session) headerFields(m Message, header extent, names []string, not bool) ([]extent, error) {
	body, err := s.view.box.Body(m.UID)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	body.Skip(header.start)
	var found []extent
	err = eachField(io.LimitReader(body, header.len()), func(name string, at extent) {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) == not {
			return
		}
		at.start += header.start
		at.end += header.start
		if n := len(found); n > 0 && found[n-1].end == at.start {
			found[n-1].end = at.end
		} else {
			found = append(found, at)
		}
	})
	return found, err
}

// eachField calls do for each field of a header. A line that is none has no name.
func eachField(r io.Reader, do func(name string, at extent)) error {
	in := lineReaders.Get().(*bufio.Reader)
	in.Reset(r)
	defer func() {
		in.Reset(nil)
		lineReaders.Put(in)
	}()
	var (
		name  string
		field extent
		begin = true
	)
	tell := func() {
		if field.len() > 0 {
			do(name, field)
		}
	}
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if begin {
				switch n, _, ok := bytes.Cut(line, []byte(":")); {
				case len(bytes.TrimRight(line, "\r\n")) == 0:
					tell()
					return nil
				case line[0] != ' ' && line[0] != '\t':
					tell()
					if name = ""; ok {
						name = string(bytes.TrimRight(n, " \t"))
					}
					field.start = field.end
				}
			}
			field.end += int64(len(line))
			begin = line[len(line)-1] == '\n'
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			tell()
			return nil
		default:
			return err
		}
	}
}

// release lets go of what answers hold that are not sent.
func release(ready []*fetchAnswer) {
	for _, r := range ready {
		for i := range r.literals {
			r.literals[i].close()
		}
	}
}

// send sends answers.
func (s *session) send(ready []*fetchAnswer) error {
	defer release(ready)
	for _, r := range ready {
		metricFetched.Inc()
		from := 0
		for i := range r.literals {
			l := &r.literals[i]
			if err := s.c.respond(r.b[from:l.at]); err != nil {
				return err
			}
			from = l.at
			if err := s.stream(r.m, l); err != nil {
				return s.hangUp(r.m, err)
			}
		}
		if err := s.c.respond(append(r.b[from:], ")\r\n"...)); err != nil {
			return err
		}
	}
	return nil
}

// stream sends a literal.
func (s *session) stream(m Message, l *literal) error {
	to := responder{s.c}
	defer l.close()
	if len(l.extents) > 0 {
		if l.body == nil {
			var err error
			if l.body, err = s.view.box.Body(m.UID); err != nil {
				return err
			}
		}
		body, at := l.body, int64(0)
		for _, e := range l.extents {
			body.Skip(e.start - at)
			at = e.end
			if e.end == m.Size { // the rest of it
				if n, err := body.WriteTo(to); err != nil || n != e.len() {
					return errors.Join(err, errShort(n, e.len()))
				}
				continue
			}
			n, err := copyN(to, body, e.len())
			if err = errors.Join(err, errShort(n, e.len())); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(to, l.tail)
	return err
}

func errShort(got, want int64) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%w: %d octets of %d", io.ErrUnexpectedEOF, got, want)
}

var copyBuffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// copyN copies octets through a buffer of the pool.
func copyN(w io.Writer, r io.Reader, n int64) (int64, error) {
	buf := copyBuffers.Get().(*[8 << 10]byte)
	defer copyBuffers.Put(buf)
	done := int64(0)
	for done < n {
		got, err := r.Read(buf[:min(n-done, int64(len(buf)))])
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return done, err
			}
			done += int64(got)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// hangUp ends the connection: what it was promised cannot be sent any more.
func (s *session) hangUp(m Message, err error) error {
	s.log("FETCH broken off", err, "mailbox", s.view.name, "uid", m.UID)
	s.c.failure = errEnded
	_ = s.c.base.Close()
	return errEnded
}
