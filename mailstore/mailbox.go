// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"errors"
	"fmt"
	"math"

	"github.com/chmail/chmail/imapd"
	"github.com/cockroachdb/pebble/v2"
)

// Mailbox is one mailbox in use. Close gives it back. Its methods may be
// called from any goroutine; once the mailbox is removed they return an error
// that wraps ErrNoMailbox.
type Mailbox struct {
	s    *Store
	a    *account
	box  *mailbox
	id   uint64
	name string

	// Guarded by the account's lock.
	held   bool          // as a maildrop, by this one
	w      imapd.Watcher // registered, or nil
	closed bool
}

// Status is what is known of a mailbox without looking at its messages.
type Status struct {
	Name       string
	Use        string // RFC 6154 attribute or empty
	Subscribed bool
	Validity   uint32
	Next       uint32 // UIDNEXT
	Messages   uint32
	Unseen     uint32
	RecentFrom uint32 // messages from this UID on are \Recent
	Octets     int64  // with CRLF line ends
}

func (box *mailbox) status() Status {
	return Status{
		Name: box.name, Use: box.use, Subscribed: box.subscribed, Validity: box.validity, Next: box.next,
		Messages: box.count, Unseen: box.unseen, RecentFrom: box.recent, Octets: box.counters.octets,
	}
}

// Mailbox takes a mailbox into use. Its error wraps ErrNoAccount or
// ErrNoMailbox where there is none.
func (s *Store) Mailbox(login, name string) (*Mailbox, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	a, err := s.account(login)
	if err != nil {
		return nil, err
	}
	box, err := a.box(name)
	if err != nil {
		s.done(a)
		return nil, err
	}
	m := &Mailbox{s: s, a: a, box: box, id: box.id, name: name}
	a.mu.Unlock()
	return m, nil
}

// Close gives the mailbox back.
func (m *Mailbox) Close() error {
	m.a.mu.Lock()
	if m.closed {
		m.a.mu.Unlock()
		return nil
	}
	m.closed = true
	if m.held {
		m.box.maildrop = false
	}
	if m.w != nil {
		delete(m.box.watchers, m.w)
	}
	m.a.mu.Unlock()
	m.s.release(m.a)
	return nil
}

// begin locks the account of a mailbox that is there.
func (m *Mailbox) begin() error {
	if err := m.s.enter(); err != nil {
		return err
	}
	m.a.mu.Lock()
	if m.box.gone || m.closed {
		m.end()
		return fmt.Errorf("%q: %w", m.name, ErrNoMailbox)
	}
	return nil
}

func (m *Mailbox) end() {
	m.a.mu.Unlock()
	m.s.leave()
}

// Status is the mailbox's state now.
func (m *Mailbox) Status() (Status, error) {
	if err := m.begin(); err != nil {
		return Status{}, err
	}
	defer m.end()
	return m.box.status(), nil
}

// Hold takes the mailbox as a POP3 maildrop (RFC 1939 section 4): until Close
// nobody else removes messages from it. Its error wraps ErrInUse if it is held.
func (m *Mailbox) Hold() (Status, error) {
	if err := m.begin(); err != nil {
		return Status{}, err
	}
	defer m.end()
	if m.box.maildrop {
		return Status{}, fmt.Errorf("the maildrop of %s: %w", m.a.login, ErrInUse)
	}
	m.box.maildrop, m.held = true, true
	return m.box.status(), nil
}

// list calls do for each message with a UID from first to last, in order,
// until it returns false. It sees the mailbox as it was at the start. Messages
// whose index entries cannot be read are left out and logged.
func (m *Mailbox) list(first, last uint32, do func(uid uint32, msg *message) bool) error {
	if err := m.s.enter(); err != nil {
		return err
	}
	defer m.s.leave()
	return m.s.scan(m.s.db, m.id, first, last, do, m.lost)
}

func (m *Mailbox) lost(uid uint32, err error) {
	m.s.o.Log.Error("mailstore: a message is left out", "err", err, "login", m.a.login, "mailbox", m.name, "uid", uid)
}

// scan is list for a mailbox as r sees it. A damaged block of the index hides
// its messages: then each UID is asked for by itself, and lost is told of those
// that cannot be read.
func (s *Store) scan(r pebble.Reader, mailbox uint64, first, last uint32,
	do func(uid uint32, msg *message) bool, lost func(uid uint32, err error)) error {
	upper := after(idKey(keyMessage, mailbox))
	if last < math.MaxUint32 {
		upper = messageKey(mailbox, last+1)
	}
	next, enough := uint64(first), false
	err := s.each(r, messageKey(mailbox, first), upper, func(key, value []byte) (bool, error) {
		uid := uidOf(key)
		msg, err := decodeMessage(value)
		if err != nil {
			return false, fmt.Errorf("UID %d: %w", uid, err)
		}
		next = uint64(uid) + 1
		enough = !do(uid, msg)
		return enough, nil
	})
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	c, countersErr := s.loadCounters(r, mailbox)
	if countersErr != nil { // of a removed mailbox, say
		return err
	}
	for ; !enough && next < uint64(c.next) && next <= uint64(last); next++ {
		uid := uint32(next)
		switch msg, err := s.message(r, mailbox, uid); {
		case err == nil:
			enough = !do(uid, msg)
		case !errors.Is(err, ErrNoMessage):
			lost(uid, err)
		}
	}
	return nil
}

// message reads the index entry of one message.
func (m *Mailbox) message(uid uint32) (*message, error) {
	if err := m.s.enter(); err != nil {
		return nil, err
	}
	defer m.s.leave()
	return m.s.message(m.s.db, m.id, uid)
}

func (s *Store) message(r pebble.Reader, mailbox uint64, uid uint32) (msg *message, err error) {
	found, err := s.get(r, messageKey(mailbox, uid), func(v []byte) (err error) {
		msg, err = decodeMessage(v)
		return err
	})
	if err == nil && !found {
		err = ErrNoMessage
	}
	if err != nil {
		return nil, fmt.Errorf("UID %d: %w", uid, err)
	}
	return msg, nil
}

// Open streams a message.
func (m *Mailbox) Open(uid uint32) (*Reader, error) {
	msg, err := m.message(uid)
	if err != nil {
		return nil, err
	}
	return m.s.reader(m.id, uid, msg), nil
}

// watch registers w and lists the mailbox as it was at that moment. What comes
// later w is told. A session that may write takes the \Recent messages.
func (m *Mailbox) watch(w imapd.Watcher, write bool, do func(uid uint32, msg *message)) (Status, error) {
	if err := m.begin(); err != nil {
		return Status{}, err
	}
	now := m.box.status()
	snapshot := m.s.db.NewSnapshot()
	if m.box.watchers == nil {
		m.box.watchers = make(map[imapd.Watcher]struct{})
	}
	m.box.watchers[w] = struct{}{}
	m.w = w
	var err error
	if write && now.RecentFrom < now.Next {
		c := m.box.counters
		c.recent = c.next
		// Not synced: after a crash \Recent may be seen again.
		if err = m.s.db.Set(idKey(keyCounters, m.id), c.encode(), pebble.NoSync); err == nil {
			m.box.counters = c
		}
	}
	m.a.mu.Unlock()
	defer m.s.leave()
	if err == nil {
		err = m.s.scan(snapshot, m.id, 1, math.MaxUint32, func(uid uint32, msg *message) bool {
			do(uid, msg)
			return true
		}, m.lost)
	}
	return now, errors.Join(err, snapshot.Close())
}
