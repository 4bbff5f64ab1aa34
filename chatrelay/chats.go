// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Who is in a chat with somebody may not want another ring. Each relay knows
// of the chats in its own rooms, and tells the others.

const (
	chatsEvery = 30               // heartbeats between telling the other relays of all chats
	chatsKept  = 90 * time.Second // another relay's chat, after it was told of
	chatsNote  = 200              // logins in one note
	maxFar     = 50000            // chats at other relays that are known; of further ones nobody is told to be busy
)

// chat is a login's conversation in a room.
type activeChat struct {
	relay string // empty: here
	at    time.Time
}

// company notes which logins are in a chat here: with somebody else.
func (h *liveRoom) company() {
	now := map[string]bool{}
	if here := h.here(); len(here) > 1 {
		for _, id := range here {
			if p := person(h.info, id); p.Login != "" && !p.Guest {
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
		if r.setChat(login, roomID, "", on) {
			turned = append(turned, login)
		}
		of[login] = []string{roomID}
	}
	r.publish("", note{T: noteChats, On: on, Chats: of})
	if len(turned) > 0 {
		r.later("a chat's end", func() { r.chatsTold(turned, roomID) })
	}
}

// setChat notes that a login is in a chat at a relay, or not any more, and
// says whether that may turn it from free to busy, or back, in anybody's eyes:
// who is in more chats than anyone can set as the most is busy for everyone,
// before and after.
func (r *Relay) setChat(login, roomID, relay string, on bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.chats[login]
	old, known := of[roomID]
	if !on {
		if !known || old.relay != relay {
			return false
		}
		if delete(of, roomID); len(of) == 0 {
			delete(r.chats, login)
		}
		return r.live(of, chat.MaxChats+1) <= chat.MaxChats
	}
	if of == nil {
		if relay != "" && len(r.chats) >= maxFar {
			return false
		}
		of = map[string]activeChat{}
		r.chats[login] = of
	}
	of[roomID] = activeChat{relay, time.Now()}
	return !known && r.live(of, chat.MaxChats+2) <= chat.MaxChats+1
}

// live counts a login's chats, up to most; another relay's count while it
// lives and tells of them. It is called with Relay.mu held.
func (r *Relay) live(of map[string]activeChat, most int) (n int) {
	for _, c := range of {
		if n == most {
			break
		}
		if r.isLive(c) {
			n++
		}
	}
	return n
}

func (r *Relay) isLive(c activeChat) bool {
	return c.relay == "" || time.Since(c.at) <= chatsKept &&
		slices.ContainsFunc(r.peers, func(p chat.Relay) bool { return p.Name == c.relay })
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

// chatting is in how many chats a login is, without that in the room but.
func (r *Relay) chatting(login, but string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, c := range r.chats[login] {
		if id != but && r.isLive(c) {
			n++
		}
	}
	return n
}

// tellChats tells the other relays of all chats here from time to time, since
// a note may get lost, and forgets what they have not told of for long.
func (r *Relay) tellChats(beat int) {
	if beat%chatsEvery != 0 {
		return
	}
	var notes []note
	r.mu.Lock()
	for login, of := range r.chats {
		for id, c := range of {
			if c.relay != "" {
				if time.Since(c.at) > chatsKept {
					delete(of, id)
				}
				continue
			}
			if len(notes) == 0 || len(notes[len(notes)-1].Chats) >= chatsNote {
				notes = append(notes, note{T: noteChats, On: true, Chats: map[string][]string{}})
			}
			last := notes[len(notes)-1].Chats
			last[login] = append(last[login], id)
		}
		if len(of) == 0 {
			delete(r.chats, login)
		}
	}
	r.mu.Unlock()
	for _, n := range notes {
		r.publish("", n)
	}
}

// heedChats notes what another relay tells of.
func (r *Relay) heedChats(l letter) {
	for login, rooms := range l.note.Chats {
		for _, id := range rooms {
			if r.setChat(login, id, l.peer, l.note.On) {
				r.chatsTold([]string{login}, id)
			}
		}
	}
}
