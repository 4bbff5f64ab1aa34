// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// A person who is in a chat may not want to be rung for another one. Each relay
// knows the chats in its own rooms, and tells the other relays of them.

const (
	chatsEvery = 30               // heartbeats between telling the other relays of all chats
	chatsKept  = 90 * time.Second // another relay's chat is forgotten so long after its last note
	chatsNote  = 200              // logins in one note
	maxFar     = 50000            // most chats at other relays that are kept; further ones make nobody busy
)

// activeChats are the conversations in which logins are with somebody else, as
// far as they make them busy.
type activeChats struct {
	alive func(relay string) bool // whether another relay is

	mu sync.Mutex
	of map[string]map[string]activeChat // login → room ID
}

// activeChat is a login's conversation in a room.
type activeChat struct {
	relay string // empty: here
	at    time.Time
}

func newActiveChats(alive func(relay string) bool) *activeChats {
	return &activeChats{alive: alive, of: map[string]map[string]activeChat{}}
}

// company notes which logins are in a chat here: with somebody else.
func (h *liveRoom) company() {
	now := map[string]bool{}
	if here := h.here(); len(here) > 1 {
		for _, id := range here {
			if p := h.info.Participant(id); p.Login != "" && !p.Guest {
				now[p.Login] = true
			}
		}
	}
	var began, ended []string
	for login := range now {
		if !h.chats[login] {
			began = append(began, login)
		}
	}
	for login := range h.chats {
		if !now[login] {
			ended = append(ended, login)
		}
	}
	h.chats = now
	h.r.chatsChanged(h.id, began, true)
	h.r.chatsChanged(h.id, ended, false)
}

// disband ends the chats of a room that ends. It is called with Relay.mu held.
func (h *liveRoom) disband() {
	var ended []string
	for login := range h.chats {
		ended = append(ended, login)
	}
	if h.chats = nil; len(ended) > 0 {
		h.r.later("a chat's end", func() { h.r.chatsChanged(h.id, ended, false) })
	}
}

func (r *Relay) chatsChanged(roomID string, logins []string, on bool) {
	if len(logins) == 0 {
		return
	}
	of := make(map[string][]string, len(logins))
	var turned []string
	for _, login := range logins {
		if r.chats.set(login, roomID, "", on) {
			turned = append(turned, login)
		}
		of[login] = []string{roomID}
	}
	r.publish("", note{T: noteChats, On: on, Chats: of})
	if len(turned) > 0 {
		r.later("a chat's end", func() { r.chatsTold(turned, roomID) })
	}
}

// set notes that a login is in a chat at a relay, or has left it, and says
// whether the login may have become busy or free for anybody by that. A login
// whose number of chats is above the highest limit that a person can set was
// busy for everybody before, and stays so.
func (c *activeChats) set(login, roomID, relay string, on bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[login]
	old, known := of[roomID]
	if !on {
		if !known || old.relay != relay {
			return false
		}
		if delete(of, roomID); len(of) == 0 {
			delete(c.of, login)
		}
		return c.live(of, chat.MaxChats+1) <= chat.MaxChats
	}
	if of == nil {
		if relay != "" && len(c.of) >= maxFar {
			return false
		}
		of = map[string]activeChat{}
		c.of[login] = of
	}
	of[roomID] = activeChat{relay, time.Now()}
	return !known && c.live(of, chat.MaxChats+2) <= chat.MaxChats+1
}

// live counts a login's chats, up to most; another relay's count while it
// lives and tells of them. It is called with mu held.
func (c *activeChats) live(of map[string]activeChat, most int) (n int) {
	for _, a := range of {
		if n == most {
			break
		}
		if c.isOn(a) {
			n++
		}
	}
	return n
}

func (c *activeChats) isOn(a activeChat) bool {
	return a.relay == "" || c.alive(a.relay) && time.Since(a.at) <= chatsKept
}

// count is in how many chats a login is, without that in the room but.
func (c *activeChats) count(login, but string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, a := range c.of[login] {
		if id != but && c.isOn(a) {
			n++
		}
	}
	return n
}

// here lists the chats of this relay in portions of at most so many logins,
// and forgets those that another relay has not told of for long.
func (c *activeChats) here(portion int) (list []map[string][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for login, of := range c.of {
		for id, a := range of {
			if a.relay != "" {
				if time.Since(a.at) > chatsKept {
					delete(of, id)
				}
				continue
			}
			if len(list) == 0 || len(list[len(list)-1]) >= portion {
				list = append(list, map[string][]string{})
			}
			last := list[len(list)-1]
			last[login] = append(last[login], id)
		}
		if len(of) == 0 {
			delete(c.of, login)
		}
	}
	return list
}

// chatsTold lets those who wait for a login in other rooms know.
func (r *Relay) chatsTold(logins []string, roomID string) {
	for _, login := range logins {
		elsewhere := false
		groups := r.groupsOf(login)
		r.mu.Lock()
		for _, g := range groups {
			for s := range r.watchers[g] {
				elsewhere = elsewhere || s.room.id != roomID
			}
		}
		r.mu.Unlock()
		if !elsewhere {
			continue
		}
		r.statusHere(login)
		r.recheck(login, changed)
	}
}

// tellChats tells the other relays of all chats here from time to time, since a
// letter may get lost.
func (r *Relay) tellChats(beat int) {
	if beat%chatsEvery != 0 {
		return
	}
	for _, of := range r.chats.here(chatsNote) {
		r.publish("", note{T: noteChats, On: true, Chats: of})
	}
}

// heedChats notes what another relay tells of.
func (r *Relay) heedChats(from string, n note) {
	for login, rooms := range n.Chats {
		for _, id := range rooms {
			if r.chats.set(login, id, from, n.On) {
				r.chatsTold([]string{login}, id)
			}
		}
	}
}
