// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import "sync"

// steps are the functions that a live room runs, one after the other. There
// is no goroutine that waits for them: who brings one while none runs, runs
// it, so that a message wakes nobody on its way, and an idle room costs none.
type steps struct {
	mu   sync.Mutex
	list []step
	busy bool       // somebody runs them
	room *sync.Cond // there is room in the list again; nil until somebody waits
}

type step struct {
	f    func()
	done chan bool // gets whether f has run; nil: nobody waits
}

// post brings a step that runs soon, in a goroutine of its own if none runs.
// A step must not call it on a room whose list is full: it would wait for itself.
func (h *hall) post(f func()) {
	if h.bring(step{f: f}) {
		go h.work()
	}
}

// do brings a step and returns when it has run; a step must not call it. It
// reports false when the relay ends or the last user has left instead: then f
// has not run, and never will.
func (h *hall) do(f func()) bool { return <-h.soon(f) }

// soon is post for a caller that has the time: it runs the step itself, if no
// other is run. The channel gets what do reports.
func (h *hall) soon(f func()) <-chan bool {
	s := step{f: f, done: make(chan bool, 1)}
	if h.bring(s) && h.upTo(s.done) {
		go h.work() // others brought more meanwhile
	}
	return s.done
}

// bring puts a step into the list. It reports true when the caller has to see
// to it that the list is worked off.
func (h *hall) bring(s step) bool {
	h.steps.mu.Lock()
	defer h.steps.mu.Unlock()
	for len(h.steps.list) >= roomInbox {
		if h.steps.room == nil {
			h.steps.room = sync.NewCond(&h.steps.mu)
		}
		h.steps.room.Wait()
	}
	h.steps.list = append(h.steps.list, s)
	first := !h.steps.busy
	h.steps.busy = true
	return first
}

// work runs steps until there is none.
func (h *hall) work() { h.upTo(nil) }

// upTo runs steps up to the one that is waited for with done. It reports
// whether there are more, which the caller then must see to.
func (h *hall) upTo(done chan bool) (more bool) {
	for mine := false; ; {
		h.steps.mu.Lock()
		if len(h.steps.list) == 0 {
			h.steps.busy, h.steps.list = false, nil
			h.steps.mu.Unlock()
			return false
		}
		if mine {
			h.steps.mu.Unlock()
			return true
		}
		s := h.steps.list[0]
		h.steps.list = h.steps.list[1:]
		if h.steps.room != nil {
			h.steps.room.Broadcast()
		}
		h.steps.mu.Unlock()
		ran := h.step(s.f)
		if s.done != nil {
			s.done <- ran
		}
		mine = done != nil && s.done == done
	}
}

// step runs f, unless the last user has left meanwhile or the relay has ended.
func (h *hall) step(f func()) bool {
	if !h.r.work.enter() {
		return false
	}
	defer h.r.work.leave()
	if h.r.ctx.Err() != nil || !h.hold() {
		return false
	}
	defer h.leave()
	defer h.r.recovered("a room")
	f()
	return true
}

// gate counts what is under way, until it is shut.
type gate struct {
	mu    sync.Mutex
	n     int
	shut  bool
	empty *sync.Cond
}

// enter counts somebody in; false: it is shut.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.n++
	}
	return !g.shut
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		g.empty.Broadcast()
	}
}

// close shuts the gate and waits until nothing is under way.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.empty = true, sync.NewCond(&g.mu)
	for g.n > 0 {
		g.empty.Wait()
	}
}
