// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/emersion/go-imap"
	"github.com/emersion/go-imap/backend/backendutil"
	"github.com/emersion/go-message/textproto"
)

// fetchGroup is how many messages are made ready at once: those of them that
// can be read become \Seen with one sync, and are sent.
const fetchGroup = 16

// ListMessages sends what can be read, and answers NO with the UIDs of what is
// damaged (RFC 5530, CORRUPTION).
func (m *imapMailbox) ListMessages(byUID bool, set *imap.SeqSet, items []imap.FetchItem,
	ch chan<- *imap.Message) error {
	defer m.session.sync(m.box, false)
	defer close(ch) // before sync, whose updates wait for this answer's end
	places, err := m.resolve(byUID, set)
	if err != nil {
		return err
	}
	wants, err := parseItems(items)
	if err != nil {
		return err
	}
	var damaged []uint32
	for group := range slices.Chunk(places, fetchGroup) {
		answers, bad, err := m.fetchGroup(group, wants)
		if err != nil {
			return m.user.answer(err)
		}
		damaged = append(damaged, bad...)
		for _, answer := range answers {
			ch <- answer
		}
	}
	return damage(damaged)
}

// fetchGroup makes messages ready, and says which are damaged.
func (m *imapMailbox) fetchGroup(group []place, wants *fetchItems) (
	answers []*imap.Message, damaged []uint32, err error) {
	var unseen []uint32
	places := make(map[uint32]*imap.Message, len(group))
	for _, p := range group {
		msg, err := m.box.message(p.uid)
		var answer *imap.Message
		if err == nil {
			answer, err = m.fetch(p, msg, wants)
		}
		switch {
		case err == nil:
			answers = append(answers, answer)
			places[p.uid] = answer
			if msg.flags&flagSeen == 0 {
				unseen = append(unseen, p.uid)
			}
		case errors.Is(err, ErrNoMessage): // removed by another session
		case errors.Is(err, ErrClosed):
			return nil, nil, err
		default: // the others are still to be had
			m.report("FETCH", p.uid, err)
			if errors.Is(err, ErrDamaged) {
				damaged = append(damaged, p.uid)
			}
		}
	}
	if !wants.seen || m.readOnly || len(unseen) == 0 {
		return answers, damaged, nil
	}
	changed, err := m.box.changeFlags(unseen, addFlags, []string{imap.SeenFlag}, nil)
	for _, e := range changed {
		if answer := places[e.uid]; slices.Contains(wants.items, imap.FetchFlags) {
			answer.Flags = m.session.flags(e.uid, e.msg)
		}
	}
	return answers, damaged, err
}

// report logs what is wrong with one message.
func (m *imapMailbox) report(command string, uid uint32, err error) {
	m.user.s.o.Log.Error("mailstore: IMAP "+command, "err", err, "login", m.user.login, "mailbox", m.name, "uid", uid)
}

// damage is the answer that names damaged messages; nil if there are none.
func damage(uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	var set imap.SeqSet
	set.AddNum(uids...)
	return no("CORRUPTION", "Damaged on the server and not sent: UID "+set.String())
}

// fetchItems is what a FETCH asks for.
type fetchItems struct {
	items    []imap.FetchItem
	sections []*imap.BodySectionName
	seen     bool // it sets \Seen
}

func parseItems(items []imap.FetchItem) (*fetchItems, error) {
	wants := &fetchItems{items: items}
	for _, item := range items {
		switch item {
		case imap.FetchEnvelope, imap.FetchBody, imap.FetchBodyStructure, imap.FetchFlags,
			imap.FetchInternalDate, imap.FetchRFC822Size, imap.FetchUid:
			continue
		}
		section, err := imap.ParseBodySectionName(item)
		if err != nil {
			return nil, fmt.Errorf("unknown item %s: %w", item, err)
		}
		wants.sections = append(wants.sections, section)
		wants.seen = wants.seen || !section.Peek
	}
	return wants, nil
}

// fetch makes one message ready. What it returns can be sent: the body was
// read, and compared with its checksum.
func (m *imapMailbox) fetch(p place, msg *message, wants *fetchItems) (answer *imap.Message, err error) {
	defer m.user.s.rescue(&err)
	answer = imap.NewMessage(p.seq, wants.items)
	for _, item := range wants.items {
		var parseErr error
		switch item {
		case imap.FetchEnvelope:
			err = m.parse(p.uid, msg, func(h textproto.Header, _ io.Reader) {
				answer.Envelope, parseErr = backendutil.FetchEnvelope(h)
			})
		case imap.FetchBody, imap.FetchBodyStructure:
			err = m.parse(p.uid, msg, func(h textproto.Header, body io.Reader) {
				extended := item == imap.FetchBodyStructure
				answer.BodyStructure, parseErr = backendutil.FetchBodyStructure(h, body, extended)
			})
		case imap.FetchFlags:
			answer.Flags = m.session.flags(p.uid, msg)
		case imap.FetchInternalDate:
			answer.InternalDate = time.Unix(msg.date, 0).UTC()
		case imap.FetchRFC822Size:
			answer.Size = uint32(msg.size())
		case imap.FetchUid:
			answer.Uid = p.uid
		}
		if err = errors.Join(err, parseErr); err != nil {
			return nil, fmt.Errorf("%s: %w", item, err)
		}
	}
	for _, section := range wants.sections {
		literal, err := m.section(p.uid, msg, section)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", section.FetchItem(), err)
		}
		answer.Body[section] = literal
	}
	if answer.Envelope != nil || answer.BodyStructure != nil {
		answer.Format() // where go-imap sends it, a panic would end the process
	}
	return answer, nil
}

// section reads a part of a message. The whole of it, or a stretch of the
// whole, is streamed; parts are read into memory, and so is a message with bare
// LFs, whose header goes out with CRLFs.
func (m *imapMailbox) section(uid uint32, msg *message, section *imap.BodySectionName) (imap.Literal, error) {
	r := m.box.s.reader(m.box.id, uid, msg)
	top := len(section.Path) == 0
	if m.checked != msg.body && !(top && section.Specifier == imap.HeaderSpecifier) {
		// Checked once for a message of which the client asks for several parts.
		if err := r.Check(true); err != nil {
			_ = r.Close()
			return nil, err
		}
		m.checked = msg.body
	}
	if top && section.Specifier == imap.EntireSpecifier && msg.bare == 0 {
		whole := &literal{r: r, left: r.Len(), failed: func(err error) { m.hangUp(uid, err) }}
		if p := section.Partial; len(p) > 0 {
			r.Skip(int64(p[0]))
			whole.left = r.Len()
			if len(p) > 1 {
				whole.left = min(whole.left, p[1])
			}
		}
		return whole, nil
	}
	_ = r.Close()
	var found imap.Literal = &literal{} // of a part that is not there (RFC 3501 section 6.4.5)
	err := m.parse(uid, msg, func(h textproto.Header, body io.Reader) {
		if part, err := backendutil.FetchBodySection(h, body, section); err == nil {
			found = part
		}
	})
	return found, err
}

// hangUp ends the connection: what it was promised cannot be sent any more.
func (m *imapMailbox) hangUp(uid uint32, err error) {
	m.report("FETCH broken off", uid, err)
	if conn, ok := m.session.conn.(io.Closer); ok {
		_ = conn.Close()
	}
}

// literal streams so many octets of a message. go-imap goes on behind a literal
// that fails, as if it had been sent: failed must end the connection.
type literal struct {
	r      *Reader
	left   int
	failed func(error)
}

func (l *literal) Len() int { return l.left }

func (l *literal) Read(p []byte) (int, error) {
	if l.left == 0 {
		if l.r != nil {
			_ = l.r.Close()
		}
		return 0, io.EOF
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	if err != nil {
		_ = l.r.Close()
		l.failed(err)
	}
	return n, err
}

// parse reads a message's header, or as much of it as can be parsed, and gives
// it on together with the body. Its error is about reading only.
func (m *imapMailbox) parse(uid uint32, msg *message, do func(textproto.Header, io.Reader)) error {
	r := m.box.s.reader(m.box.id, uid, msg)
	defer r.Close()
	buffered := bufio.NewReader(r)
	h, _ := textproto.ReadHeader(buffered)
	if r.Fault() == nil {
		do(h, buffered)
	}
	return r.Fault()
}
