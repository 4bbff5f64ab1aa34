// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/presence"
)

// standing is how a login can be reached now, as their devices, their settings and
// their other chats have it.
type standing struct {
	login    string
	settings chat.Settings
	said     string    // by the settings: chat.Available, Away, DoNotDisturb, QuietHours
	until    time.Time // of that
	next     time.Time // when it may change
	on       bool      // a device is connected
	away     bool      // from all of them
	chats    int       // others that they are in
	unknown  bool      // the settings could not be read
	why      string    // why they cannot be rung, of package frame; empty: they can
}

// standings are those of a login, one for each member if it is a group's. A
// chat in the room but does not count.
func (r *Relay) standings(ctx context.Context, login, but string) []standing {
	if login == "" {
		return []standing{{why: frame.Off}}
	}
	members := r.members(login)
	settings, err := r.opt.Rooms.Settings(ctx, members...)
	if err != nil { // whoever may not want to be disturbed is not
		r.log.Warn("reading availability", "login", login, "err", err)
	}
	now := time.Now()
	open, turns := r.groups.open(login, now)
	list := make([]standing, len(members))
	for i, m := range members {
		l := standing{login: m, settings: settings[m], chats: r.chats.count(m, but)}
		l.said, l.until, l.next = l.settings.At(now)
		l.on, l.away = r.connected(m)
		l.unknown = err != nil
		if !turns.IsZero() && (l.next.IsZero() || turns.Before(l.next)) {
			l.next = turns
		}
		switch {
		case l.unknown:
			l.why = frame.Off
		case !open:
			l.why, l.until = frame.Closed, turns
		case l.said == chat.DoNotDisturb:
			l.why = frame.DND
		case l.said == chat.QuietHours:
			l.why = frame.Quiet
		case !l.on:
			l.why = frame.Off
		case l.settings.Chats > 0 && l.chats >= l.settings.Chats:
			l.why = attempt.Busy
		}
		list[i] = l
	}
	return list
}

// connected says whether a device of a login is connected, here or at another
// relay, and whether they are away from all of them.
func (r *Relay) connected(login string) (on, away bool) {
	on, away = r.devices.connected(login)
	if !on || away {
		away = true
		for _, d := range r.remote(login) {
			on, away = true, away && d.Away
		}
	}
	return on, on && away
}

// reach is whether, and how, a callee can be rung now.
type reach struct {
	on   bool     // a device is connected
	why  string   // why they cannot be rung
	busy bool     // whoever can be rung is in another chat
	ring []string // logins to ring
	push []string // logins whose browsers may be told
}

// reachOf looks how the callee of a room can be rung; without the logins but.
func (r *Relay) reachOf(ctx context.Context, login, roomID string, but map[string]bool) (c reach) {
	c.busy = true
	rank := []string{frame.Off, frame.Closed, frame.Quiet, frame.DND, attempt.Busy} // of several reasons the last counts
	for _, l := range r.standings(ctx, login, roomID) {
		if but[l.login] {
			continue
		}
		c.on = c.on || l.on
		if l.login != "" && !l.unknown && (l.why == "" || l.why == frame.Off) {
			c.push = append(c.push, l.login)
		}
		if l.why == "" {
			c.ring = append(c.ring, l.login)
			c.busy = c.busy && l.chats > 0
		} else if slices.Index(rank, l.why) > slices.Index(rank, c.why) {
			c.why = l.why
		}
	}
	if len(c.ring) > 0 {
		c.why = ""
		return c
	}
	if c.busy = false; c.why == "" {
		c.why = frame.Off // there is nobody
	}
	return c
}

// Status is a login's availability.
func (r *Relay) Status(ctx context.Context, login string) frame.Status {
	status, _ := r.statusIn(ctx, login, "")
	return status
}

// statusIn is a login's availability to the people of a room, a chat in which
// makes nobody busy, and when that may change by itself.
func (r *Relay) statusIn(ctx context.Context, login, roomID string) (best frame.Status, next time.Time) {
	rank := []string{"", frame.Off, frame.Closed, frame.Quiet, frame.DND, frame.Away, frame.Available}
	var of standing
	for _, l := range r.standings(ctx, login, roomID) {
		if !l.next.IsZero() && (next.IsZero() || l.next.Before(next)) {
			next = l.next
		}
		s := frame.Status{State: l.why, Busy: l.chats > 0}
		if l.why == "" || l.why == attempt.Busy {
			if s.State = frame.Available; l.away || l.said == chat.Away {
				s.State = frame.Away
			}
		}
		if !l.until.IsZero() && s.State != frame.Off && s.State != frame.Available {
			s.Until = &l.until
		}
		if slices.Index(rank, s.State) > slices.Index(rank, best.State) ||
			s.State == best.State && best.Busy && !s.Busy {
			best, of = s, l
		}
	}
	if best.State == frame.Available || best.State == frame.Closed || of.login == "" {
		return best, next
	}
	best.Back = of.settings.Back
	if best.Back == 0 {
		best.Back = r.usually(ctx, login)
	}
	if best.State != frame.Off {
		return best, next
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	a, err := r.opt.Presence.Lookup(ctx, of.login)
	if err == nil {
		best.Since = &a.Seen
	} else if !errors.Is(err, presence.ErrUnknown) {
		r.log.Warn("looking a login up", "login", of.login, "err", err)
	}
	return best, next
}

// usually is within how many minutes a login came back of late, three times of
// four; 0 where there is too little to say so.
func (r *Relay) usually(ctx context.Context, login string) int {
	past, err := r.opt.Rooms.Returns(ctx, login)
	if err != nil {
		r.log.Warn("reading past answers", "login", login, "err", err)
	}
	if len(past) < 3 {
		return 0
	}
	slices.Sort(past)
	took := past[len(past)*3/4]
	for _, minutes := range []int{5, 15, 30, 60, 120, 240, 480, 1440} {
		if took <= time.Duration(minutes)*time.Minute {
			return minutes
		}
	}
	return 0
}

// watch makes a session show the status of its callee as it changes, at next
// by itself, and learns whether that one has blocked them.
func (r *Relay) watch(s *session, next time.Time) {
	if s.callee.Login == "" {
		return
	}
	r.mu.Lock()
	if r.watchers[s.callee.Login] == nil {
		r.watchers[s.callee.Login] = map[*session]bool{}
	}
	r.watchers[s.callee.Login][s] = true
	r.mu.Unlock()
	r.statusChangesAt(s.callee.Login, next)
	s.screen()
}

func (r *Relay) unwatch(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.watchers[s.callee.Login]; of[s] {
		if delete(of, s); len(of) == 0 {
			delete(r.watchers, s.callee.Login)
			r.forgetStatusTimer(s.callee.Login)
		}
	}
}

// watched are the live rooms in which somebody waits for a login, or for a
// group of which it is a member; leave must be called for each.
func (r *Relay) watched(login string) (list []*liveRoom) {
	groups := r.groupsOf(login)
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[*liveRoom]bool{}
	for _, g := range groups {
		for s := range r.watchers[g] {
			if !known[s.room] && s.room.hold() {
				known[s.room] = true
				list = append(list, s.room)
			}
		}
	}
	return list
}

// statusChanged tells the clients that show the status of a login, at this relay and
// at the others.
func (r *Relay) statusChanged(login string) {
	r.statusHere(login)
	r.publish("", note{T: noteStatus, Login: login})
}

// statusHere tells those of this relay, and the login's own devices.
func (r *Relay) statusHere(login string) {
	r.turned.Add(1)
	for _, g := range r.groupsOf(login) {
		r.mu.Lock()
		of := make(map[string]bool, 1) // rooms; one may have many who watch
		for s := range r.watchers[g] {
			of[s.room.id] = true
		}
		r.mu.Unlock()
		own := false
		if g == login {
			own, _ = r.devices.connected(g)
		}
		if len(of) == 0 && !own {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, presenceWait)
		status, next := r.statusIn(ctx, g, "")
		cancel()
		r.statusChangesAt(g, next)
		say := map[bool][]byte{}
		for _, busy := range []bool{false, true} {
			status.Busy = busy
			say[busy] = frame.Encode(&frame.Frame{T: frame.TStatus, Status: &status})
		}
		for id := range of {
			of[id] = r.busy(g, id)
		}
		r.mu.Lock()
		for s := range r.watchers[g] {
			s.out.Put(say[of[s.room.id]])
		}
		r.mu.Unlock()
		if own {
			r.devices.tellEncoded(g, say[false])
		}
	}
}

// busy says whether a login, or every connected member of a group, is in a
// chat elsewhere than in a room.
func (r *Relay) busy(login, roomID string) bool {
	some := false
	for _, m := range r.members(login) {
		if on, _ := r.connected(m); !on {
			continue
		}
		if some = true; r.chats.count(m, roomID) == 0 {
			return false
		}
	}
	return some
}

// statusChangesAt has the availability of a login looked at when it changes by itself,
// as when quiet hours begin or end. There is at most one such time a login, and
// none where nobody watches.
func (r *Relay) statusChangesAt(login string, next time.Time) {
	on, _ := r.devices.connected(login)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetStatusTimer(login)
	if next.IsZero() || r.closed || len(r.watchers[login]) == 0 && !on {
		return
	}
	r.statusTimers[login] = time.AfterFunc(max(time.Until(next), 0)+turnSlack, func() {
		r.later("availability", func() {
			r.statusHere(login)
			for _, m := range r.members(login) {
				r.recheck(m, changed)
			}
		})
	})
}

// forgetStatusTimer is called with Relay.mu held.
func (r *Relay) forgetStatusTimer(login string) {
	if t := r.statusTimers[login]; t != nil {
		t.Stop()
		delete(r.statusTimers, login)
	}
}

// recheck looks again, in the rooms in which somebody waits for a login,
// whether it can be rung, and returns the attempts that ring.
func (r *Relay) recheck(login string, what news) map[string]bool {
	rung := map[string]bool{}
	for _, h := range r.watched(login) {
		h.do(func() {
			h.reconsider(what)
			if c := h.call; c != nil && c.m.State == attempt.Ringing &&
				slices.Contains(h.r.members(h.info.Participant(c.a.Callee).Login), login) {
				rung[c.a.ID] = true
			}
		})
		h.leave()
	}
	return rung
}

// later runs f in a goroutine that the relay waits for when it shuts down,
// unless the relay is shutting down already. A function in a room's queue may
// call it.
func (r *Relay) later(what string, f func()) {
	if !r.work.enter() {
		return
	}
	go func() {
		defer r.work.leave()
		defer safely.Recover(r.log, what)
		f()
	}()
}
