// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// Relays that share a store serve each room at one of them, its home: the one
// with the owner's granted port, while that is alive. The store says which
// relays are alive, and takes messages from the home alone. So what happens to
// a relay loses, doubles and disorders nothing: whoever was there comes to any
// other with the ticket they hold, and the room goes on there.

const (
	beatEvery  = time.Second // heartbeats in the store
	adoptEvery = 3           // heartbeats between looks for rings of a relay that has died
	movers     = 16          // rooms moved at once
	newsEvery  = time.Second // devices at other relays are told of news in a room
	passLife   = 10 * time.Minute
	passEvery  = 3 * time.Minute // a connection gets a new ticket for coming back
)

// movedError: another relay serves the room.
type movedError struct{ home string }

func (e *movedError) Error() string { return "the room is at the relay " + e.home }

// home is what this relay is called as the home of its rooms; empty where no
// other relay uses the store.
func (r *Relay) home() string {
	if r.shared {
		return r.opt.Host
	}
	return ""
}

// self is this relay as the others see it.
func (r *Relay) self() chat.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	return chat.Relay{Name: r.opt.Host, Origin: r.origin, Socket: r.opt.Socket, Drains: r.draining}
}

// beat tells the others that this relay is alive, and learns who else is.
func (r *Relay) beat() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), chat.RelayTTL/2)
	defer cancel()
	if err := r.opt.Rooms.Beat(ctx, r.self()); err != nil {
		return err
	}
	all, err := r.opt.Rooms.Relays(ctx)
	if err != nil {
		return err
	}
	peers := make([]chat.Relay, 0, len(all))
	origins := map[string]bool{}
	for _, p := range all {
		origins[strings.ToLower(p.Origin)] = true
		if p.Alive && p.Name != r.opt.Host {
			peers = append(peers, p)
		}
	}
	relaysAlive.Set(float64(len(peers) + 1))
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(peers, r.peers) {
		r.news.Add(1)
	}
	r.peers, r.origins = peers, origins
	return nil
}

// beats keeps the relay alive in the store, leaves the rooms where nobody is,
// and takes over what relays that have died left ringing.
func (r *Relay) beats() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	last, well := time.Now(), true
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
		if r.stalled.Load() {
			continue
		}
		err := r.beat()
		if (err == nil) != well {
			well = err == nil
			r.log.Warn("the relay's heartbeat", "well", well, "err", err)
		}
		if err != nil {
			continue
		}
		if time.Since(last) > chat.RelayTTL/2 {
			r.checkHomes() // another relay may have taken rooms meanwhile
		}
		last = time.Now()
		r.leaveHomes()
		r.tellChats(n)
		if n%adoptEvery == 0 {
			if err := r.takeUp(); err != nil {
				r.log.Warn("looking for attempts to take up", "err", err)
			}
		}
	}
}

// peer finds a relay that is alive by its name.
func (r *Relay) peer(name string) (chat.Relay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if p.Name == name {
			return p, true
		}
	}
	return chat.Relay{}, false
}

// Peers are the other relays that are alive.
func (r *Relay) Peers() []chat.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers // replaced, never changed
}

// sockets are the peers' WebSocket endpoints, for clients to come back to.
func (r *Relay) sockets() (list []string) {
	for _, p := range r.Peers() {
		if !p.Drains && p.Socket != r.opt.Socket {
			list = append(list, p.Socket)
		}
	}
	return list
}

// pick chooses one of the peers that take rooms; empty: there is none.
func (r *Relay) pick(roomID string) string {
	var names []string
	for _, p := range r.Peers() {
		if !p.Drains {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	h := fnv.New32a()
	h.Write([]byte(roomID))
	return names[int(h.Sum32()%uint32(len(names)))]
}

// homeOf is the relay where a room is, or should be.
func (r *Relay) homeOf(ctx context.Context, roomID string) string {
	own := r.opt.Host
	r.mu.Lock()
	here, draining := r.rooms[roomID] != nil, r.draining
	r.mu.Unlock()
	if !r.shared || here {
		return own
	}
	home, err := r.opt.Rooms.Home(ctx, roomID)
	if err != nil {
		r.log.Warn("looking for a room's home", "room", roomID, "err", err)
		return own
	}
	if home != "" && (home != own || !draining) {
		return home
	}
	if draining {
		return cmp.Or(r.pick(roomID), own)
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return own
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	g, err := r.opt.Presence.GrantOf(ctx, person(info, info.Owner).Login)
	if p, alive := r.peer(r.relayOf(g.Host)); err == nil && alive && !p.Drains {
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
			if home, err = r.claim(ctx, roomID); err != nil || home == r.opt.Host {
				break
			}
		}
		list, at, err := r.askHome(ctx, home, roomID, login)
		if err == nil && at == home {
			return list
		}
		if p, alive := r.peer(home); alive && err != nil {
			r.failed("asking another relay, its WebSocket only", err, "relay", home)
			return []frame.Endpoint{{Carrier: CarrierWebSocket, URL: p.Socket}}
		}
		if home = r.opt.Host; err == nil {
			home = at
		}
	}
	return r.endpoints(ctx, roomID, login)
}

// claim makes this relay the home of a room, if no other is, and returns the
// home. The claim ends a while after the last one has left.
func (r *Relay) claim(ctx context.Context, roomID string) (home string, err error) {
	if !r.shared {
		return r.opt.Host, nil
	}
	home, err = r.opt.Rooms.ClaimHome(ctx, roomID, r.opt.Host)
	if err == nil && home == r.opt.Host {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.vacate(roomID)
	}
	return home, err
}

// vacate notes, under mu, that a claimed room may be left when a ticket for it
// has run out and nobody is there. Beyond maxRooms a home stays noted in the
// store until this relay ends, which does no harm.
func (r *Relay) vacate(roomID string) {
	if r.shared && len(r.vacant) < maxRooms {
		r.vacant[roomID] = time.Now()
	}
}

// leaveHomes gives up the rooms in which nobody is any more.
func (r *Relay) leaveHomes() {
	r.mu.Lock()
	var ids []string
	for id, since := range r.vacant {
		if time.Since(since) > ticketLife {
			delete(r.vacant, id)
			if r.rooms[id] == nil {
				ids = append(ids, id)
			}
		}
	}
	r.mu.Unlock()
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), callTimeout)
		if err := r.opt.Rooms.LeaveHome(ctx, id, r.opt.Host); err != nil {
			r.log.Warn("leaving a room", "room", id, "err", err)
		}
		cancel()
	}
}

// checkHomes moves everybody out of the rooms that another relay has taken.
func (r *Relay) checkHomes() {
	for _, h := range r.all() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		home, err := r.opt.Rooms.ClaimHome(ctx, h.id, r.opt.Host)
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
	h.gone = true
	h.r.mu.Lock()
	if h.r.rooms[h.id] == h {
		delete(h.r.rooms, h.id)
	}
	h.r.mu.Unlock()
	if c := h.call; c != nil {
		c.turn++
		stopTimer(c.timer)
		stopTimer(c.grace)
		h.r.setCall(c.a.ID, nil)
		if c.held {
			c.held = false
			defer h.leave()
		}
	}
	for s := range h.sessions {
		h.redirect(s)
	}
}

// redirect sends a session to the room's home.
func (h *liveRoom) redirect(s *session) {
	if h.hold() {
		h.r.owned.Go(func() {
			defer h.leave()
			defer h.r.recovered("a move")
			s.redirect()
		})
	}
}

// await enters a room. When its home does not answer, because it has died and
// its time is not over yet, it waits for that, to claim the room.
func (r *Relay) await(ctx context.Context, roomID, login string) (*liveRoom, error) {
	for end := time.Now().Add(chat.RelayTTL + beatEvery); ; {
		h, err := r.enter(ctx, roomID)
		var m *movedError
		if !errors.As(err, &m) {
			return h, err
		}
		if _, _, failed := r.askHome(ctx, m.home, roomID, login); failed == nil || time.Now().After(end) {
			return nil, err
		}
		select {
		case <-time.After(beatEvery / 4):
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
	s.out.put(frame.Encode(&frame.Frame{T: frame.TMoved, Room: e.Room, Ticket: e.Ticket, Endpoints: e.Endpoints}))
	s.out.end("", "")
}

// Drain moves the live rooms to other relays, if there are any, before this
// one shuts down. It returns when everybody has been told, or ctx has ended.
func (r *Relay) Drain(ctx context.Context) {
	r.mu.Lock()
	again := r.draining
	r.draining = true
	r.mu.Unlock()
	if again || !r.shared {
		return
	}
	if err := r.beat(); err != nil {
		r.log.Warn("draining", "err", err)
		return
	}
	if r.pick("") == "" {
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
	to := r.pick(h.id)
	err := r.opt.Rooms.LeaveHome(ctx, h.id, r.opt.Host)
	if err == nil && to != "" {
		_, err = r.opt.Rooms.ClaimHome(ctx, h.id, to)
	}
	if err != nil {
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

// quit tells the others that this relay is gone, so that they wait for nothing.
func (r *Relay) quit(ctx context.Context) {
	if !r.shared {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	if err := r.opt.Rooms.Quit(ctx, r.opt.Host); err != nil {
		r.log.Warn("signing the relay off", "err", err)
	}
}

// elsewhere says whether err is that another relay serves the room.
func elsewhere(err error) bool {
	var m *movedError
	return errors.As(err, &m) || errors.Is(err, chat.ErrMoved)
}
