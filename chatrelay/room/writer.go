// SPDX-License-Identifier: GPL-3.0-or-later

package room

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// entry is one write that shares its commit with others.
type entry struct {
	ctx  context.Context
	room string
	// do may run more than once. It returns ErrUnknown, ErrFull or ErrMoved
	// only before it has changed anything; every other error undoes the whole
	// batch.
	do      func(ctx context.Context, tx querier) error
	append  *appending // what do appends, if it does nothing else
	refusal error
	done    chan error // holds one
}

// appending is a message on its way.
type appending struct {
	home     string
	m        Message // in the end as it is stored
	repeated bool    // it was stored before
}

// share hands a write to the writer and waits for its commit. When ctx ends
// first the write may still happen.
func (s *Store) share(ctx context.Context, room string, do func(context.Context, querier) error) error {
	return s.hand(&entry{ctx: ctx, room: room, do: do})
}

func (s *Store) hand(e *entry) error {
	if err := s.mayAppend(); err != nil {
		return err
	}
	ctx := e.ctx
	e.done = make(chan error, 1)
	select {
	case <-s.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	default:
	}
	if s.atOnce(e) {
		return <-e.done
	}
	select {
	case s.queue <- e:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return ErrClosed
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.written:
		select {
		case err := <-e.done:
			return err
		default: // queued in the moment the writer ended
			return ErrClosed
		}
	}
}

// atOnce commits an entry in its caller's goroutine, if nobody has written of
// late: the caller need not be woken up by another then.
func (s *Store) atOnce(e *entry) bool {
	select {
	case <-s.turn:
	default:
		return false
	}
	defer func() { s.turn <- struct{}{} }()
	if time.Since(s.committed) < pause || len(s.queue) > 0 {
		return false
	}
	s.commit([]*entry{e})
	s.committed = time.Now()
	return true
}

// writer commits what is queued: whatever came while one commit was under
// way goes into the next one together. When it has ended nobody has a turn
// any more.
func (s *Store) writer() {
	defer s.owned.Done()
	defer close(s.written)
	for {
		select {
		case e := <-s.queue:
			<-s.turn
			// Where many write, a moment's pause lets several share a commit,
			// which costs more than all else about a message.
			if rest := pause - time.Since(s.committed); rest > 0 && len(s.queue) < crowded {
				time.Sleep(rest)
			}
			s.commit(s.gather(e))
			s.committed = time.Now()
			s.turn <- struct{}{}
		case <-s.quit:
			<-s.turn
			for {
				select {
				case e := <-s.queue:
					s.commit(s.gather(e))
				default:
					return
				}
			}
		}
	}
}

// gather takes what is queued behind first, without waiting.
func (s *Store) gather(first *entry) []*entry {
	batch := []*entry{first}
	for len(batch) < maxBatch {
		select {
		case e := <-s.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch in one transaction. If that fails, each write gets a
// transaction of its own, so that one bad write fails alone and a connection
// lost in between harms nobody.
func (s *Store) commit(batch []*entry) {
	batch = slices.DeleteFunc(batch, func(e *entry) bool {
		err := e.ctx.Err()
		if err != nil {
			e.done <- err
		}
		return err != nil
	})
	if len(batch) == 0 {
		return
	}
	if s.redo != nil && !s.redo.broken && !slices.ContainsFunc(batch, func(e *entry) bool { return e.append == nil }) {
		err := s.journaled(batch)
		if err == nil {
			return
		}
		s.opts.Log("%d messages go past the journal: %v", len(batch), err)
	}
	// Every store locks rooms in the same order, so that none waits in a circle.
	slices.SortStableFunc(batch, func(a, b *entry) int { return strings.Compare(a.room, b.room) })
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if s.Shared() { // SQLite has its busy_timeout, and would start a goroutine a statement for a context that can end
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
	}
	defer cancel()
	err := s.together(ctx, batch)
	if err == nil {
		return
	}
	s.opts.Log("writing %d entries together: %v", len(batch), err)
	for _, e := range batch {
		if err := s.together(ctx, []*entry{e}); err != nil {
			e.done <- err
		}
	}
}

// together runs a batch in one transaction and, once it is committed, tells
// every writer of the batch.
func (s *Store) together(ctx context.Context, batch []*entry) error {
	began := time.Now()
	err := s.tx(ctx, func(tx querier) error {
		for _, e := range batch {
			e.refusal = e.do(ctx, tx)
			if e.refusal != nil && !errors.Is(e.refusal, ErrUnknown) && !errors.Is(e.refusal, ErrFull) && !errors.Is(e.refusal, ErrMoved) {
				return e.refusal
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("committing to the rooms' database: %w", err)
	}
	batchSize.Observe(float64(len(batch)))
	commitSeconds.Observe(time.Since(began).Seconds())
	for _, e := range batch {
		e.done <- e.refusal
	}
	return nil
}

// journaled writes a batch of messages to the journal and tells everyone.
func (s *Store) journaled(batch []*entry) error {
	began := time.Now()
	if err := s.redo.take(context.Background(), batch); err != nil {
		return err
	}
	batchSize.Observe(float64(len(batch)))
	commitSeconds.Observe(time.Since(began).Seconds())
	for _, e := range batch {
		e.done <- e.refusal
	}
	return nil
}
