// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"sync"

	"github.com/chmail/chmail/internal/safely"
)

// A live room runs jobs one after the other, in a goroutine of its own that
// lives while there are jobs: an idle room costs none, and no connection runs
// the work of a room.
//
// The queue is bounded by what brings jobs. A connection brings one with do
// and waits for it. What brings one with post never waits: the messages of a
// connection on their way to the store (maxFlying), a timer, a letter of
// another relay (which has a queue of its own).

// post brings a job that runs soon. It never waits.
func (h *liveRoom) post(f func()) { h.jobs.Post(func() { h.runJob(f) }) }

// do brings a job and returns when it has run; a job must not call it. It
// reports false when the relay ends or the last user has left instead: then f
// has not run, and never will.
func (h *liveRoom) do(f func()) bool {
	done := make(chan bool, 1)
	h.jobs.Post(func() { done <- h.runJob(f) })
	return <-done
}

// runJob runs f, unless the last user has left meanwhile or the relay has
// ended. A panic ends the job and nothing else.
func (h *liveRoom) runJob(f func()) (ran bool) {
	if !h.r.work.enter() {
		return false
	}
	defer h.r.work.leave()
	if h.r.ctx.Err() != nil || !h.hold() {
		return false
	}
	defer h.leave()
	defer safely.Recover(h.r.log, "a room")
	f()
	return true
}

// gate counts what is under way, until it is closed.
type gate struct {
	mu     sync.Mutex
	n      int
	closed bool
	empty  *sync.Cond
}

// enter counts somebody in; false: the gate is closed.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.n++
	}
	return !g.closed
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		g.empty.Broadcast()
	}
}

// close closes the gate and waits until nothing is under way.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.empty = true, sync.NewCond(&g.mu)
	for g.n > 0 {
		g.empty.Wait()
	}
}
