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
	done    chan error  // holds one
	then    func(error) // instead of done
}

// end tells who waits for an entry.
func (e *entry) end(err error) {
	if e.then != nil {
		e.then(err)
		return
	}
	e.done <- err
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
	e.done = make(chan error, 1)
	if err := s.enqueue(e); err != nil {
		return err
	}
	select {
	case err := <-e.done:
		return err
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
}

// enqueue gives an entry to the writer. Unless it errs, the entry is ended
// exactly once, perhaps before enqueue returns.
func (s *Store) enqueue(e *entry) error {
	if err := s.mayAppend(); err != nil {
		return err
	}
	select {
	case <-s.quit:
		return ErrClosed
	case <-e.ctx.Done():
		return e.ctx.Err()
	default:
	}
	if s.atOnce(e) {
		return nil
	}
	s.queued.Add(1)
	select {
	case s.queue <- e:
	case <-e.ctx.Done():
		s.queued.Add(-1)
		return e.ctx.Err()
	case <-s.quit:
		s.queued.Add(-1)
		return ErrClosed
	}
	select {
	case <-s.written: // perhaps it ended without having seen this one
		s.refuseRest()
	default:
	}
	return nil
}

// refuseRest ends what came while the writer ended.
func (s *Store) refuseRest() {
	for {
		select {
		case e := <-s.queue:
			e.end(ErrClosed)
		default:
			return
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
	now := time.Now()
	quiet := now.Sub(s.committed) >= pause && s.queued.Load() == 0
	var ended []*entry
	if quiet {
		ended = s.commit([]*entry{e})
		s.committed = time.Now()
	}
	s.turn <- struct{}{}
	end(ended)
	return quiet
}

// end tells who waits for entries.
func end(list []*entry) {
	for _, e := range list {
		e.end(e.refusal)
	}
}

// writer commits what is queued: whatever came while one commit was under
// way goes into the next one together. When it has ended nobody has a turn
// any more.
func (s *Store) writer() {
	defer s.owned.Done()
	defer s.refuseRest()
	defer close(s.written)
	defer close(s.ended)
	for {
		select {
		case e := <-s.queue:
			<-s.turn
			// Where many write, a moment's pause lets several share a commit,
			// which costs more than all else about a message.
			if rest := pause - time.Since(s.committed); rest > 0 && len(s.queue) < crowded {
				time.Sleep(rest)
			}
			ended := s.commit(s.gather(e))
			s.committed = time.Now()
			s.turn <- struct{}{}
			select {
			case s.ended <- ended:
			default: // the last ones take their time
				s.owned.Go(func() { end(ended) })
			}
		case <-s.quit:
			<-s.turn
			for {
				select {
				case e := <-s.queue:
					end(s.commit(s.gather(e)))
				default:
					return
				}
			}
		}
	}
}

// teller tells the writers of one batch after the other. It is a goroutine for
// all of them, since its stack has grown to what they need.
func (s *Store) teller() {
	defer s.owned.Done()
	for list := range s.ended {
		end(list)
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
			s.queued.Add(-int64(len(batch)))
			return batch
		}
	}
	s.queued.Add(-int64(len(batch)))
	return batch
}

// commit writes a batch, to the journal or in one transaction. If that fails,
// each write gets a transaction of its own, so that one bad write fails alone
// and a connection lost in between harms nobody. It returns the batch, with the
// errors in it, for all to be told.
func (s *Store) commit(batch []*entry) []*entry {
	var live []*entry
	for _, e := range batch {
		if e.refusal = e.ctx.Err(); e.refusal == nil {
			live = append(live, e)
		}
	}
	if len(live) == 0 {
		return batch
	}
	if s.redo != nil && !s.redo.broken && !slices.ContainsFunc(live, func(e *entry) bool { return e.append == nil }) {
		err := s.journaled(live)
		if err == nil {
			return batch
		}
		s.opts.Log("%d messages go past the journal: %v", len(live), err)
	}
	// Every store locks rooms in the same order, so that none waits in a circle.
	slices.SortStableFunc(live, func(a, b *entry) int { return strings.Compare(a.room, b.room) })
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if s.Shared() { // SQLite has its busy_timeout, and would start a goroutine a statement for a context that can end
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
	}
	defer cancel()
	err := s.together(ctx, live)
	if err == nil {
		return batch
	}
	s.opts.Log("writing %d entries together: %v", len(live), err)
	for _, e := range live {
		if err := s.together(ctx, []*entry{e}); err != nil {
			e.refusal = err
		}
	}
	return batch
}

// together runs a batch in one transaction.
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
	return nil
}

// journaled writes a batch of messages to the journal.
func (s *Store) journaled(batch []*entry) error {
	began := time.Now()
	if err := s.redo.take(context.Background(), batch); err != nil {
		return err
	}
	batchSize.Observe(float64(len(batch)))
	commitSeconds.Observe(time.Since(began).Seconds())
	return nil
}
