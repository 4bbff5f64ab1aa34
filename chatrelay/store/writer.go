// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
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
	m        chat.Message // in the end as it is stored
	repeated bool         // it was stored before
}

// share queues a write and waits for its commit. When ctx ends first the write
// may still happen; whoever commits it stays until that is over.
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

// enqueue has an entry committed. Unless it errs, the entry is ended
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
	select {
	case s.queue <- e:
	case <-e.ctx.Done():
		return e.ctx.Err()
	case <-s.quit:
		return ErrClosed
	}
	s.attend(false)
	select {
	case <-s.written: // perhaps it ended without having seen this one
		s.refuseRest()
	default:
	}
	return nil
}

// refuseRest ends what came while the store was closed.
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

// attend commits what is queued, if it is time for that and nobody else does.
// Whoever brings a message commits it, with all that came before: nobody need
// be woken up. Where many write, a moment's pause lets several share a commit,
// which costs more than all else about a message; who comes first after the
// pause commits, or the alarm a little later. Nobody commits twice in a row,
// so that no connection goes unread for the others' sake.
func (s *Store) attend(alarm bool) {
	if !s.begin(alarm) {
		return
	}
	s.owned.Add(1) // Close waits for those who are told; it has not had the turn yet
	defer s.owned.Done()
	ended := s.commitQueued()
	s.remind()
	for _, e := range ended {
		e.end(e.refusal)
	}
}

// commitQueued commits a batch and gives the turn back.
func (s *Store) commitQueued() []*entry {
	defer func() { s.turn <- struct{}{} }() // a panic, which callers outlive, must not take it along
	s.began = time.Now()
	return s.commit(s.gather())
}

// begin takes the turn if there is something to be committed now; what has to
// wait gets the alarm. If another has the turn, it will see to it.
func (s *Store) begin(alarm bool) bool {
	if len(s.queue) == 0 || !s.take(alarm) {
		return false
	}
	if alarm {
		s.armed = false
	}
	switch wait := s.wait(); {
	case len(s.queue) == 0: // by now
	case alarm || wait == 0:
		if s.armed {
			s.alarm.Stop()
			s.armed = false
		}
		return true
	default:
		s.arm(wait)
	}
	s.turn <- struct{}{}
	return false
}

// remind leaves to the alarm those who came while another had the turn.
func (s *Store) remind() {
	if len(s.queue) > 0 && s.take(false) {
		s.arm(s.wait())
		s.turn <- struct{}{}
	}
}

// take takes the turn if it is free, or waits for it unless the store closes.
func (s *Store) take(wait bool) bool {
	if wait {
		select {
		case <-s.turn:
			return true
		case <-s.written:
			return false
		}
	}
	select {
	case <-s.turn:
		return true
	default:
		return false
	}
}

// wait is how long what is queued may wait for company.
func (s *Store) wait() time.Duration {
	rest := pause - time.Since(s.began)
	if rest <= 0 || len(s.queue) >= crowded {
		return 0
	}
	return rest + linger
}

func (s *Store) arm(wait time.Duration) {
	if !s.armed {
		s.alarm.Reset(wait)
		s.armed = true
	}
}

// finish commits what is still queued. Nobody has a turn any more.
func (s *Store) finish() {
	<-s.turn
	s.alarm.Stop()
	for len(s.queue) > 0 {
		for _, e := range s.commit(s.gather()) {
			e.end(e.refusal)
		}
	}
	close(s.written)
	s.refuseRest()
}

// gather takes what is queued, without waiting.
func (s *Store) gather() (batch []*entry) {
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
			if e.refusal != nil && !errors.Is(e.refusal, chat.ErrUnknown) && !errors.Is(e.refusal, chat.ErrFull) && !errors.Is(e.refusal, chat.ErrMoved) {
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
