// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/imapd"
	"github.com/cockroachdb/pebble/v2"
)

// maxKeywords is how many keywords one message may have.
const maxKeywords = 100

// entry is one message of a mailbox.
type entry struct {
	uid uint32
	msg *message
}

// entries reads the messages with these UIDs; those that are gone are left out.
func (m *Mailbox) entries(uids []uint32) ([]entry, error) {
	found := make([]entry, 0, len(uids))
	for _, uid := range uids {
		msg, err := m.s.message(m.s.db, m.id, uid)
		if errors.Is(err, ErrNoMessage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, entry{uid, msg})
	}
	return found, nil
}

func uidsOf(entries []entry) []uint32 {
	uids := make([]uint32, len(entries))
	for i, e := range entries {
		uids[i] = e.uid
	}
	return uids
}

// commit applies b under the account's lock and returns what waits for its
// sync, to be called without the lock.
func (s *Store) commit(b *pebble.Batch) (wait func() error, err error) {
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return func() error { return errors.Join(b.SyncWait(), b.Close()) }, nil
}

// remove takes messages out of the mailbox, all or none, and returns when that
// is synced. UIDs of messages that are gone already are no failure. Its error
// wraps ErrInUse while another one holds the maildrop.
func (m *Mailbox) remove(uids []uint32) (removed int, err error) {
	defer m.s.rescue(&err)
	if err := m.begin(); err != nil {
		return 0, err
	}
	defer m.s.leave()
	removed, files, wait, err := m.removeLocked(uids)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return 0, fmt.Errorf("removing messages: %w", err)
	}
	m.s.removeFiles(files)
	metricRemoved.Add(float64(removed))
	return removed, nil
}

// removeLocked removes the messages and unlocks the account. The files are to
// be removed once the removal is synced, which wait waits for.
func (m *Mailbox) removeLocked(uids []uint32) (removed int, files []uint64, wait func() error, err error) {
	s := m.s
	defer m.a.mu.Unlock()
	if m.box.maildrop && !m.held {
		return 0, nil, nil, fmt.Errorf("a POP3 session has the mailbox: %w", ErrInUse)
	}
	found, err := m.entries(uids)
	if err != nil || len(found) == 0 {
		return 0, nil, func() error { return nil }, err
	}
	b := s.db.NewBatch()
	c := m.box.counters
	var octets int64
	counts := make(map[uint64]int)
	if slices.ContainsFunc(found, func(e entry) bool { return e.msg.shared() }) {
		s.shared.Lock()
		defer s.shared.Unlock()
	}
	for _, e := range found {
		file, dropErr := s.drop(b, e.msg, counts)
		if err = errors.Join(dropErr, b.Delete(messageKey(m.id, e.uid), nil)); err != nil {
			return 0, nil, nil, errors.Join(err, b.Close())
		}
		if file != 0 {
			files = append(files, file)
		}
		c.take(e.msg, -1)
		octets += e.msg.wireSize()
	}
	if err = b.Set(idKey(keyCounters, m.id), c.encode(), nil); err != nil {
		return 0, nil, nil, errors.Join(err, b.Close())
	}
	if wait, err = s.commit(b); err != nil {
		return 0, nil, nil, err
	}
	m.box.counters = c
	s.grew(m.a.login, -octets)
	gone := uidsOf(found)
	for w := range m.box.watchers {
		w.Removed(gone)
	}
	return len(found), files, wait, nil
}

// changeFlags changes the flags of messages and returns them as they are then,
// synced. silent is not told of it, other watchers are.
func (m *Mailbox) changeFlags(uids []uint32, op imapd.FlagChange, flags []string, silent imapd.Watcher) (
	changed []entry, err error) {
	defer m.s.rescue(&err)
	if err := m.begin(); err != nil {
		return nil, err
	}
	defer m.s.leave()
	changed, wait, err := m.changeFlagsLocked(uids, op, flags, silent)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return nil, fmt.Errorf("changing flags: %w", err)
	}
	return changed, nil
}

// changeFlagsLocked changes the flags and unlocks the account.
func (m *Mailbox) changeFlagsLocked(uids []uint32, op imapd.FlagChange, flags []string, silent imapd.Watcher) (
	found []entry, wait func() error, err error) {
	defer m.a.mu.Unlock()
	bits, keywords := parseFlags(flags)
	found, err = m.entries(uids)
	if err != nil || len(found) == 0 {
		return nil, func() error { return nil }, err
	}
	b := m.s.db.NewBatch()
	c := m.box.counters
	for _, e := range found {
		c.take(e.msg, -1)
		e.msg.change(op, bits, keywords)
		c.take(e.msg, 1)
		if len(e.msg.keywords) > maxKeywords {
			err = errors.Join(err, fmt.Errorf("%w: more than %d keywords on message %d", ErrLimit, maxKeywords, e.uid))
		}
		err = errors.Join(err, b.Set(messageKey(m.id, e.uid), e.msg.encode(), nil))
	}
	if err = errors.Join(err, b.Set(idKey(keyCounters, m.id), c.encode(), nil)); err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	if wait, err = m.s.commit(b); err != nil {
		return nil, nil, err
	}
	m.box.counters = c
	for w := range m.box.watchers {
		for _, e := range found {
			if w != silent {
				w.Changed(e.uid)
			}
		}
	}
	return found, wait, nil
}

func (m *message) change(op imapd.FlagChange, bits uint16, keywords []string) {
	switch op {
	case imapd.SetFlags:
		m.flags, m.keywords = bits, slices.Clone(keywords)
	case imapd.AddFlags:
		m.flags |= bits
		for _, k := range keywords {
			if !hasKeyword(m.keywords, k) {
				m.keywords = append(m.keywords, k)
			}
		}
	case imapd.RemoveFlags:
		m.flags &^= bits
		m.keywords = slices.DeleteFunc(m.keywords, func(k string) bool { return hasKeyword(keywords, k) })
	}
}

// transfer copies messages to the end of another mailbox of the account, or
// moves them there (RFC 6851), all or none, and returns when that is synced.
func (m *Mailbox) transfer(uids []uint32, name string, move bool) (copied imapd.Copied, err error) {
	defer m.s.rescue(&err)
	if err := m.begin(); err != nil {
		return copied, err
	}
	defer m.end()
	copied, wait, err := m.transferLocked(uids, name, move)
	if err == nil && wait != nil {
		err = wait() // under the lock: see maxLoose
	}
	if err != nil {
		return imapd.Copied{}, fmt.Errorf("copying messages: %w", err)
	}
	return copied, nil
}

func (m *Mailbox) transferLocked(uids []uint32, name string, move bool) (
	copied imapd.Copied, wait func() error, err error) {
	s := m.s
	dest, err := m.a.box(name)
	if err != nil {
		return copied, nil, err
	}
	if move && m.box.maildrop && !m.held {
		return copied, nil, fmt.Errorf("a POP3 session has the mailbox: %w", ErrInUse)
	}
	found, err := m.entries(uids)
	if err != nil || len(found) == 0 {
		return copied, nil, err
	}
	var octets int64
	for _, e := range found {
		octets += e.msg.wireSize()
	}
	if !move {
		if err := s.fits(m.a, octets); err != nil {
			return copied, nil, err
		}
		s.shared.Lock()
		defer s.shared.Unlock()
	}
	if err := s.reserve(dest, len(found)); err != nil {
		return copied, nil, err
	}
	b := s.db.NewBatch()
	// One set of counters where a mailbox is its own destination.
	from, to := m.box.counters, dest.counters
	pfrom := &from
	if dest == m.box {
		pfrom = &to
	}
	now := time.Now().Unix()
	added := make([]uint32, 0, len(found))
	counts := make(map[uint64]int)
	for _, e := range found {
		if move {
			err = errors.Join(err, b.Delete(messageKey(m.id, e.uid), nil))
			pfrom.take(e.msg, -1)
		} else {
			err = errors.Join(err, s.share(b, m.id, e, counts))
		}
		e.msg.saved = now
		err = errors.Join(err, b.Set(messageKey(dest.id, to.next), e.msg.encode(), nil))
		added = append(added, to.next)
		to.next++
		to.take(e.msg, 1)
	}
	if dest.tellsRecent() {
		to.recent = to.next
	}
	if pfrom == &from {
		err = errors.Join(err, b.Set(idKey(keyCounters, m.id), from.encode(), nil))
	}
	if err = errors.Join(err, b.Set(idKey(keyCounters, dest.id), to.encode(), nil)); err != nil {
		return copied, nil, errors.Join(err, b.Close())
	}
	if wait, err = s.commit(b); err != nil {
		return copied, nil, err
	}
	m.box.counters = from
	dest.counters = to
	if move {
		gone := uidsOf(found)
		for w := range m.box.watchers {
			w.Removed(gone)
		}
	} else {
		s.grew(m.a.login, octets)
	}
	dest.tellAdded(added)
	return imapd.Copied{Validity: dest.validity, From: uidsOf(found), To: added}, wait, nil
}

// reserve makes sure that n UIDs, when there are many, are not given out again
// even if the batch that uses them is lost.
func (s *Store) reserve(box *mailbox, n int) error {
	if n <= maxLoose {
		return nil
	}
	c := box.counters
	c.next += uint32(n)
	return s.db.Set(idKey(keyCounters, box.id), c.encode(), pebble.Sync)
}

// share notes with b that one more message has the body of e, which lies in
// mailbox. Store.shared is held; counts are those that b has changed already.
func (s *Store) share(b *pebble.Batch, mailbox uint64, e entry, counts map[uint64]int) error {
	n, seen := counts[e.msg.body]
	if !seen && e.msg.shared() {
		stored, err := s.number(idKey(keyShares, e.msg.body))
		if err != nil {
			return err
		}
		n = int(stored)
	} else if !seen {
		n = 1
		e.msg.kind |= bodyShared
		if err := b.Set(messageKey(mailbox, e.uid), e.msg.encode(), nil); err != nil {
			return err
		}
	}
	counts[e.msg.body] = n + 1
	return b.Set(idKey(keyShares, e.msg.body), appendCount(nil, n+1), nil)
}
