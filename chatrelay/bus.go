// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

// Bus carries short messages between the relays that share a store, at most
// once each; presence.Bus documents it. Messages of conversations never go
// over it: rings do, who came and went, and requests for a room's endpoints.
type Bus interface {
	Publish(ctx context.Context, to string, msg []byte) error
	Subscribe(f func(from string, msg []byte))
}

const (
	busQueue    = 1024        // messages waiting each way; further ones are dropped
	busRequests = 64          // requests of others answered at once; further ones are dropped
	askWait     = time.Second // for an answer
	rungFor     = 10 * time.Minute
	maxRung     = 10000 // rings of other relays remembered; the answer to a further one finds its way through the room
)

// The kinds of note.
const (
	noteRing     = "ring"     // ring the devices of Login: Frame
	noteEnd      = "ring-end" // the ring Attempt is over: Code; to Device it was answered
	noteRespond  = "respond"  // Device of Login takes or refuses (Code) the ring Attempt
	noteStatus   = "status"   // devices of Login came (On) or went
	noteRoom     = "room"     // the conversation Room changed: tell the devices of Logins
	noteMail     = "mail"     // a mail came into Room
	noteSettings = "settings" // Login changed its settings, blocks or mutes
	noteSignOut  = "sign-out" // the sessions of Login have ended, or that with the ID
	noteChats    = "chats"    // the logins of Chats are in a chat with somebody (On), or not any more
	noteAsk      = "ask"      // open the port of Login for Room, and say how to get there: ID
	noteAnswer   = "answer"   // to the ask ID: Home, Endpoints
)

// note is a message between relays.
type note struct {
	T         string              `json:"t"`
	ID        string              `json:"id,omitempty"`
	Login     string              `json:"login,omitempty"`
	Logins    []string            `json:"logins,omitempty"`
	Room      string              `json:"room,omitempty"`
	Attempt   string              `json:"attempt,omitempty"`
	Device    string              `json:"device,omitempty"`
	Code      string              `json:"code,omitempty"`
	Words     string              `json:"words,omitempty"`
	On        bool                `json:"on,omitempty"`
	Frame     *frame.Frame        `json:"frame,omitempty"`
	Home      string              `json:"home,omitempty"`
	Endpoints []frame.Endpoint    `json:"endpoints,omitempty"`
	Chats     map[string][]string `json:"chats,omitempty"` // login → rooms
}

// letter is a note on its way.
type letter struct {
	peer string // to whom, empty for all; or from whom
	note note
}

// bus is the relay's side of a Bus.
type bus struct {
	in, out chan letter
	answers chan struct{} // a token for each request being answered
}

func newBus() *bus {
	return &bus{in: make(chan letter, busQueue), out: make(chan letter, busQueue), answers: make(chan struct{}, busRequests)}
}

// alone says whether there is nobody to talk to.
func (r *Relay) alone() bool { return r.opt.Bus == nil || len(r.Peers()) == 0 }

// publish sends a note, to all others when to is empty. It never waits.
func (r *Relay) publish(to string, n note) {
	if r.alone() {
		return
	}
	select {
	case r.bus.out <- letter{to, n}:
	default:
		busDropped.Inc()
	}
}

// receive takes what the Bus delivers; it never waits.
func (r *Relay) receive(from string, msg []byte) {
	var n note
	if err := json.Unmarshal(msg, &n); err != nil {
		r.log.Warn("a message of another relay cannot be read", "from", from, "err", err)
		return
	}
	r.deliver(from, n)
}

func (r *Relay) deliver(from string, n note) {
	select {
	case r.bus.in <- letter{from, n}:
	default:
		busDropped.Inc()
	}
}

// talk sends what is queued.
func (r *Relay) talk() {
	for {
		select {
		case l := <-r.bus.out:
			if err := r.send(r.ctx, l.peer, l.note); err != nil && r.ctx.Err() == nil {
				r.failed("telling another relay", err, "relay", l.peer, "what", l.note.T)
			}
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Relay) send(ctx context.Context, to string, n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	return r.opt.Bus.Publish(ctx, to, b)
}

// listen does what other relays ask for, in their order.
func (r *Relay) listen() {
	for {
		select {
		case l := <-r.bus.in:
			r.heed(l)
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *Relay) heed(l letter) {
	defer r.recovered("a message of another relay")
	n := l.note
	switch n.T {
	case noteRing:
		if n.Frame != nil && n.Frame.Ring != nil {
			r.rungBy(n.Frame.Ring.Attempt, l.peer)
			r.tellDevices(n.Login, n.Frame)
		}
	case noteEnd:
		r.rungBy(n.Attempt, "")
		r.endRings(n.Login, n.Attempt, n.Code, n.Device, n.Words)
	case noteRespond:
		h := r.ringing(n.Attempt)
		if h == nil { // it was over before
			r.publish(l.peer, note{T: noteEnd, Login: n.Login, Attempt: n.Attempt, Code: frame.EndElsewhere})
			return
		}
		h.post(func() { h.respond(n.Attempt, n.Code, n.Words, taker{login: n.Login, id: n.Device, relay: l.peer}) })
		h.leave()
	case noteStatus:
		r.statusHere(n.Login)
		if n.On {
			r.recheck(n.Login, came)
		} else {
			time.AfterFunc(signOffGrace, func() { r.recheck(n.Login, went) })
		}
	case noteSignOut:
		r.endSessions(n)
	case noteSettings:
		r.heedSettings(n.Login)
	case noteChats:
		r.heedChats(l)
	case noteRoom:
		for _, login := range n.Logins {
			r.tellDevices(login, &frame.Frame{T: frame.TRoom, Room: n.Room})
		}
	case noteMail:
		if h := r.use(n.Room, nil); h != nil {
			h.post(h.catchUp)
			h.leave()
		}
	case noteAsk:
		select {
		case r.bus.answers <- struct{}{}:
			r.owned.Go(func() {
				defer func() { <-r.bus.answers }()
				defer r.recovered("a request of another relay")
				r.answer(l)
			})
		default:
			busDropped.Inc()
		}
	case noteAnswer:
		r.mu.Lock()
		waits := r.asked[n.ID]
		r.mu.Unlock()
		if waits != nil {
			select {
			case waits <- n:
			default: // it was answered before
			}
		}
	}
}

var errAlone = errors.New("there is no way to other relays")

// askHome asks another relay to be the home of a room, and for its endpoints
// with the granted port of a login. It returns the home as the other knows it.
func (r *Relay) askHome(ctx context.Context, relay, roomID, login string) (list []frame.Endpoint, home string, err error) {
	if r.alone() {
		return nil, "", errAlone
	}
	id, answer := rand.Text(), make(chan note, 1)
	r.mu.Lock()
	if len(r.asked) >= busQueue {
		r.mu.Unlock()
		return nil, "", errors.New("too many requests to other relays")
	}
	r.asked[id] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.asked, id)
		r.mu.Unlock()
	}()
	if err := r.send(ctx, relay, note{T: noteAsk, ID: id, Room: roomID, Login: login}); err != nil {
		return nil, "", err
	}
	timeout := time.NewTimer(askWait)
	defer timeout.Stop()
	select {
	case n := <-answer:
		if n.Home == relay && len(n.Endpoints) == 0 {
			return nil, "", fmt.Errorf("the relay %s could not open the room", relay)
		}
		return n.Endpoints, n.Home, nil
	case <-timeout.C:
		return nil, "", fmt.Errorf("the relay %s does not answer", relay)
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// answer claims the room that another relay asks for, and says how to get there.
func (r *Relay) answer(l letter) {
	ctx, cancel := context.WithTimeout(r.ctx, askWait)
	defer cancel()
	n := note{T: noteAnswer, ID: l.note.ID}
	r.mu.Lock()
	draining := r.draining
	r.mu.Unlock()
	var err error
	if draining {
		n.Home = r.pick(l.note.Room)
	} else if n.Home, err = r.claim(ctx, l.note.Room); err != nil {
		r.log.Warn("claiming a room for another relay", "room", l.note.Room, "err", err)
		n.Home = r.opt.Host
	} else if n.Home == r.opt.Host {
		n.Endpoints = r.endpoints(ctx, l.note.Room, l.note.Login)
	}
	r.publish(l.peer, n)
}

// remote are the devices of a login at other relays that are alive.
func (r *Relay) remote(login string) (list []presence.Device) {
	if r.alone() || login == "" {
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
		if _, alive := r.peer(d.Relay); alive {
			list = append(list, d)
		}
	}
	return list
}

// rungBy remembers which relay rings with an attempt; empty: none any more.
func (r *Relay) rungBy(attemptID, relay string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.rung, attemptID); relay == "" {
		return
	}
	if len(r.rung) >= maxRung {
		for id, by := range r.rung {
			if time.Since(by.at) > rungFor {
				delete(r.rung, id)
			}
		}
	}
	if len(r.rung) < maxRung {
		r.rung[attemptID] = ringer{relay, time.Now()}
	}
}

// ringer is the relay from which a ring came.
type ringer struct {
	relay string
	at    time.Time
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
