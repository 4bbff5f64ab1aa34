// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"cmp"
	"slices"
	"sync"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
)

// session is what one IMAP connection was told of its selected mailbox, and
// what it is still to be told. Deliveries and other sessions add to it under
// the account's lock; the connection's own goroutine sends. What waits is
// bounded by the messages of the mailbox.
type session struct {
	conn  imapbackend.Conn // nil: nobody listens
	write bool             // it may take \Recent

	mu      sync.Mutex
	uids    []uint32 // by sequence number less 1
	recent  []span
	created []uint32
	gone    map[uint32]struct{}
	flagged map[uint32]struct{} // flags changed
	news    chan struct{}       // something waits; capacity 1
}

// span is UIDs from first to last.
type span struct{ first, last uint32 }

func newSession(conn imapbackend.Conn, write bool) *session {
	return &session{
		conn: conn, write: write, news: make(chan struct{}, 1),
		gone: make(map[uint32]struct{}), flagged: make(map[uint32]struct{}),
	}
}

// begin sets what the client is told at SELECT. What came since waits already.
func (s *session) begin(uids []uint32, st Status) (recent uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uids = uids
	if st.RecentFrom < st.Next {
		s.recent = slices.Insert(s.recent, 0, span{st.RecentFrom, st.Next - 1})
	}
	return s.countRecent()
}

func (s *session) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *session) takesRecent() bool { return s.write }

func (s *session) added(uids []uint32, recent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, uids...)
	if recent {
		s.recent = append(s.recent, span{uids[0], uids[len(uids)-1]})
	}
	s.wake()
}

func (s *session) removed(uids []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, uid := range uids {
		s.gone[uid] = struct{}{}
	}
	s.wake()
}

func (s *session) changed(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flagged[uid] = struct{}{}
	s.wake()
}

// isRecent says whether a message is \Recent in this session.
func (s *session) isRecent(uid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := slices.BinarySearchFunc(s.recent, uid, func(r span, uid uint32) int {
		switch {
		case r.last < uid:
			return -1
		case r.first > uid:
			return 1
		default:
			return 0
		}
	})
	return ok
}

func (s *session) countRecent() (n uint32) {
	for _, r := range s.recent {
		first, _ := slices.BinarySearch(s.uids, r.first)
		last, found := slices.BinarySearch(s.uids, r.last)
		if found {
			last++
		}
		n += uint32(last - first)
	}
	return n
}

// place is a message as the client knows it.
type place struct{ seq, uid uint32 }

func bySeq(a, b place) int { return cmp.Compare(a.seq, b.seq) }

// resolve finds the messages of a set of UIDs or sequence numbers, in order.
func (s *session) resolve(byUID bool, set *imap.SeqSet) []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []place
	if len(s.uids) == 0 {
		return nil
	}
	end := uint32(len(s.uids)) // what * means
	if byUID {
		end = s.uids[len(s.uids)-1]
	}
	for _, r := range set.Set {
		first, last := r.Start, r.Stop
		if first == 0 {
			first = end
		}
		if last == 0 {
			last = end
		}
		if first > last {
			first, last = last, first
		}
		from, to := int(first)-1, min(int(last), len(s.uids))
		if byUID {
			from, _ = slices.BinarySearch(s.uids, first)
			at, exact := slices.BinarySearch(s.uids, last)
			if to = at; exact {
				to++
			}
		}
		for i := from; i < to; i++ {
			found = append(found, place{uint32(i + 1), s.uids[i]})
		}
	}
	slices.SortFunc(found, bySeq)
	return slices.Compact(found)
}

// all is every message that the client knows of.
func (s *session) all() []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]place, len(s.uids))
	for i, uid := range s.uids {
		list[i] = place{uint32(i + 1), uid}
	}
	return list
}

// sync tells the connection what waits. Without expunge, removals go on
// waiting: the client is in the middle of a command that counts messages
// (RFC 3501 section 7.4.1).
func (s *session) sync(box *Mailbox, expunge bool) {
	if s.conn == nil {
		return
	}
	for _, update := range append(s.flagUpdates(box), s.updates(box.name, expunge)...) {
		// A connection that is gone says so to its own reader.
		_ = s.conn.SendUpdate(update)
	}
}

// flagUpdates takes the changes of flags that wait. Neither reading nor
// sending happens under the lock: a delivery may wait for that.
func (s *session) flagUpdates(box *Mailbox) (list []imapbackend.Update) {
	var places []place
	s.mu.Lock()
	for uid := range s.flagged {
		if i, known := slices.BinarySearch(s.uids, uid); known {
			places = append(places, place{uint32(i + 1), uid})
		}
	}
	clear(s.flagged)
	s.mu.Unlock()
	slices.SortFunc(places, bySeq)
	for _, p := range places {
		m, err := box.message(p.uid)
		if err != nil {
			continue // removed meanwhile
		}
		update := imap.NewMessage(p.seq, []imap.FetchItem{imap.FetchFlags, imap.FetchUid})
		update.Uid = p.uid
		update.Flags = s.flags(p.uid, m)
		list = append(list, &imapbackend.MessageUpdate{Message: update})
	}
	return list
}

// updates takes the removals, where they may be told, and the arrivals.
func (s *session) updates(mailbox string, expunge bool) (list []imapbackend.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if expunge && len(s.gone) > 0 {
		left := s.uids[:0]
		var seqs []uint32
		for i, uid := range s.uids {
			if _, gone := s.gone[uid]; gone {
				seqs = append(seqs, uint32(i+1))
			} else {
				left = append(left, uid)
			}
		}
		s.uids = left
		for _, seq := range slices.Backward(seqs) {
			list = append(list, &imapbackend.ExpungeUpdate{SeqNum: seq})
		}
		s.created = slices.DeleteFunc(s.created, func(uid uint32) bool {
			_, gone := s.gone[uid]
			return gone
		})
		clear(s.gone)
	}
	if len(s.created) > 0 {
		s.uids = append(s.uids, s.created...)
		s.created = nil
		exists := imap.NewMailboxStatus(mailbox, []imap.StatusItem{imap.StatusMessages})
		exists.Messages = uint32(len(s.uids))
		recent := imap.NewMailboxStatus(mailbox, []imap.StatusItem{imap.StatusRecent})
		recent.Recent = s.countRecent()
		list = append(list, &imapbackend.MailboxUpdate{MailboxStatus: exists},
			&imapbackend.MailboxUpdate{MailboxStatus: recent})
	}
	return list
}

// flags is a message's flags as this session sees them.
func (s *session) flags(uid uint32, m *message) []string {
	names := m.flagNames()
	if s.isRecent(uid) {
		names = append(names, imap.RecentFlag)
	}
	return names
}

// idle sends what comes until done is written to.
func (s *session) idle(box *Mailbox, done <-chan struct{}) {
	for {
		select {
		case <-s.news:
			s.sync(box, true)
		case <-done:
			return
		}
	}
}
