// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/mattn/go-sqlite3"
)

// entry is one write that waits for the writer.
type entry struct {
	ctx  context.Context
	room string
	// do may run more than once. It returns one of harmless only before it has
	// changed anything; every other error undoes the whole transaction.
	do   func(ctx context.Context, tx querier) error
	then func(error) // is told the outcome
	err  error       // the outcome, before it is told
}

// share queues a write and waits until it is committed. When ctx ends first
// the write may still happen.
func (s *Store) share(ctx context.Context, room string, do func(context.Context, querier) error) error {
	done := make(chan error, 1)
	if err := s.enqueue(&entry{ctx: ctx, room: room, do: do, then: func(err error) { done <- err }}); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue hands an entry to the writer, which calls its then exactly once. It
// waits while the queue is full. After an error then is not called.
func (s *Store) enqueue(e *entry) error {
	s.senders.RLock()
	defer s.senders.RUnlock()
	if s.open.Err() != nil {
		return ErrClosed
	}
	if err := e.ctx.Err(); err != nil {
		return err
	}
	select {
	case s.queue <- e:
		return nil
	case <-e.ctx.Done():
		return e.ctx.Err()
	case <-s.open.Done():
		return ErrClosed
	}
}

// writer commits queued entries until the queue is closed. It takes all of them
// into one transaction. The next one begins at least a pause after
// the last one began, because a commit costs more than all else about a
// message: under load several messages share it, and after a rest it is at
// once.
func (s *Store) writer() {
	defer close(s.written)
	var began time.Time
	for first := range s.queue {
		time.Sleep(pause - time.Since(began))
		began = time.Now()
		s.commit(s.batch(first))
	}
}

// batch returns the first entry and those that wait behind it.
func (s *Store) batch(first *entry) []*entry {
	list := []*entry{first}
	for len(list) < maxBatch {
		select {
		case e, more := <-s.queue:
			if !more {
				return list
			}
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}

// commit writes a batch in one transaction and tells the outcome. If that
// fails, each entry gets a transaction of its own, in their order: one that
// cannot be written fails alone. The outcome of each is told before the next
// is tried, so that a caller that is told of a failure can end the contexts of the
// entries that must not overtake the failed one.
func (s *Store) commit(batch []*entry) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if s.Shared() { // SQLite has its busy_timeout; a context that can end costs it a goroutine a statement
		ctx, cancel = context.WithTimeout(s.work, writeTimeout)
	}
	defer cancel()
	live := slices.DeleteFunc(slices.Clone(batch), func(e *entry) bool { e.err = s.refuses(e); return e.err != nil })
	// Every store locks rooms in the same order, so that none waits in a circle.
	slices.SortStableFunc(live, func(a, b *entry) int { return strings.Compare(a.room, b.room) })
	err := s.together(ctx, live)
	if err == nil {
		for _, e := range batch {
			s.tell(e)
		}
		return
	}
	s.opts.Log.Warn("writing entries of rooms together", "entries", len(live), "err", err)
	hopeless := len(live) == 1 || busy(err) || ctx.Err() != nil
	for _, e := range batch {
		switch {
		case e.err != nil && !slices.Contains(live, e): // refused above
		case hopeless:
			e.err = err
		default:
			if e.err = s.refuses(e); e.err == nil {
				if err := s.together(ctx, []*entry{e}); err != nil {
					e.err = err
				}
			}
		}
		s.tell(e)
	}
}

// refuses returns why an entry is not to be written any more.
func (s *Store) refuses(e *entry) error {
	if s.work.Err() != nil {
		return ErrClosed
	}
	return e.ctx.Err()
}

// busy says whether another process has held SQLite's write lock for too long.
// To try again at once would only wait as long again.
func busy(err error) bool {
	var lite sqlite3.Error
	return errors.As(err, &lite) && lite.Code == sqlite3.ErrBusy
}

// harmless are the errors of an entry that leave those beside it as they are.
var harmless = []error{chat.ErrUnknown, chat.ErrFull, chat.ErrMoved, chat.ErrUnwanted}

// together runs entries in one transaction. The error of an entry is in the entry.
func (s *Store) together(ctx context.Context, batch []*entry) error {
	if len(batch) == 0 {
		return nil
	}
	began := time.Now()
	err := s.tx(ctx, func(tx querier) error {
		for _, e := range batch {
			e.err = e.do(ctx, tx)
			if e.err != nil && !slices.ContainsFunc(harmless, func(err error) bool { return errors.Is(e.err, err) }) {
				return e.err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("committing to the rooms' database: %w", err)
	}
	batchSize.Observe(float64(len(batch)))
	commitSeconds.Observe(time.Since(began).Seconds())
	return nil
}

// tell calls an entry's then. A panic of it is logged and ends nothing.
func (s *Store) tell(e *entry) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Error("telling the outcome of a write", "room", e.room, "err", p, "stack", string(debug.Stack()))
		}
	}()
	e.then(e.err)
}
