// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
)

// call is an attempt in its live room. Only functions in the room's queue use it.
type call struct {
	a       chat.Attempt
	m       attempt.Attempt
	devices []string                   // kinds of the devices rung
	rung    map[string]map[string]bool // logins rung → other relays that did
	pushed  []string                   // logins whose browsers were told of the ring
	refused map[string]bool            // logins that are not rung: they declined, or have blocked the caller
	now     *reach                     // how the callee can be rung, where that was looked at just now
	silent  bool                       // the callee has blocked the caller: nothing is rung
	busy    bool                       // whoever is rung is in another chat
	unsent  bool                       // the alarm mail could not be sent
	claimed bool                       // a.Mailed is when the alarm mail was claimed: it may not have gone out
	taker   taker                      // the device that answered
	timer   *time.Timer                // the next Tick
	grace   *time.Timer                // until the caller counts as gone
	turn    int                        // rises with each ring: a late Tick of an earlier one means nothing
	came    bool                       // the caller was in the room since it began
	met     bool                       // the caller and whoever answered were in the room together
	resumed bool                       // taken up from a relay that ended; its caller has not come back
	held    bool                       // while it rings or waits it is a user of the room
	from    int64                      // offset of the first message after it began; 0: it was read from the store
}

// taker is a device that answers, perhaps at another relay.
type taker struct{ login, id, relay string }

// oldCall is a call read back from the store.
func oldCall(a chat.Attempt, of int) *call {
	return &call{a: a, claimed: claimed(a), m: attempt.Attempt{State: a.State, Ring: a.Rings,
		Of: max(of, a.Rings), Why: a.Why, Words: a.Words}}
}

func (c *call) frame() *frame.Attempt {
	f := &frame.Attempt{ID: c.a.ID, State: c.m.State, Caller: c.a.Caller,
		Callee: c.a.Callee, Ring: c.m.Ring, Of: c.m.Of,
		On: c.m.On, Why: c.m.Why, Busy: c.busy && c.m.State == attempt.Ringing, By: c.a.Taker,
		Devices: slices.Clone(c.devices), Started: c.a.Started, Words: c.m.Words, Tell: c.a.Tell}
	if at := c.a.Mailed; !at.IsZero() && !c.claimed {
		f.Mailed = &at
	}
	if at := c.a.Pushed; !at.IsZero() {
		f.Pushed = &at
	}
	return f
}

// open says whether the attempt is under way: another one waits for it.
func (c *call) open() bool {
	return c.m.State == attempt.Ringing || c.m.State == attempt.Busy ||
		c.m.State == attempt.Unanswered && c.a.Ended.IsZero()
}

// callerGone waits for a caller who is not here: a page that is loaded again is not gone. Who comes back in time goes
// on with the call. Of one who does not, the rings end, or whoever answered meanwhile is told.
func (c *call) callerGone(h *liveRoom, wait time.Duration) {
	if c.m.State != attempt.Ringing && c.m.State != attempt.Busy && (c.m.State != attempt.Answered || c.met) {
		return
	}
	c.stopGrace(h)
	if !h.hold() {
		return // unreachable: the running function of the room holds it
	}
	c.grace = time.AfterFunc(wait, func() {
		defer h.leave()
		h.do(func() {
			switch {
			case h.call != c || h.isHere(c.a.Caller):
			case !h.r.cluster.Steady(): // perhaps this relay is gone, and the caller comes to another
				c.callerGone(h, wait)
			case c.m.State == attempt.Answered:
				h.note(c.a.Caller, noteGone)
			case c.resumed && c.m.State == attempt.Ringing: // nobody took it back: it is unanswered
				c.m.Of = c.m.Ring
				h.event(attempt.Event{Kind: attempt.Tick})
			default:
				h.event(attempt.Event{Kind: attempt.CallerGone})
			}
		})
	})
}

// meet notes that a caller and whoever answered are both here.
func (h *liveRoom) meet() {
	if c := h.call; c != nil && c.m.State == attempt.Answered && h.isHere(c.a.Caller) && h.calleeHere(c.a.Callee) {
		c.met = true
	}
}

// noteGone is the note of a caller who had gone before somebody answered.
const noteGone = "gone"

// callerBack goes on with the call of a caller who has come back.
func (h *liveRoom) callerBack() {
	h.call.stopGrace(h)
	h.call.resumed, h.call.came = false, true
	h.reconsider(changed)
}

// stopGrace stops waiting for a caller who is not here.
func (c *call) stopGrace(h *liveRoom) {
	if c.grace != nil && c.grace.Stop() {
		h.leave() // the running function of the room holds it too
	}
}

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// standsFor says whether somebody is the callee, or a member of the group
// that is.
func (h *liveRoom) standsFor(id, callee int64) bool {
	if id == callee {
		return true
	}
	p := h.info.Participant(id)
	return p.Login != "" && !p.Guest && slices.Contains(h.r.members(h.info.Participant(callee).Login), p.Login)
}

// calleeHere says whether a person whom the call would ring is in the room.
func (h *liveRoom) calleeHere(callee int64) bool {
	return slices.ContainsFunc(h.here(), func(id int64) bool { return h.standsFor(id, callee) })
}

// attempt begins the call of a session.
func (h *liveRoom) attempt(s *session) {
	h.pending = nil
	if h.attends(s.callee.ID) {
		h.attemptUnlessSeen(s)
	}
	if !h.dial(s.me, s.callee.ID, s.access.Proven) && h.call != nil {
		s.out.Put(frame.Encode(s.cut(&frame.Frame{T: frame.TState, Attempt: h.call.frame()})))
	}
}

// dial begins a call, unless one is under way or the callee is here, before the page.
// proven: the caller has proven who they are.
func (h *liveRoom) dial(caller, callee int64, proven bool) bool {
	if c := h.call; c != nil && c.silent && c.a.Caller != caller {
		h.drop(c) // it stands in nobody's way
	}
	if h.call != nil && h.call.open() || h.attends(callee) {
		return false
	}
	if h.call != nil {
		h.call.stopGrace(h)
	}
	c := &call{
		came: h.isHere(caller),
		a: chat.Attempt{ID: rand.Text(), Room: h.id, Caller: caller, Callee: callee, Started: time.Now().UTC(),
			Unproven: !proven},
		m:    attempt.Attempt{Of: h.r.opt.Rings},
		from: h.last + 1,
	}
	h.call = c
	h.screen(c)
	now := h.reach(c)
	c.now = &now
	h.event(attempt.Event{Kind: attempt.Start, Why: now.why, On: now.on})
	c.now = nil
	return true
}

// drop ends a call that rings nobody, without a word.
func (h *liveRoom) drop(c *call) {
	if c.open() {
		h.stopRings(c, frame.EndCancelled)
		c.m.State, c.a.State, c.a.Ended = attempt.Cancelled, attempt.Cancelled, time.Now().UTC()
		h.keep(c)
		h.holdCall(c)
	}
}

// screen finds out who of those to be rung has blocked the caller.
func (h *liveRoom) screen(c *call) {
	ctx, cancel := h.store()
	defer cancel()
	logins := h.r.members(h.info.Participant(c.a.Callee).Login)
	blockers, err := h.r.opt.Rooms.BlockedBy(ctx, h.info.Participant(c.a.Caller), logins...)
	if err != nil {
		h.log("looking for blocks", err)
	}
	c.refused = map[string]bool{}
	// Where all have, it looks to the caller as if none had.
	if c.silent = len(blockers) > 0 && len(blockers) == len(logins); !c.silent {
		for _, login := range blockers {
			c.refused[login] = true
		}
	}
	c.a.Silent = c.silent
}

// reach is how the callee of a call can be rung now.
func (h *liveRoom) reach(c *call) reach {
	return h.r.reachOf(h.r.ctx, h.info.Participant(c.a.Callee).Login, h.id, c.refused)
}

// news is why it is looked again whether somebody can be rung.
type news int

const (
	changed news = iota // settings, chats, the caller is back
	came                // a device has just signed on
	went                // the last device has been gone for a while
)

// reconsider looks again whether the callee can be rung, where the caller
// waits for that.
func (h *liveRoom) reconsider(what news) {
	c := h.call
	if c == nil || h.gone || !h.isHere(c.a.Caller) && what != went || h.attends(c.a.Callee) {
		return
	}
	if what == came && !h.hears(c.a.Caller) { // perhaps they have gone: nobody is rung before they are heard of
		time.AfterFunc(frame.PingEvery, func() {
			h.post(func() {
				if h.call == c && h.hears(c.a.Caller) {
					h.reconsider(came)
				}
			})
		})
		return
	}
	now, rings := h.reach(c), c.m.State == attempt.Ringing
	c.now = &now
	defer func() { c.now = nil }()
	switch {
	case now.why == frame.Off && rings && what != went: // it may come back at once
	case now.why != "":
		h.event(attempt.Event{Kind: attempt.Unreachable, Why: now.why, On: now.on})
	case what == came || c.m.State == attempt.Busy || !rings && c.m.Why != "":
		h.event(attempt.Event{Kind: attempt.Reachable, On: true})
	}
}

func (h *liveRoom) cancel(s *session) {
	h.pending = nil
	if h.call != nil && h.call.a.Caller == s.me {
		h.event(attempt.Event{Kind: attempt.Cancel})
	}
}

// tell notes that the caller wants a mail when the callee is back.
func (h *liveRoom) tell(s *session, on bool) {
	c := h.call
	if c == nil || c.a.Caller != s.me || c.a.Tell == on ||
		c.m.State == attempt.Ringing || c.m.State == attempt.Answered {
		return
	}
	c.a.Tell = on
	h.keep(c)
	h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
}

// calleeEntered answers the attempt, by whatever way the callee, or a member
// of the group that is, came.
func (h *liveRoom) calleeEntered(id int64) {
	c := h.call
	before := c.a.Taker
	if id != c.a.Callee && before == 0 {
		c.a.Taker = id
	}
	if h.event(attempt.Event{Kind: attempt.Answer}); c.m.State != attempt.Answered {
		c.a.Taker = before
	}
}

// event gives an event to the call's machine and carries out the effects. The new
// state is stored first, so that a relay that is not the room's home any more
// neither rings nor raises an alarm.
func (h *liveRoom) event(e attempt.Event) {
	c := h.call
	if c == nil || h.gone {
		return
	}
	before := c.m
	var effects []attempt.Effect
	c.m, effects = c.m.Next(e)
	if c.m == before && len(effects) == 0 {
		return
	}
	h.enterState(c, before.State)
	if h.keep(c); h.gone {
		return
	}
	h.r.log.Info("an attempt", "room", h.id, "attempt", c.a.ID, "caller", h.info.Participant(c.a.Caller).Login,
		"callee", h.info.Participant(c.a.Callee).Login, "person", c.a.Caller, "state", c.m.State, "ring", c.m.Ring,
		"why", c.m.Why, "taker", c.taker.login)
	for _, f := range effects {
		switch f.Do {
		case attempt.RingFirst, attempt.RingNext, attempt.RingSame:
			h.ring(c, f.Do == attempt.RingFirst)
		case attempt.StopRings:
			h.stopRings(c, f.Why)
		}
	}
	h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
	if c.m.State == attempt.Answered && before.State != attempt.Answered && !h.isHere(c.a.Caller) {
		wait := callerGrace
		if !c.came {
			wait = comeWait
		}
		c.callerGone(h, wait)
	}
	for _, f := range effects {
		switch f.Do {
		case attempt.Note:
			h.noteOf(c, f.Why)
		case attempt.Alarm:
			h.alarm(c)
		}
	}
	h.holdCall(c)
}

// enterState brings what is stored of the call up to its machine's state.
func (h *liveRoom) enterState(c *call, before string) {
	c.a.State, c.a.Rings, c.a.Why, c.a.Words = c.m.State, c.m.Ring, c.m.Why, c.m.Words
	if c.m.State != before {
		attemptsTotal.WithLabelValues(c.m.State).Inc()
		if c.a.Ended = (time.Time{}); !c.open() {
			c.a.Ended = time.Now().UTC()
		}
	}
	if c.m.State == attempt.Answered {
		c.a.Tell = false
	}
}

// holdCall keeps the room alive while a call rings or waits, even when nobody is in it.
func (h *liveRoom) holdCall(c *call) {
	waits := c.m.State == attempt.Ringing || c.m.State == attempt.Busy
	if waits && !c.held {
		c.held = h.hold()
	}
	if !waits && c.held {
		c.held = false
		h.leave()
	}
}

// noteOf appends the note of a call's outcome, with the words of a decline.
func (h *liveRoom) noteOf(c *call, what string) {
	if c.silent {
		return
	}
	about, text := c.a.Callee, what
	switch {
	case what == attempt.Cancelled:
		about = c.a.Caller
	case what == attempt.Answered && c.a.Taker != 0:
		about = c.a.Taker
		h.take(h.info.Participant(about).Login)
	case what == attempt.Declined && c.m.Words != "":
		text += "\n" + c.m.Words
	}
	h.note(about, text)
}

// keep stores the attempt. A room whose home is another relay by now ends here.
func (h *liveRoom) keep(c *call) error {
	ctx, cancel := h.store()
	defer cancel()
	err := h.r.opt.Rooms.PutAttempt(ctx, h.r.home(), c.a)
	h.r.news.add(h.id)
	switch {
	case errors.Is(err, chat.ErrMoved):
		h.moved()
	case err != nil:
		h.log("storing an attempt", err)
	default:
		a := c.a
		h.r.tellEvent(Event{Room: h.id, Attempt: &a, By: h.info.Participant(a.Caller).Person,
			Callee: h.info.Participant(a.Callee).Person})
	}
	return err
}

// respond is a device's answer to a ring: frame.EndAnswered or frame.EndDeclined.
func (h *liveRoom) respond(attemptID, code, words string, by taker) {
	c := h.call
	if c == nil || c.a.ID != attemptID || c.m.State != attempt.Ringing {
		return
	}
	callee := h.info.Participant(c.a.Callee).Login
	if !slices.Contains(h.r.members(callee), by.login) {
		return
	}
	if code == frame.EndAnswered {
		c.taker = by
		if by.login != callee {
			c.a.Taker = h.admit(by.login)
		}
		h.event(attempt.Event{Kind: attempt.Answer})
		return
	}
	c.refused[by.login] = true
	left := func(login string) bool { return !c.refused[login] }
	if by.login == callee || !slices.ContainsFunc(h.reach(c).ring, left) {
		h.event(attempt.Event{Kind: attempt.Decline, Words: words})
		return
	}
	h.endRing(c, by.login, frame.EndDeclined) // the others of the group ring on
}

// admit makes a member of a group a participant, and returns which; 0: that
// failed, and the member can try when they enter.
func (h *liveRoom) admit(login string) int64 {
	ctx, cancel := h.store()
	defer cancel()
	p, err := h.r.opt.Rooms.Join(ctx, login, h.id)
	if err != nil {
		h.log("letting a member of a group in", err)
		return 0
	}
	h.refresh(p.ID)
	return p.ID
}

// pushNote is what browsers are told of a call; why is of its end.
func (h *liveRoom) pushNote(c *call, kind, why string) notify.Note {
	caller := h.info.Participant(c.a.Caller)
	return notify.Note{Kind: kind, Why: why, Room: h.id, Attempt: c.a.ID, From: caller.DisplayName(),
		ByLink: c.a.Unproven, Subject: h.info.Subject,
		URL: "/desk#" + h.id, At: time.Now().UTC(), Caller: caller.Addr}
}
