// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/internal/safely"
)

// AttemptStore keeps the attempts, and which callers wait for which callees.
type AttemptStore interface {
	PutAttempt(ctx context.Context, home string, a chat.Attempt) error
	Attempts(ctx context.Context, roomID string, limit int) ([]chat.Attempt, error)
	OpenAttempts(ctx context.Context, relay string) ([]chat.Attempt, error)
	WaitingFor(ctx context.Context, login string) ([]chat.Attempt, error)
	AckWaiting(ctx context.Context, login, roomID string) error
	Tells(ctx context.Context, calleeLogin string) ([]chat.Attempt, error)
	ClearTell(ctx context.Context, attemptID string) error
	Missed(ctx context.Context) ([]string, error)
	NotePushed(ctx context.Context, attemptID string, at time.Time) error
	Returns(ctx context.Context, login string) ([]time.Duration, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
}

var errNoAddress = errors.New("the callee has no mail address")

// A relay claims an alarm mail before it sends it: the claim is the attempt's
// Mailed while that is unanswered and has not ended, and the store takes it from
// the room's home alone. So a relay that was stopped, and whose room another has
// taken meanwhile, mails nothing. If a relay dies after the claim, nobody knows
// whether the mail went out: the next relay waits until the claim is claimFor
// old and mails then. The mail is late, or, if the relay died in the moment
// between sending it and noting that, a second one.
const claimFor = 2 * time.Minute

// claimed says whether an alarm mail of an attempt is claimed, and not known to
// have gone out.
func claimed(a chat.Attempt) bool {
	return a.State == attempt.Unanswered && a.Ended.IsZero() && !a.Mailed.IsZero()
}

// claimAlarm claims the alarm mail of a call, or claims it anew.
func (h *liveRoom) claimAlarm(c *call) error {
	if h.gone {
		return chat.ErrMoved
	}
	at, was := c.a.Mailed, c.claimed
	c.a.Mailed, c.claimed = time.Now().UTC(), true
	err := h.keep(c)
	if err != nil {
		c.a.Mailed, c.claimed = at, was
	}
	return err
}

// alarmLater raises the alarm of a call when another relay's claim is too old.
func (h *liveRoom) alarmLater(c *call, wait time.Duration) {
	if !h.hold() {
		return // unreachable: the running function of the room holds it
	}
	h.r.owned.Go(func() {
		defer h.leave()
		select {
		case <-time.After(wait):
		case <-h.r.ctx.Done():
			return
		}
		h.do(func() {
			if h.call == c && claimed(c.a) {
				h.alarm(c)
			}
		})
	})
}

// alarm mails the callee, each member of a group, and tells their browsers and
// the webhooks unless they do not want to be disturbed. A goroutine tries the
// mail, and tries again; the room lives until it has ended.
func (h *liveRoom) alarm(c *call) {
	if h.gone {
		return
	}
	if wait := claimFor - time.Since(c.a.Mailed); c.claimed && wait > 0 {
		h.alarmLater(c, wait)
		return
	}
	repeated := c.claimed && !c.a.Pushed.IsZero() // browsers and webhooks were told
	caller, callee := h.info.Participant(c.a.Caller), h.info.Participant(c.a.Callee)
	caller.ByLink = c.a.Unproven
	subject, id, silent := h.info.Subject, c.a.ID, c.silent
	var to []chat.Participant
	for _, login := range h.r.members(callee.Login) {
		switch {
		case login == callee.Login && callee.Addr != "":
			to = append(to, callee)
		case login != callee.Login && !c.refused[login] && strings.Contains(login, "@"):
			member := callee // the link is the group's
			member.Addr, member.Name = login, ""
			to = append(to, member)
		}
	}
	if who := h.reach(c).push; !silent && !repeated && len(who) > 0 {
		h.r.notifier.Push(who, h.pushNote(c, notify.Alarm, ""))
		h.r.notifier.CallWebhooks(who, h.pushNote(c, notify.Alarm, ""), caller.Person)
	}
	if !h.hold() {
		return // unreachable: the running function of the room holds it
	}
	h.r.owned.Go(func() {
		defer h.leave()
		defer safely.Recover(h.r.log, "an alarm")
		claim := func() error {
			err := ErrClosed
			h.do(func() { err = h.claimAlarm(c) })
			return err
		}
		at, again, err := h.r.raise(h.id, id, subject, caller, callee, to, silent, claim)
		if errors.Is(err, chat.ErrMoved) || h.r.ctx.Err() != nil && err != nil {
			return // another relay raises it, or this one after a restart
		}
		h.do(func() { h.alarmed(c, at, again, err) })
	})
}

func (h *liveRoom) alarmed(c *call, at time.Time, again bool, err error) {
	if c.claimed && err != nil {
		c.a.Mailed = time.Time{}
	}
	c.claimed = false
	if err == nil {
		c.a.Mailed = at
		h.r.log.Info("an alarm was mailed", "room", h.id, "attempt", c.a.ID, "again", again)
	} else {
		c.unsent = true
		alarmsTotal.WithLabelValues("failed").Inc()
		h.log("sending an alarm", err)
	}
	switch {
	case h.call == c && c.m.State == attempt.Unanswered && (err == nil || !c.a.Pushed.IsZero()):
		h.event(attempt.Event{Kind: attempt.AlarmSent, Again: again})
		return
	case err != nil && c.m.State == attempt.Unanswered: // it is over, and waits for the next sign-on
		c.a.Ended = time.Now().UTC()
	}
	h.keep(c)
	if h.call == c {
		h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
	}
}

// notified notes that a browser's push service, or a webhook, took an alarm.
func (h *liveRoom) notified(attemptID string, at time.Time) {
	c := h.call
	if c == nil || c.a.ID != attemptID || !c.a.Pushed.IsZero() {
		return
	}
	h.r.log.Info("an alarm reached a browser", "room", h.id, "attempt", attemptID)
	if c.a.Pushed = at; c.m.State == attempt.Unanswered && c.unsent {
		h.event(attempt.Event{Kind: attempt.AlarmSent})
		return
	}
	h.keep(c)
	h.broadcast(&frame.Frame{T: frame.TState, Attempt: c.frame()}, nil)
}

// raise mails the alarm of an attempt and returns when it was sent: just now,
// or (again) a little before by an earlier attempt. One of several mails is
// enough. silent: it only takes as long. claim is called before each try.
func (r *Relay) raise(roomID, attemptID, subject string, caller, callee chat.Participant, to []chat.Participant,
	silent bool, claim func() error) (at time.Time, again bool, err error) {
	if at, err = r.lastAlarm(roomID, attemptID, caller.ID, callee.ID); err != nil {
		r.log.Warn("looking for an earlier alarm", "room", roomID, "err", err)
	} else if !at.IsZero() {
		alarmsTotal.WithLabelValues("collapsed").Inc()
		return at, true, nil
	}
	if len(to) == 0 {
		return at, false, errNoAddress
	}
	for _, wait := range alarmTries {
		select {
		case <-time.After(wait):
		case <-r.ctx.Done():
			return at, false, r.ctx.Err()
		}
		if silent {
			return time.Now().UTC(), false, nil
		}
		if e := claim(); errors.Is(e, chat.ErrMoved) {
			return time.Time{}, false, e
		} else if e != nil {
			err = e
			continue
		}
		var failed []chat.Participant
		for _, p := range to {
			if e := r.invite(roomID, subject, caller, p, r.notifier.MailAlarm); e != nil {
				err = e
				failed = append(failed, p)
			}
		}
		if len(failed) < len(to) {
			at = time.Now().UTC()
		}
		if to = failed; len(failed) == 0 {
			break
		}
		r.log.Warn("sending an alarm, will try again", "room", roomID, "err", err)
	}
	if at.IsZero() {
		return at, false, err
	}
	alarmsTotal.WithLabelValues("sent").Inc()
	return at, false, nil
}

// lastAlarm is when an alarm mail of the same caller and callee last went out,
// if that was within collapse.
func (r *Relay) lastAlarm(roomID, but string, caller, callee int64) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	past, err := r.opt.Rooms.Attempts(ctx, roomID, lookBack)
	for _, a := range past {
		if a.ID != but && !claimed(a) && a.Caller == caller && a.Callee == callee &&
			time.Since(a.Mailed) < collapse && a.Mailed.After(at) {
			at = a.Mailed
		}
	}
	return at, err
}

// inviteMail sends a mail with a link into a room.
type inviteMail func(ctx context.Context, from, to chat.Person, subject, token string) error

// invite mails to a link into the room, which rings from.
func (r *Relay) invite(roomID, subject string, from, to chat.Participant, send inviteMail) error {
	ctx, cancel := context.WithTimeout(r.ctx, 3*callTimeout)
	defer cancel()
	token, err := r.opt.Rooms.NewInvite(ctx, roomID, to.ID, from.ID, subject)
	if err != nil {
		return err
	}
	return send(ctx, from.Person, to.Person, subject, token)
}

// waits looks from time to time for callees who missed an attempt while they did
// not want to be disturbed, and can be rung now.
func (r *Relay) waits() {
	tick := time.NewTicker(missedEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.lookForMissed(); err != nil && r.ctx.Err() == nil {
				r.log.Warn("looking for who is missed", "err", err)
			}
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Relay) lookForMissed() error {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	logins, err := r.opt.Rooms.Missed(ctx)
	if err != nil {
		return fmt.Errorf("reading who is missed: %w", err)
	}
	for _, login := range logins {
		for _, m := range r.members(login) {
			here, _ := r.devices.connected(m)
			if here {
				r.tellBack(m, func(a chat.Attempt) bool {
					return slices.Contains([]string{frame.DND, frame.Quiet, frame.Closed, attempt.Busy}, a.Why)
				})
			}
		}
	}
	return nil
}

// tellBack mails those who asked to be told when login is back, if it can be
// rung now.
func (r *Relay) tellBack(login string, which func(chat.Attempt) bool) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	tells, err := r.opt.Rooms.Tells(ctx, login)
	if err != nil {
		r.log.Warn("reading who wants to be told", "login", login, "err", err)
		return
	}
	if len(tells) == 0 || r.reachOf(ctx, login, "", nil).why != "" {
		return
	}
	for _, a := range tells {
		if !which(a) {
			continue
		}
		if err := r.tellOne(ctx, a); err != nil {
			r.log.Warn("telling a caller that the callee is back", "room", a.Room, "err", err)
			continue // at the next sign-on
		}
		if err := r.opt.Rooms.ClearTell(ctx, a.ID); err != nil {
			r.log.Warn("telling a caller that the callee is back", "room", a.Room, "err", err)
		}
	}
}

func (r *Relay) tellOne(ctx context.Context, a chat.Attempt) error {
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
	caller := info.Participant(a.Caller)
	if here || caller.Addr == "" {
		return nil // who is in the room sees it; who has no address cannot be told
	}
	return r.invite(a.Room, info.Subject, info.Participant(a.Callee), caller, r.notifier.MailBack)
}
