// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
)

// Times between the frames that tell desks of the same room.
const (
	newsPause  = 200 * time.Millisecond // here
	newsLetter = time.Second            // at other relays
)

// roomNews are the rooms that changed and whose desks are to be told: what a desk
// lists of a room comes with one frame, however much happened in the meantime.
type roomNews struct {
	wake chan struct{} // has one token while there is something to tell
	mu   sync.Mutex
	near map[string][]string // room ID → logins; nil: everybody who lists the room
	far  map[string][]string // the same, for other relays
}

func newNews() *roomNews {
	return &roomNews{wake: make(chan struct{}, 1), near: map[string][]string{}, far: map[string][]string{}}
}

// add notes that a room changed for some logins, or for everybody if there are
// none. It never waits.
func (n *roomNews) add(roomID string, logins ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	merge(n.near, roomID, logins)
	merge(n.far, roomID, logins)
	n.ring()
}

// heard notes what another relay told of.
func (n *roomNews) heard(roomID string, logins []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	merge(n.near, roomID, logins)
	n.ring()
}

func merge(of map[string][]string, roomID string, logins []string) {
	known, there := of[roomID]
	switch {
	case len(logins) == 0 || there && len(known) == 0:
		of[roomID] = nil
	default:
		for _, l := range logins {
			if !slices.Contains(known, l) {
				known = append(known, l)
			}
		}
		of[roomID] = known
	}
}

func (n *roomNews) ring() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be told here and, when far is due, elsewhere; later:
// there is something to tell elsewhere when it is.
func (n *roomNews) take(due bool) (near, far map[string][]string, later bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	near, n.near = n.near, map[string][]string{}
	if due {
		far, n.far = n.far, map[string][]string{}
	}
	return near, far, len(n.far) > 0
}

// tellNews tells desks of rooms until the relay ends.
func (r *Relay) tellNews() {
	var letters time.Time
	for {
		select {
		case <-r.news.wake:
		case <-r.ctx.Done():
			return
		}
		due := time.Since(letters) >= newsLetter
		near, far, later := r.news.take(due)
		if due {
			letters = time.Now()
		}
		if later {
			time.AfterFunc(newsLetter-time.Since(letters), r.news.ring)
		}
		for room, logins := range far {
			r.publish("", note{T: noteRoom, Room: room, Logins: logins})
		}
		for room, logins := range near {
			r.tellRoom(room, logins)
		}
		select {
		case <-time.After(newsPause):
		case <-r.ctx.Done():
			return
		}
	}
}

// tellRoom tells the desks of some logins, or of everybody who lists a room,
// what they list of it now.
func (r *Relay) tellRoom(roomID string, logins []string) {
	defer safely.Recover(r.log, "news of a room")
	if !r.devices.any() {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	if len(logins) == 0 {
		var err error
		if logins, err = r.opt.Rooms.Desks(ctx, roomID); err != nil {
			r.log.Warn("looking for the desks of a room", "room", roomID, "err", err)
			return
		}
	}
	for _, login := range logins {
		if on, _ := r.devices.connected(login); !on {
			continue
		}
		f := &frame.Frame{T: frame.TRoom, Room: roomID}
		c, err := r.Summary(ctx, login, roomID)
		switch {
		case err == nil:
			f.Summary = &c
		case !errors.Is(err, chat.ErrUnknown):
			r.log.Warn("reading a conversation for a desk", "room", roomID, "err", err)
			continue
		}
		r.devices.tell(login, f)
	}
}
