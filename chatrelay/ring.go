// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/presence"
)

// ring rings every device of whoever can be rung, and waits for an interval.
// Browsers are told of the first ring by a push, for which nothing waits.
func (h *liveRoom) ring(c *call, first bool) {
	h.r.setCall(c.a.ID, h)
	now := c.now
	if now == nil {
		fresh := h.reach(c)
		now = &fresh
	}
	c.busy, c.devices = now.busy, nil
	if c.rung == nil {
		c.rung = map[string]map[string]bool{}
	}
	for _, login := range now.ring {
		kinds, relays := h.r.ring(login, h.ringFrame(c, login), c.silent)
		c.devices = append(c.devices, kinds...)
		if c.rung[login] == nil {
			c.rung[login] = map[string]bool{}
		}
		for _, relay := range relays {
			c.rung[login][relay] = true
		}
	}
	if first && !c.silent {
		c.pushed = now.push
		n := h.pushNote(c, notify.Ring, "")
		n.TTL = time.Duration(c.m.Of) * h.r.opt.Interval
		h.r.notifier.Push(c.pushed, n)
	}
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
	h.watchDevices(c, turn)
}

// watchDevices looks from time to time whether devices at other relays are
// still there: of a relay that has died nobody is told.
func (h *liveRoom) watchDevices(c *call, turn int) {
	far := 0
	for _, relays := range c.rung {
		far += len(relays)
	}
	if far == 0 {
		return
	}
	time.AfterFunc(presence.HeartbeatEvery, func() {
		h.post(func() {
			if h.call != c || c.turn != turn {
				return
			}
			if now := h.reach(c); now.on {
				h.watchDevices(c, turn)
			} else {
				h.event(attempt.Event{Kind: attempt.Unreachable, Why: now.why})
			}
		})
	})
}

// ringFrame is what the devices of a login show.
func (h *liveRoom) ringFrame(c *call, login string) *frame.Frame {
	ctx, cancel := h.store()
	defer cancel()
	muted, err := h.r.opt.Rooms.Muted(ctx, login, h.id)
	if err != nil {
		h.log("looking whether a room is muted", err)
	}
	callee := h.info.Participant(c.a.Callee)
	f := &frame.Ring{Attempt: c.a.ID, Room: h.id, From: h.info.Participant(c.a.Caller).Person, Proven: !c.a.Unproven,
		Subject: h.info.Subject,
		Ring:    c.m.Ring, Of: c.m.Of, Muted: muted, Busy: h.r.chats.count(login, h.id) > 0, At: time.Now().UTC()}
	if login != callee.Login {
		f.Group = callee.DisplayName()
	}
	return &frame.Frame{T: frame.TRing, Ring: f}
}

// stopRings tells the devices why it is over; the one that answered is told
// so, the others that it was elsewhere.
func (h *liveRoom) stopRings(c *call, why string) {
	c.turn++
	stopTimer(c.timer)
	c.stopGrace(h)
	if why == frame.EndAnswered {
		why = frame.EndElsewhere
	}
	if c.silent {
		c.rung = nil
	}
	for login := range c.rung {
		h.endRing(c, login, why)
	}
	if len(c.pushed) > 0 {
		h.r.notifier.Push(c.pushed, h.pushNote(c, notify.End, why))
	}
	c.devices, c.rung, c.pushed = nil, nil, nil
	h.r.setCall(c.a.ID, nil)
}

// endRing tells the devices of one login why it is over for them.
func (h *liveRoom) endRing(c *call, login, why string) {
	name := ""
	if c.a.Taker != 0 && login != c.taker.login {
		name = h.info.Participant(c.a.Taker).DisplayName()
	}
	at := func(relay string) (device string) {
		if c.taker.login == login && c.taker.relay == relay {
			device = c.taker.id
		}
		return device
	}
	h.r.devices.endRing(login, c.a.ID, why, at(""), name)
	for relay := range c.rung[login] {
		h.r.publish(relay, note{T: noteEnd, Login: login, Attempt: c.a.ID, Code: why, Device: at(relay), Words: name})
	}
}

// setCall notes in which room an attempt rings; nil: it does not any more.
func (r *Relay) setCall(id string, h *liveRoom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h == nil {
		delete(r.calls, id)
	} else {
		r.calls[id] = h
	}
}

// ring rings every device of a login, unless it is for show, and returns what
// kinds of devices those are and at which other relays some are.
func (r *Relay) ring(login string, f *frame.Frame, show bool) (kinds, relays []string) {
	kinds = r.devices.kinds(login)
	if !show {
		r.devices.tell(login, f)
	}
	for _, d := range r.remote(login) {
		kinds = append(kinds, string(d.Source))
		if !show && !slices.Contains(relays, d.Relay) {
			relays = append(relays, d.Relay)
			r.publish(d.Relay, note{T: noteRing, Login: login, Frame: f})
		}
	}
	return kinds, relays
}

// takeUp goes on with what was under way when this process, or another relay,
// ended: a room with an open attempt resumes it as it comes to life.
func (r *Relay) takeUp() {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	open, err := r.opt.Rooms.OpenAttempts(ctx, r.home())
	if err != nil && r.ctx.Err() == nil {
		r.log.Warn("looking for attempts to take up", "err", err)
	}
	for _, a := range open {
		h, err := r.enter(ctx, a.Room)
		if err != nil {
			if !elsewhere(err) && r.ctx.Err() == nil { // one room that cannot be read keeps no other
				r.log.Warn("taking up an attempt", "room", a.Room, "attempt", a.ID, "err", err)
			}
			continue
		}
		h.do(func() {}) // it has resumed by then
		h.leave()
	}
}

// resume takes up an attempt. What rang or waited moments ago goes on, if its
// caller comes back; what is older is unanswered, with an alarm.
func (h *liveRoom) resume() {
	c := h.call
	if c == nil {
		return
	}
	h.screen(c)
	if !c.a.Ended.IsZero() {
		return
	}
	young := time.Since(c.a.Started) < takeUpWithin
	switch {
	case c.a.State == attempt.Ringing && young:
		c.resumed = true
		h.holdCall(c)
		h.ring(c, false)
		c.callerGone(h, comeWait)
	case c.a.State == attempt.Ringing:
		c.m.Of = c.m.Ring
		h.event(attempt.Event{Kind: attempt.Tick})
	case c.a.State == attempt.Busy && young:
		h.holdCall(c)
		c.callerGone(h, comeWait)
	case c.a.State == attempt.Busy:
		h.event(attempt.Event{Kind: attempt.CallerGone})
	default:
		h.alarm(c)
	}
}
