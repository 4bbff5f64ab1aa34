// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// A page that shows a room says nothing of who sits before it. So an attempt
// rings the callee's devices also while a page of theirs is in the room, unless
// they have pressed or said something there just now. What they say in the room
// answers the ring.

// attend notes that the person of a session is at it, or away from it.
func (h *liveRoom) attend(s *session, on bool) {
	if s.away = !on; on {
		s.active = time.Now()
	}
}

// spoke notes that the person of a session says something. The callee answers by that.
func (h *liveRoom) spoke(s *session) {
	h.attend(s, true)
	c := h.call
	if c == nil || !h.sessions[s] || !h.standsFor(s.me, c.a.Callee) || s.me == c.a.Caller {
		return
	}
	switch c.m.State {
	case attempt.Ringing, attempt.Busy, attempt.Unanswered, attempt.Alarmed:
		h.calleeEntered(s.me)
		h.ackWaiting(s.me)
	}
}

// ackWaiting takes the ring off the list of those that wait for a member.
func (h *liveRoom) ackWaiting(participant int64) {
	p := h.info.Participant(participant)
	if p.Login == "" || p.Guest {
		return
	}
	ctx, cancel := h.store()
	defer cancel()
	if err := h.r.opt.Rooms.AckWaiting(ctx, p.Login, h.id); err != nil {
		h.log("acknowledging waiting rings", err)
	}
}

// attends says whether somebody whom the call would ring is in the room, and
// before it: they were active there within attendedFor. Where nothing of theirs can
// be rung, they count as being there for longer, since the alarm would be a mail.
func (h *liveRoom) attends(callee int64) bool {
	if !h.calleeHere(callee) {
		return false
	}
	within := h.r.attendedFor
	if h.r.reachOf(h.r.ctx, h.info.Participant(callee).Login, h.id, nil).why != "" {
		within = idleAfter
	}
	return h.activeSince(callee, time.Now().Add(-within))
}

// activeSince says whether the callee, or a member of the group that is, was active in
// the room after a time.
func (h *liveRoom) activeSince(callee int64, then time.Time) bool {
	for s := range h.sessions {
		if !s.away && s.active.After(then) && h.standsFor(s.me, callee) {
			return true
		}
	}
	return false
}

// pendingAttempt is an attempt to reach a person who is in the room, and was active
// there just now. It begins when they turn out not to be there: they do nothing for
// a while, or their connection had been lost already.
type pendingAttempt struct {
	by *session
	at time.Time
}

// attemptUnlessSeen waits for a sign of the callee, who is in the room.
func (h *liveRoom) attemptUnlessSeen(s *session) {
	w := &pendingAttempt{s, time.Now()}
	h.pending = w
	time.AfterFunc(h.r.attendedFor, func() {
		h.post(func() {
			if h.pending != w || !h.sessions[s] {
				return
			}
			seen := h.activeSince(s.callee.ID, w.at)
			if !seen && !h.attends(s.callee.ID) {
				h.attempt(s)
			} else if seen {
				h.pending = nil
			}
		})
	})
}

// attemptPending makes the attempt that was wished for, now that s has left: if it
// had not been heard of since, it was the callee's ghost.
func (h *liveRoom) attemptPending(s *session) {
	w := h.pending
	if w == nil || !h.standsFor(s.me, w.by.callee.ID) {
		return
	}
	h.pending = nil
	if h.sessions[w.by] && time.Unix(0, s.heard.Load()).Before(w.at) {
		h.attempt(w.by)
	}
}

// Gone notes that the page with a ticket for coming back has been left or is being loaded again. Its connection may
// not tell that for a while. A ticket of a page that never came in ends the attempt that began on its way.
func (r *Relay) Gone(sealed string) {
	t, err := openTicket(r.ticketKey, sealed, time.Now())
	if err != nil {
		return
	}
	h := r.use(t.Room, nil)
	if h == nil {
		return
	}
	defer h.leave()
	h.do(func() {
		for s := range h.sessions {
			if s.id == t.Conn {
				s.out.End("", "")
				h.part(s)
				return
			}
		}
		if c := h.call; t.Conn == "" && c != nil && !c.came && c.a.Caller == t.Me && !h.isHere(t.Me) {
			h.event(attempt.Event{Kind: attempt.CallerGone})
		}
	})
}

// hears says whether a participant's connection was heard of within two
// heartbeats: a page that vanishes without a word counts as here for longer.
func (h *liveRoom) hears(id int64) bool {
	then := time.Now().Add(-2 * frame.PingEvery).UnixNano()
	for s := range h.sessions {
		if s.me == id && s.heard.Load() > then {
			return true
		}
	}
	return false
}

// answerHere answers a ring that waits for a login that is in the room already.
func (h *liveRoom) answerHere(attemptID, login string) {
	c := h.call
	if c == nil || c.a.ID != attemptID {
		return
	}
	for _, id := range h.here() {
		if h.info.Participant(id).Login == login {
			h.calleeEntered(id)
			h.ackWaiting(id)
			return
		}
	}
}

// waitingIn are the people who are in a room of this relay now, without one.
func (r *Relay) waitingIn(roomID string, but int64) (list []chat.Participant) {
	h := r.use(roomID, nil)
	if h == nil {
		return nil
	}
	defer h.leave()
	h.do(func() {
		for _, id := range h.here() {
			if p := h.info.Participant(id); p.ID != 0 && p.ID != but && !p.Hidden {
				list = append(list, p)
			}
		}
	})
	return list
}
