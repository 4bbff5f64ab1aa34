// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// books are what the journal knows of rooms in which somebody writes, so that
// it need not ask the database about each message. Nobody but who holds
// redo.alone changes them.
type books struct {
	age atomic.Int64 // goes up when rooms may have changed in the database

	mu       sync.Mutex
	now, old map[string]*book // old: not used since now was empty
	ids      int              // in the books of now
}

// book is a room's.
type book struct {
	room   string
	age    int64 // books.age when it was read
	home   string
	next   int64               // offset of the next message
	people map[int64]bool      // participants; there may be more, but none goes
	ids    map[uint64]struct{} // hashes of all its messages' senders and ids; nil: too many
}

// Bounds of the books. Beyond them a room's book is read again, or the
// database is asked whether a message was stored before.
const (
	maxBooks   = 1 << 13 // rooms, in each of now and old
	maxIDs     = 1 << 19 // messages, in each of now and old; some 15 octets each
	maxBookIDs = 1000    // messages of one room
)

var idSeed = maphash.MakeSeed()

func idHash(from int64, id string) uint64 {
	var h maphash.Hash
	h.SetSeed(idSeed)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(from))
	h.Write(b[:])
	h.WriteString(id)
	return h.Sum64()
}

// has says whether somebody is known to be in the room; 0 is the server.
func (b *book) has(participant int64) bool { return participant == 0 || b.people[participant] }

// mayKnow says whether the message may have been stored before.
func (b *book) mayKnow(from int64, id string) bool {
	if b.ids == nil {
		return true
	}
	_, known := b.ids[idHash(from, id)]
	return known
}

// stale has every book compared with the database before it is used again.
func (b *books) stale() { b.age.Add(1) }

// forget throws all books away.
func (b *books) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now, b.old, b.ids = nil, nil, 0
}

// of returns a room's book, or nil.
func (b *books) of(roomID string) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.now[roomID]; k != nil && b.ids <= maxIDs {
		return k
	}
	if b.ids > maxIDs {
		b.turn()
	}
	k := b.old[roomID]
	if k != nil {
		delete(b.old, roomID)
		b.put(k)
	}
	return k
}

// turn makes the books of now those of old; b.mu is held.
func (b *books) turn() { b.now, b.old, b.ids = map[string]*book{}, b.now, 0 }

// put adds a book; b.mu is held.
func (b *books) put(k *book) {
	if b.now == nil || len(b.now) >= maxBooks || b.ids > maxIDs {
		b.turn()
	}
	b.now[k.room] = k
	b.ids += len(k.ids)
}

// add notes that a message got the book's next offset.
func (b *books) add(k *book, from int64, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.next++
	b.learn(k, from, id)
}

// learn adds a message to a book's ids; b.mu is held.
func (b *books) learn(k *book, from int64, id string) {
	switch {
	case k.ids == nil:
	case len(k.ids) >= maxBookIDs:
		b.ids -= len(k.ids)
		k.ids = nil
	default:
		before := len(k.ids)
		k.ids[idHash(from, id)] = struct{}{}
		b.ids += len(k.ids) - before
	}
}

// reaches says whether a participant is known to be in a room, and the room to
// have come to offset; false: the database has to be asked. Neither changes
// back, so the book may be stale.
func (b *books) reaches(roomID string, participant, offset int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.now[roomID]
	return k != nil && k.people[participant] && offset < k.next
}

// book returns a room's book; sql.ErrNoRows: no such room.
func (r *redo) book(ctx context.Context, roomID string) (*book, error) {
	age := r.books.age.Load()
	k := r.books.of(roomID)
	if k != nil && k.age == age {
		return k, nil
	}
	var waiting []logged
	fresh := k == nil
	if fresh {
		k = &book{room: roomID, people: map[int64]bool{}, ids: map[uint64]struct{}{}}
		waiting = r.queued() // before the database is read: what leaves it meanwhile is found there
	}
	var next int64
	var home string
	if err := r.read.QueryRowContext(ctx, "SELECT next, home FROM rooms WHERE id = $1", roomID).Scan(&next, &home); err != nil {
		return nil, err
	}
	var stored []logged
	many := next-k.next > maxBookIDs
	if next > k.next && !many && k.ids != nil {
		var err error
		stored, err = collect(ctx, r.read, func(rows *sql.Rows) (l logged, err error) {
			err = rows.Scan(&l.From, &l.ID)
			return l, err
		}, "SELECT sender, id FROM messages WHERE room = $1 AND pos >= $2", roomID, k.next)
		if err != nil {
			return nil, err
		}
	}
	r.books.mu.Lock()
	defer r.books.mu.Unlock()
	if fresh {
		r.books.put(k)
	}
	k.age, k.home, k.next = age, home, max(k.next, next)
	if many {
		r.books.ids -= len(k.ids)
		k.ids = nil
	}
	for i := range stored {
		r.books.learn(k, stored[i].From, stored[i].ID)
	}
	for i := range waiting {
		if l := &waiting[i]; l.Room == roomID {
			k.next = max(k.next, l.Offset+1)
			r.books.learn(k, l.From, l.ID)
		}
	}
	return k, nil
}

// enrol reads a room's participants again.
func (r *redo) enrol(ctx context.Context, k *book) error {
	ids, err := collect(ctx, r.read, func(rows *sql.Rows) (id int64, err error) {
		err = rows.Scan(&id)
		return id, err
	}, "SELECT id FROM participants WHERE room = $1", k.room)
	if err != nil {
		return err
	}
	r.books.mu.Lock()
	defer r.books.mu.Unlock()
	for _, id := range ids {
		k.people[id] = true
	}
	return nil
}
