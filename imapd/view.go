// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"cmp"
	"slices"
	"sync"

	"github.com/emersion/go-imap/v2"
)

// view is the mailbox that a session has selected: what the client was told of it,
// and what it is still to be told. Deliveries and other sessions add to it under
// the account's lock; the session sends. What waits is bounded by the messages of
// the mailbox.
type view struct {
	box   Mailbox
	name  string
	write bool // it may change the mailbox, and takes \Recent

	mu      sync.Mutex
	uids    []uint32 // by sequence number less 1
	recent  []span
	created []uint32
	gone    map[uint32]struct{}
	flagged map[uint32]struct{} // flags changed
	news    chan struct{}       // something waits; capacity 1
	saved   []uint32            // UIDs of SEARCH RETURN (SAVE) (RFC 5182)
}

var _ Watcher = (*view)(nil)

// span is UIDs from first to last.
type span struct{ first, last uint32 }

func newView(box Mailbox, name string, write bool) *view {
	return &view{
		box: box, name: name, write: write, news: make(chan struct{}, 1),
		gone: make(map[uint32]struct{}), flagged: make(map[uint32]struct{}),
	}
}

// begin sets what the client is told at SELECT. What came since waits already.
func (v *view) begin(uids []uint32, st Status) (recent uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.uids = uids
	if st.RecentFrom < st.Next {
		v.recent = slices.Insert(v.recent, 0, span{st.RecentFrom, st.Next - 1})
	}
	return v.countRecent()
}

func (v *view) wake() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// TakesRecent implements Watcher.
func (v *view) TakesRecent() bool { return v.write }

// Added implements Watcher.
func (v *view) Added(uids []uint32, recent bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.created = append(v.created, uids...)
	if recent {
		v.recent = append(v.recent, span{uids[0], uids[len(uids)-1]})
	}
	v.wake()
}

// Removed implements Watcher.
func (v *view) Removed(uids []uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, uid := range uids {
		v.gone[uid] = struct{}{}
	}
	v.wake()
}

// Changed implements Watcher.
func (v *view) Changed(uid uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flagged[uid] = struct{}{}
	v.wake()
}

// isRecent says whether a message is \Recent in this session.
func (v *view) isRecent(uid uint32) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := slices.BinarySearchFunc(v.recent, uid, func(r span, uid uint32) int {
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

func (v *view) countRecent() (n uint32) {
	for _, r := range v.recent {
		first, _ := slices.BinarySearch(v.uids, r.first)
		last, found := slices.BinarySearch(v.uids, r.last)
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

func uidsAt(places []place) []uint32 {
	uids := make([]uint32, len(places))
	for i, p := range places {
		uids[i] = p.uid
	}
	return uids
}

// resolve finds the messages of a set of UIDs or sequence numbers, in order. UIDs
// that are not there are no error, sequence numbers are (RFC 3501 section 6.4.8).
func (v *view) resolve(set imap.NumSet) ([]place, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if uids, ok := set.(imap.UIDSet); ok && imap.IsSearchRes(uids) {
		return v.places(v.saved), nil
	}
	var found []place
	add := func(from, to int) {
		for i := max(from, 0); i < to; i++ {
			found = append(found, place{uint32(i + 1), v.uids[i]})
		}
	}
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			first, last := limits(r.Start, r.Stop, uint32(len(v.uids)))
			add(int(first)-1, min(int(last), len(v.uids)))
		}
		if len(found) == 0 {
			return nil, bad("There are no such messages")
		}
	case imap.UIDSet:
		end := uint32(0)
		if len(v.uids) > 0 {
			end = v.uids[len(v.uids)-1]
		}
		for _, r := range set {
			first, last := limits(uint32(r.Start), uint32(r.Stop), end)
			from, _ := slices.BinarySearch(v.uids, first)
			to, exact := slices.BinarySearch(v.uids, last)
			if exact {
				to++
			}
			add(from, to)
		}
	}
	slices.SortFunc(found, bySeq)
	return slices.Compact(found), nil
}

// limits are the ends of a range, in which 0 is the highest number.
func limits(first, last, highest uint32) (uint32, uint32) {
	if first == 0 {
		first = highest
	}
	if last == 0 {
		last = highest
	}
	return min(first, last), max(first, last)
}

// places finds messages by ascending UIDs.
func (v *view) places(uids []uint32) (found []place) {
	for _, uid := range uids {
		if i, ok := slices.BinarySearch(v.uids, uid); ok {
			found = append(found, place{uint32(i + 1), uid})
		}
	}
	return found
}

// all is every message that the client knows of.
func (v *view) all() []place {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]place, len(v.uids))
	for i, uid := range v.uids {
		list[i] = place{uint32(i + 1), uid}
	}
	return list
}

// updates is what an update writer of the library takes.
type updates interface {
	WriteExpunge(seq uint32) error
	WriteNumMessages(n uint32) error
	WriteNumRecent(n uint32) error
	WriteMessageFlags(seq uint32, uid imap.UID, flags []imap.Flag) error
}

// sync tells the client what waits. Without expunge, removals go on waiting: the
// client may be in the middle of commands that count messages (RFC 3501 section
// 7.4.1).
func (v *view) sync(w updates, expunge bool) error {
	if err := v.tellFlags(w); err != nil {
		return err
	}
	if expunge {
		if err := v.tellGone(w.WriteExpunge); err != nil {
			return err
		}
	}
	n, recent, news := v.takeCreated()
	if !news {
		return nil
	}
	if err := w.WriteNumMessages(n); err != nil {
		return err
	}
	return w.WriteNumRecent(recent)
}

// tellFlags tells of changes of flags. Neither reading nor sending happens under
// the lock: a delivery may wait for that.
func (v *view) tellFlags(w updates) error {
	var changed []place
	v.mu.Lock()
	for uid := range v.flagged {
		if i, known := slices.BinarySearch(v.uids, uid); known {
			changed = append(changed, place{uint32(i + 1), uid})
		}
	}
	clear(v.flagged)
	v.mu.Unlock()
	slices.SortFunc(changed, bySeq)
	for _, p := range changed {
		m, err := v.box.Message(p.uid)
		if err != nil {
			continue // removed meanwhile
		}
		if err := w.WriteMessageFlags(p.seq, imap.UID(p.uid), imapFlags(v.flags(m))); err != nil {
			return err
		}
	}
	return nil
}

// tellGone tells of removals, the last one first, so that the numbers before it
// stay what they are.
func (v *view) tellGone(tell func(seq uint32) error) error {
	v.mu.Lock()
	var seqs []uint32
	if len(v.gone) > 0 {
		left := v.uids[:0]
		for i, uid := range v.uids {
			if _, gone := v.gone[uid]; gone {
				seqs = append(seqs, uint32(i+1))
			} else {
				left = append(left, uid)
			}
		}
		v.uids = left
		v.created = slices.DeleteFunc(v.created, func(uid uint32) bool {
			_, gone := v.gone[uid]
			return gone
		})
		clear(v.gone)
	}
	v.mu.Unlock()
	for _, seq := range slices.Backward(seqs) {
		if err := tell(seq); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) takeCreated() (messages, recent uint32, news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.created) == 0 {
		return 0, 0, false
	}
	v.uids = append(v.uids, v.created...)
	v.created = nil
	return uint32(len(v.uids)), v.countRecent(), true
}

// flags is a message's flags as this session sees them.
func (v *view) flags(m Message) []string {
	if v.isRecent(m.UID) {
		return append(m.Flags[:len(m.Flags):len(m.Flags)], `\Recent`)
	}
	return m.Flags
}

func imapFlags(flags []string) []imap.Flag {
	list := make([]imap.Flag, len(flags))
	for i, f := range flags {
		list[i] = imap.Flag(f)
	}
	return list
}
