// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

// The kinds of note.
const (
	noteRing     = "ring"     // ring the devices of Login: Frame
	noteEnd      = "ring-end" // the ring Attempt is over: Code; to Device it was answered
	noteRespond  = "respond"  // Device of Login takes or refuses (Code) the ring Attempt
	noteStatus   = "status"   // devices of Login came (On) or went
	noteRoom     = "room"     // the conversation Room changed: tell the desks of Logins; of everybody if it has none
	noteMail     = "mail"     // a mail came into Room
	noteAccess   = "access"   // somebody may have to leave Room
	noteSettings = "settings" // Login changed its settings, blocks or mutes
	noteSignOut  = "sign-out" // the sessions of Login have ended, or that with the ID
	noteChats    = "chats"    // the logins of Chats are in a chat with somebody (On), or not any more
)

// note is a message between relays.
type note struct {
	T       string              `json:"t"`
	Login   string              `json:"login,omitempty"`
	Logins  []string            `json:"logins,omitempty"`
	Room    string              `json:"room,omitempty"`
	ID      string              `json:"id,omitempty"` // of a session
	Attempt string              `json:"attempt,omitempty"`
	Device  string              `json:"device,omitempty"`
	Code    string              `json:"code,omitempty"`
	Words   string              `json:"words,omitempty"`
	On      bool                `json:"on,omitempty"`
	Frame   *frame.Frame        `json:"frame,omitempty"`
	Chats   map[string][]string `json:"chats,omitempty"` // login → rooms
}

// key orders letters: the receiver takes letters of one key one after the other.
func (n note) key() string { return cmp.Or(n.Room, n.Login, n.T) }

// publish sends a note to another relay, to all others when to is empty. It
// never waits.
func (r *Relay) publish(to string, n note) { r.cluster.Publish(to, n.key(), n) }

// deliver takes a note of this relay's own, as if another had sent it.
func (r *Relay) deliver(n note) { r.cluster.Local(n.key(), n) }

// receive takes a note of another relay.
func (r *Relay) receive(from, _ string, body []byte) {
	var n note
	if err := json.Unmarshal(body, &n); err != nil {
		r.log.Warn("a letter of another relay host cannot be read", "relay", from, "err", err)
		return
	}
	r.heed(from, n)
}

func (r *Relay) heed(from string, n note) {
	switch n.T {
	case noteRing:
		if n.Frame != nil && n.Frame.Ring != nil {
			r.devices.rungBy(n.Frame.Ring.Attempt, from)
			r.devices.tell(n.Login, n.Frame)
		}
	case noteEnd:
		r.devices.rungBy(n.Attempt, "")
		r.devices.endRing(n.Login, n.Attempt, n.Code, n.Device, n.Words)
	case noteRespond:
		h := r.ringing(n.Attempt)
		if h == nil { // it was over before
			r.publish(from, note{T: noteEnd, Login: n.Login, Attempt: n.Attempt, Code: frame.EndElsewhere})
			return
		}
		h.post(func() { h.respond(n.Attempt, n.Code, n.Words, taker{login: n.Login, id: n.Device, relay: from}) })
		h.leave()
	case noteStatus:
		r.statusHere(n.Login)
		if n.On {
			r.recheck(n.Login, came)
		} else {
			time.AfterFunc(signOffGrace, func() { r.later("a sign-off", func() { r.recheck(n.Login, went) }) })
		}
	case noteSignOut:
		r.endSessions(n)
	case noteSettings:
		r.heedSettings(n.Login)
	case noteChats:
		r.heedChats(from, n)
	case noteRoom:
		r.news.heard(n.Room, n.Logins)
	case noteAccess:
		if h := r.use(n.Room, nil); h != nil {
			h.post(h.checkAll)
			h.leave()
		}
	case noteMail:
		r.news.heard(n.Room, nil)
		if h := r.use(n.Room, nil); h != nil {
			h.post(h.catchUp)
			h.leave()
		}
	}
}

// wayIn is the answer of a room's home to a relay that asks for the room's endpoints.
type wayIn struct {
	Home      string           `json:"home"`
	Endpoints []frame.Endpoint `json:"endpoints,omitempty"`
}

// question asks a relay to be the home of a room, and for its endpoints with
// the granted port of a login.
type question struct {
	Room  string `json:"room"`
	Login string `json:"login,omitempty"`
}

// askHome puts the question to another relay. It returns the home as the other
// knows it.
func (r *Relay) askHome(
	ctx context.Context, relay, roomID, login string,
) (list []frame.Endpoint, home string, err error) {
	var way wayIn
	if err := r.cluster.Ask(ctx, relay, question{roomID, login}, &way); err != nil {
		return nil, "", err
	}
	if way.Home == relay && len(way.Endpoints) == 0 {
		return nil, "", fmt.Errorf("the relay %s could not open the room", relay)
	}
	return way.Endpoints, way.Home, nil
}

// answer claims the room that another relay asks for, and says how to get there.
func (r *Relay) answer(ctx context.Context, _ string, body []byte) any {
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return wayIn{}
	}
	if r.cluster.Draining() {
		return wayIn{Home: r.cluster.Pick(q.Room)}
	}
	home, err := r.cluster.Claim(ctx, q.Room)
	if err != nil {
		r.log.Warn("claiming a room for another relay host", "room", q.Room, "err", err)
		return wayIn{Home: r.opt.Host}
	}
	if home != r.opt.Host {
		return wayIn{Home: home}
	}
	return wayIn{home, r.endpoints(ctx, q.Room, q.Login)}
}

// remote are the devices of a login at other relays that are alive.
func (r *Relay) remote(login string) (list []presence.Device) {
	if r.cluster.Alone() || login == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, presenceWait)
	defer cancel()
	all, err := r.opt.Presence.Devices(ctx, login)
	if err != nil {
		r.failed("looking for devices at other relays", err, "login", login)
		return nil
	}
	for _, d := range all {
		if _, alive := r.cluster.Peer(d.Relay); alive {
			list = append(list, d)
		}
	}
	return list
}

// ringing is the room in which an attempt rings; leave must be called for it.
func (r *Relay) ringing(attemptID string) *liveRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.calls[attemptID]; h != nil && h.hold() {
		return h
	}
	return nil
}
