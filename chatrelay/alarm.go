// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/room"
)

// alarmKey is whose alarms are collapsed into one.
type alarmKey struct {
	room           string
	caller, callee int64
}

var errNoAddress = errors.New("the callee has no mail address")

// alarm mails the callee. A goroutine tries, and tries again; the room lives
// until it has ended.
func (h *hall) alarm(c *call) {
	caller, callee := person(h.info, c.a.Caller), person(h.info, c.a.Callee)
	subject := h.info.Subject
	if !h.hold() {
		return // unreachable within the room's goroutine, which holds it
	}
	h.r.owned.Go(func() {
		defer h.leave()
		defer h.r.recovered("an alarm")
		at, err := h.r.raise(h.id, subject, caller, callee)
		if h.r.ctx.Err() != nil && err != nil {
			return
		}
		h.do(func() { h.alarmed(c, at, err) })
	})
}

func (h *hall) alarmed(c *call, at time.Time, err error) {
	if err != nil {
		alarmsTotal.WithLabelValues("failed").Inc()
		h.log("sending an alarm", err)
		if c.m.State == frame.Unanswered { // it is over, and waits for the next sign-on
			c.a.Ended = time.Now().UTC()
			h.keep(c)
		}
		return
	}
	c.mailed = &at
	if h.call == c {
		h.event(attempt.Event{Kind: attempt.AlarmSent})
	}
}

// raise sends the alarm mail and returns when it was sent: just now, or a
// little before by an earlier attempt.
func (r *Relay) raise(roomID, subject string, caller, callee room.Participant) (at time.Time, err error) {
	key := alarmKey{roomID, caller.ID, callee.ID}
	r.mu.Lock()
	at, sent := r.alarms[key]
	r.mu.Unlock()
	if sent && time.Since(at) < collapse {
		alarmsTotal.WithLabelValues("collapsed").Inc()
		return at, nil
	}
	if callee.Addr == "" {
		return at, errNoAddress
	}
	for _, wait := range alarmTries {
		select {
		case <-time.After(wait):
		case <-r.ctx.Done():
			return at, r.ctx.Err()
		}
		if err = r.invite(roomID, subject, caller, callee, alarmMail); err == nil {
			break
		}
		r.opt.Log("sending an alarm, will try again", "room", roomID, "reason", err.Error())
	}
	if err != nil {
		return at, err
	}
	alarmsTotal.WithLabelValues("sent").Inc()
	at = time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.alarms) >= maxAlarms {
		for k, t := range r.alarms {
			if time.Since(t) >= collapse {
				delete(r.alarms, k)
			}
		}
		for k := range r.alarms {
			if len(r.alarms) < maxAlarms {
				break
			}
			delete(r.alarms, k)
		}
	}
	r.alarms[key] = at
	return at, nil
}

// invite mails to a link into the room, which rings from.
func (r *Relay) invite(roomID, subject string, from, to room.Participant, write func(from, to room.Person, subject, link string) Mail) error {
	ctx, cancel := context.WithTimeout(r.ctx, 3*callTimeout)
	defer cancel()
	token, err := r.opt.Rooms.NewInvite(ctx, roomID, to.ID, from.ID, subject)
	if err != nil {
		return err
	}
	return r.opt.Mailer.Send(ctx, write(from.Person, to.Person, subject, r.opt.WebBase+"/c/"+token))
}

// tellBack mails those who asked to be told when login is back.
func (r *Relay) tellBack(login string) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	tells, err := r.opt.Rooms.Tells(ctx, login)
	if err != nil {
		r.opt.Log("reading who wants to be told", "login", login, "reason", err.Error())
		return
	}
	for _, a := range tells {
		if err := r.tellOne(ctx, a); err != nil {
			r.opt.Log("telling a caller that the callee is back", "room", a.Room, "reason", err.Error())
			continue // at the next sign-on
		}
		if err := r.opt.Rooms.ClearTell(ctx, a.ID); err != nil {
			r.opt.Log("telling a caller that the callee is back", "room", a.Room, "reason", err.Error())
		}
	}
}

func (r *Relay) tellOne(ctx context.Context, a room.Attempt) error {
	info, err := r.opt.Rooms.Info(ctx, a.Room)
	if err != nil {
		return err
	}
	here := false
	if h := r.use(a.Room, nil); h != nil {
		h.do(func() {
			here = h.isHere(a.Caller)
			if h.call != nil && h.call.a.ID == a.ID {
				h.call.a.Tell = false
			}
		})
		h.leave()
	}
	caller := person(info, a.Caller)
	if here || caller.Addr == "" {
		return nil // who is in the room sees it; who has no address cannot be told
	}
	return r.invite(a.Room, info.Subject, person(info, a.Callee), caller, backMail)
}
