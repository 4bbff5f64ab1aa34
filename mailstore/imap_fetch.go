// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap"
	"github.com/emersion/go-imap/backend/backendutil"
	"github.com/emersion/go-message/textproto"
)

func (m *imapMailbox) ListMessages(byUID bool, set *imap.SeqSet, items []imap.FetchItem, ch chan<- *imap.Message) error {
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
	if wants.seen && !m.readOnly {
		if err := m.markSeen(places); err != nil {
			return m.user.answer(err)
		}
	}
	for _, p := range places {
		msg, err := m.box.message(p.uid)
		if errors.Is(err, ErrNoMessage) {
			continue // removed by another session
		}
		var answer *imap.Message
		if err == nil {
			answer, err = m.fetch(p, msg, wants)
		}
		if err != nil {
			// The others are still to be had.
			m.user.s.o.Log.Error("mailstore: IMAP fetch", err, "login", m.user.login, "mailbox", m.name, "uid", p.uid)
			continue
		}
		ch <- answer
	}
	return nil
}

// markSeen sets \Seen on messages that do not have it.
func (m *imapMailbox) markSeen(places []place) error {
	var unseen []uint32
	for _, p := range places {
		msg, err := m.box.message(p.uid)
		if errors.Is(err, ErrNoMessage) {
			continue
		}
		if err != nil {
			return err
		}
		if msg.flags&flagSeen == 0 {
			unseen = append(unseen, p.uid)
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	_, err := m.box.changeFlags(unseen, addFlags, []string{imap.SeenFlag}, nil)
	return err
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

func (m *imapMailbox) fetch(p place, msg *message, wants *fetchItems) (*imap.Message, error) {
	answer := imap.NewMessage(p.seq, wants.items)
	for _, item := range wants.items {
		var err error
		switch item {
		case imap.FetchEnvelope:
			err = m.parse(msg, func(h textproto.Header, _ io.Reader) error {
				answer.Envelope, err = backendutil.FetchEnvelope(h)
				return err
			})
		case imap.FetchBody, imap.FetchBodyStructure:
			err = m.parse(msg, func(h textproto.Header, body io.Reader) error {
				answer.BodyStructure, err = backendutil.FetchBodyStructure(h, body, item == imap.FetchBodyStructure)
				return err
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
		if err != nil {
			return nil, fmt.Errorf("%s: %w", item, err)
		}
	}
	for _, section := range wants.sections {
		literal, err := m.section(msg, section)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", section.FetchItem(), err)
		}
		answer.Body[section] = literal
	}
	return answer, nil
}

// section reads a part of a message. The whole of it, or a stretch of the
// whole, is streamed; parts are read into memory, and so is a message with bare
// LFs, whose header goes out with CRLFs.
func (m *imapMailbox) section(msg *message, section *imap.BodySectionName) (imap.Literal, error) {
	if section.Specifier == imap.EntireSpecifier && len(section.Path) == 0 && msg.bare == 0 {
		r := m.box.s.reader(msg)
		whole := &literal{r: r, left: r.Len()}
		if p := section.Partial; len(p) > 0 {
			r.Skip(int64(p[0]))
			whole.left = r.Len()
			if len(p) > 1 {
				whole.left = min(whole.left, p[1])
			}
		}
		return whole, nil
	}
	var found imap.Literal
	err := m.parse(msg, func(h textproto.Header, body io.Reader) (err error) {
		found, err = backendutil.FetchBodySection(h, body, section)
		return err
	})
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrNoMessage) {
		// A part that is not there is empty (RFC 3501 section 6.4.5).
		return &literal{}, nil
	}
	return found, err
}

// literal streams so many octets of a message.
type literal struct {
	r    *Reader
	left int
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
	return n, err
}

// parse reads a message's header and gives it on together with the body.
func (m *imapMailbox) parse(msg *message, do func(textproto.Header, io.Reader) error) error {
	r := m.box.s.reader(msg)
	defer r.Close()
	buffered := bufio.NewReader(r)
	h, err := textproto.ReadHeader(buffered)
	if err != nil && !isHeaderFault(err) {
		return err
	}
	return do(h, buffered)
}

// isHeaderFault says whether a header cannot be parsed, as opposed to read:
// what could be read of it is used then.
func isHeaderFault(err error) bool {
	return !errors.Is(err, ErrNoMessage) && !errors.Is(err, ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF)
}
