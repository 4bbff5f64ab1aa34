// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/room"
)

// call is an attempt in its live room, whose goroutine owns it.
type call struct {
	a       room.Attempt
	m       attempt.Attempt
	devices []string // kinds of the devices rung
	mailed  *time.Time
	taker   *device     // the device that answered
	timer   *time.Timer // the next Tick
	grace   *time.Timer // until the caller counts as gone
	turn    int         // rises with each ring: a late Tick of an earlier one means nothing
	held    bool        // the ringing call is a user of the room
}

// oldCall is a call read back from the store.
func oldCall(a room.Attempt, of int) *call {
	return &call{a: a, m: attempt.Attempt{State: a.State, Ring: a.Rings, Of: max(of, a.Rings)}}
}

func (c *call) frame() *frame.Attempt {
	return &frame.Attempt{ID: c.a.ID, State: c.m.State, Caller: c.a.Caller, Callee: c.a.Callee, Ring: c.m.Ring, Of: c.m.Of,
		On: c.m.On, Devices: slices.Clone(c.devices), Started: c.a.Started, Mailed: c.mailed, Words: c.m.Words, Tell: c.a.Tell}
}

// callerGone waits a little: a page that is loaded again is not gone.
func (c *call) callerGone(h *hall) {
	if c.m.State == frame.Ringing {
		c.grace = time.AfterFunc(callerGrace, func() {
			h.post(func() {
				if h.call == c && !h.isHere(c.a.Caller) {
					h.event(attempt.Event{Kind: attempt.CallerGone})
				}
			})
		})
	}
}

func (c *call) callerBack() { stopTimer(c.grace) }

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// attempt begins a call, unless one rings or the callee is here.
func (h *hall) attempt(s *session) {
	if h.isHere(s.callee.ID) {
		h.wish = &wish{s, time.Now()}
	}
	if h.isHere(s.callee.ID) || h.call != nil && (h.call.m.State == frame.Ringing ||
		h.call.m.State == frame.Unanswered && h.call.a.Ended.IsZero()) {
		if h.call != nil {
			s.out.put(frame.Encode(&frame.Frame{T: frame.TState, Attempt: h.call.frame()}))
		}
		return
	}
	if h.call != nil {
		stopTimer(h.call.grace)
	}
	h.call = &call{
		a: room.Attempt{ID: rand.Text(), Room: h.id, Caller: s.me, Callee: s.callee.ID, Started: time.Now().UTC()},
		m: attempt.Attempt{Of: h.r.opt.Rings},
	}
	h.event(attempt.Event{Kind: attempt.Start, On: h.r.hasDevice(s.callee.Login)})
}

// wish is an attempt at somebody who seems to be here. A page can vanish
// without a word; until its connection counts as gone nobody is rung.
type wish struct {
	by *session
	at time.Time
}

// afterAll makes the attempt that was wished for, now that s has left: if it
// had not been heard of since, it was the callee's ghost.
func (h *hall) afterAll(s *session) {
	w := h.wish
	if w == nil || w.by.callee.ID != s.me {
		return
	}
	h.wish = nil
	if h.sessions[w.by] && time.Unix(0, s.heard.Load()).Before(w.at) {
		h.attempt(w.by)
	}
}

func (h *hall) cancel(s *session) {
	h.wish = nil
	if h.call != nil && h.call.a.Caller == s.me {
		h.event(attempt.Event{Kind: attempt.Cancel})
	}
}

// tell notes that the caller wants a mail when the callee is back.
func (h *hall) tell(s *session, on bool) {
	c := h.call
	if c == nil || c.a.Caller != s.me || c.a.Tell == on || c.m.State == frame.Ringing || c.m.State == frame.Answered {
		return
	}
	c.a.Tell = on
	h.keep(c)
	h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
}

// calleeEntered answers the attempt, by whatever way the callee came.
func (h *hall) calleeEntered() { h.event(attempt.Event{Kind: attempt.DeviceAnswered}) }

// event lets something happen to the call, and carries out what follows.
func (h *hall) event(e attempt.Event) {
	c := h.call
	if c == nil {
		return
	}
	before := c.m
	var effects []attempt.Effect
	c.m, effects = c.m.Next(e)
	if c.m == before && len(effects) == 0 {
		return
	}
	for _, f := range effects {
		if f.Do == attempt.Ring {
			h.ring(c)
		}
		if f.Do == attempt.StopRings {
			h.stopRings(c, f.Why)
		}
	}
	if c.m.State != before.State {
		attemptsTotal.WithLabelValues(c.m.State).Inc()
	}
	c.a.State, c.a.Rings, c.a.Ended = c.m.State, c.m.Ring, time.Time{}
	if c.m.State != frame.Ringing && c.m.State != frame.Unanswered {
		c.a.Ended = time.Now().UTC()
	}
	if c.m.State == frame.Answered {
		c.a.Tell = false
	}
	h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
	h.keep(c)
	for _, f := range effects {
		switch f.Do {
		case attempt.Note:
			about := c.a.Callee
			if f.Why == frame.EndCancelled {
				about = c.a.Caller
			}
			h.note(about, f.Why)
		case attempt.Alarm:
			h.alarm(c)
		}
	}
}

// keep stores the attempt.
func (h *hall) keep(c *call) {
	ctx, cancel := h.store()
	defer cancel()
	if err := h.r.opt.Rooms.PutAttempt(ctx, c.a); err != nil {
		h.log("storing an attempt", err)
	}
}

// ring rings every device of the callee, and waits for an interval.
func (h *hall) ring(c *call) {
	if !c.held {
		c.held = h.hold()
		h.r.setCall(c.a.ID, h)
	}
	callee := person(h.info, c.a.Callee)
	c.devices = h.r.ringDevices(callee.Login, &frame.Frame{T: frame.TRing, Ring: h.ringFrame(c)})
	stopTimer(c.timer)
	c.turn++
	turn := c.turn
	c.timer = time.AfterFunc(h.r.opt.Interval, func() {
		h.post(func() {
			if h.call == c && c.turn == turn {
				h.event(attempt.Event{Kind: attempt.Tick})
			}
		})
	})
}

func (h *hall) ringFrame(c *call) *frame.Ring {
	return &frame.Ring{Attempt: c.a.ID, Room: h.id, From: person(h.info, c.a.Caller).Person, Subject: h.info.Subject,
		Ring: c.m.Ring, Of: c.m.Of, At: time.Now().UTC()}
}

// stopRings tells the devices why it is over; the one that answered is told
// so, the others that it was elsewhere.
func (h *hall) stopRings(c *call, why string) {
	c.turn++
	stopTimer(c.timer)
	stopTimer(c.grace)
	other := why
	if why == frame.EndAnswered {
		other = frame.EndElsewhere
		if c.taker != nil {
			c.taker.out.put(frame.Encode(&frame.Frame{T: frame.TRingEnd, AttemptID: c.a.ID, Code: why}))
		}
	}
	h.r.endRings(person(h.info, c.a.Callee).Login, &frame.Frame{T: frame.TRingEnd, AttemptID: c.a.ID, Code: other}, c.taker)
	c.devices = nil
	h.r.setCall(c.a.ID, nil)
	if c.held {
		c.held = false
		h.leave()
	}
}

// setCall notes in which room an attempt rings; nil: it does not any more.
func (r *Relay) setCall(id string, h *hall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h == nil {
		delete(r.calls, id)
	} else {
		r.calls[id] = h
	}
}

// takeUp goes on with what was under way when the process before ended. What
// rang moments ago rings on, if its caller comes back; what is older is
// unanswered, with an alarm.
func (r *Relay) takeUp() error {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	open, err := r.opt.Rooms.OpenAttempts(ctx)
	if err != nil {
		return err
	}
	for _, a := range open {
		h, err := r.enter(ctx, a.Room)
		if err != nil {
			return fmt.Errorf("taking up an attempt: %w", err)
		}
		h.do(func() {
			h.call = oldCall(a, r.opt.Rings)
			switch {
			case a.State != frame.Ringing:
				h.alarm(h.call)
			case time.Since(a.Started) < takeUpWithin:
				h.ring(h.call)
				h.call.callerGone(h)
			default:
				h.call.m.Of = h.call.m.Ring
				h.event(attempt.Event{Kind: attempt.Tick})
			}
		})
		h.leave()
	}
	return nil
}
