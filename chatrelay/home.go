// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
)

// Relays that share a store serve each room at one of them, its home: the one
// with the owner's granted port, while that is alive. The store says which
// relays are alive, and takes messages from the home alone. So what happens to
// a relay loses, doubles and disorders nothing: whoever was there comes to any
// other with the ticket they hold, and the room goes on there.

const (
	retryHome  = time.Second / 4 // between tries to claim a room whose home may be dead
	adoptEvery = 3               // heartbeats between looks for rings of a relay that has died
	movers     = 16              // rooms moved at once
	passLife   = 10 * time.Minute
	passEvery  = 3 * time.Minute // a connection gets a new ticket for coming back
)

// movedError: another relay serves the room.
type movedError struct{ home string }

func (e *movedError) Error() string { return "the room is at the relay " + e.home }

// home is what this relay is called as the home of its rooms; empty where no
// other relay uses the store.
func (r *Relay) home() string { return r.cluster.Name() }

// tend does, after a heartbeat, what the relay has to do from time to time
// among others.
func (r *Relay) tend() {
	n := r.tended
	r.tended++
	r.tellChats(n)
	if n%adoptEvery == 0 {
		r.takeUp()
	}
}

// homeOf is the relay where a room is, or should be.
func (r *Relay) homeOf(ctx context.Context, roomID string) string {
	own := r.opt.Host
	if !r.cluster.Shared() || r.isLive(roomID) {
		return own
	}
	draining := r.cluster.Draining()
	home, err := r.cluster.Home(ctx, roomID)
	if err != nil {
		r.log.Warn("looking for a room's home", "room", roomID, "err", err)
		return own
	}
	if home != "" && (home != own || !draining) {
		return home
	}
	if draining {
		return cmp.Or(r.cluster.Pick(roomID), own)
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return own
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	g, err := r.opt.Presence.GrantOf(ctx, info.Participant(info.Owner).Login)
	if p, alive := r.cluster.Peer(r.relayOf(g.Host)); err == nil && alive && !p.Drains {
		return p.Name
	}
	return own
}

// way is the endpoints of a room's home. Whatever fails on the way to another
// relay, its WebSocket is left, and it says where the room is.
func (r *Relay) way(ctx context.Context, roomID, login string) []frame.Endpoint {
	home := r.homeOf(ctx, roomID)
	for range 2 {
		if home == r.opt.Host {
			var err error
			if home, err = r.cluster.Claim(ctx, roomID); err != nil || home == r.opt.Host {
				break
			}
		}
		list, at, err := r.askHome(ctx, home, roomID, login)
		if err == nil && at == home {
			return list
		}
		if p, alive := r.cluster.Peer(home); alive && err != nil {
			r.failed("asking another relay, its WebSocket only", err, "relay", home)
			return withoutUDP(p.Socket)
		}
		if home = r.opt.Host; err == nil {
			home = at
		}
	}
	return r.endpoints(ctx, roomID, login)
}

// isLive says whether a room is live here.
func (r *Relay) isLive(roomID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rooms[roomID] != nil
}

// fenced sends everybody to other relays, of which one may take the rooms: this
// one has lost the database. Clients come back to any other with the ticket
// that they hold.
func (r *Relay) fenced() {
	for _, h := range r.all() {
		h.post(func() {
			h.end()
			for s := range h.sessions {
				s.out.End(frame.ErrShutdown, "this host has lost the database, come to another")
			}
		})
		h.leave()
	}
}

// checkHomes moves everybody out of the rooms that another relay has taken
// while this one stood still.
func (r *Relay) checkHomes() {
	for _, h := range r.all() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		home, err := r.cluster.Claim(ctx, h.id)
		cancel()
		if err == nil && home != r.opt.Host {
			h.post(h.moved)
		}
		h.leave()
	}
}

// all are the live rooms; leave must be called for each.
func (r *Relay) all() (list []*liveRoom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.rooms {
		h.users.Add(1)
		list = append(list, h)
	}
	return list
}

// moved ends the room here, since another relay serves it, and tells everybody
// where it is.
func (h *liveRoom) moved() {
	if h.gone {
		return
	}
	h.end()
	for s := range h.sessions {
		h.redirect(s)
	}
}

// end makes this relay no longer serve the room: it rings, notes and stores
// nothing more.
func (h *liveRoom) end() {
	if h.gone {
		return
	}
	h.gone = true
	h.endPart()
	h.r.mu.Lock()
	if h.r.rooms[h.id] == h {
		delete(h.r.rooms, h.id)
	}
	h.r.mu.Unlock()
	if c := h.call; c != nil {
		c.turn++
		stopTimer(c.timer)
		c.stopGrace(h)
		h.r.setCall(c.a.ID, nil)
		if c.held {
			c.held = false
			h.leave() // the job that runs is a user of the room too
		}
	}
}

// redirect sends a session to the room's home.
func (h *liveRoom) redirect(s *session) {
	if h.hold() {
		h.r.owned.Go(func() {
			defer h.leave()
			defer safely.Recover(h.r.log, "a move")
			s.redirect()
		})
	}
}

// await enters a room. When its home does not answer, because it has died and
// its time is not over yet, it waits for that, to claim the room.
func (r *Relay) await(ctx context.Context, roomID, login string) (*liveRoom, error) {
	for end := time.Now().Add(chat.RelayTTL + time.Second); ; {
		h, err := r.enter(ctx, roomID)
		var m *movedError
		if !errors.As(err, &m) {
			return h, err
		}
		if _, _, failed := r.askHome(ctx, m.home, roomID, login); failed == nil || time.Now().After(end) {
			return nil, err
		}
		select {
		case <-time.After(retryHome):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// redirect is the end of a connection to a room that is elsewhere. While the
// relay shuts down it is bounded by Shutdown, which ends the connection.
func (s *session) redirect() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.r.ctx), callTimeout)
	defer cancel()
	e := s.r.entry(ctx, s.ticket)
	movedTotal.Inc()
	s.out.Put(frame.Encode(&frame.Frame{T: frame.TMoved, Room: e.Room, Ticket: e.Ticket, Endpoints: e.Endpoints}))
	s.out.End("", "")
}

// Drain moves the live rooms to other relays, if there are any, before this
// one shuts down. It returns when everybody has been told, or ctx has ended.
func (r *Relay) Drain(ctx context.Context) {
	again, err := r.cluster.Drain()
	if err != nil {
		r.log.Warn("draining", "err", err)
	}
	if again || err != nil || r.cluster.Pick("") == "" {
		return // nobody takes the rooms: clients come back when this relay does
	}
	if err := r.opt.Presence.Leave(ctx); err != nil {
		r.failed("giving up the granted ports", err)
	}
	rooms := r.all()
	r.log.Warn("draining", "rooms", len(rooms))
	var moves sync.WaitGroup
	turn := make(chan struct{}, movers)
	for _, h := range rooms {
		turn <- struct{}{}
		moves.Go(func() {
			defer func() { <-turn }()
			defer h.leave()
			r.moveOut(ctx, h)
		})
	}
	moves.Wait()
}

// moveOut gives a room to another relay and waits until nobody is in it here.
func (r *Relay) moveOut(ctx context.Context, h *liveRoom) {
	to := r.cluster.Pick(h.id)
	if err := r.cluster.MoveOut(ctx, h.id, to); err != nil {
		r.log.Warn("moving a room", "room", h.id, "to", to, "err", err)
	}
	h.post(h.moved)
	for empty := false; !empty && ctx.Err() == nil; {
		if !h.do(func() { empty = len(h.sessions) == 0 }) {
			return
		}
		if !empty {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// elsewhere says whether err is that another relay serves the room.
func elsewhere(err error) bool {
	var m *movedError
	return errors.As(err, &m) || errors.Is(err, chat.ErrMoved)
}
