// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// enter makes the desk's way into the room for a session.
func (w *world) enter(session chat.Session) Entry {
	w.t.Helper()
	e, err := w.relay.Enter(w.t.Context(), session, w.room)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) signOut() {
	w.t.Helper()
	if err := w.relay.SignOut(w.t.Context(), w.host); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) endSession(session chat.Session) {
	w.t.Helper()
	if err := w.relay.EndSession(w.t.Context(), session, time.Now().Add(time.Hour)); err != nil {
		w.t.Fatal(err)
	}
}

func TestSignOutEndsDevicesAndRooms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	session := signedIn(w.host, "here")
	device, desk := w.device("here"), w.in(w.enter(session), frame.Frame{})
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	pass := desk.typ(frame.TWelcome).Ticket
	fresh := w.enter(session)
	w.signOut()
	device.fault(frame.ErrTicket)
	desk.fault(frame.ErrTicket)
	// Neither the ticket for coming back nor one made before opens anything.
	for _, ticket := range []string{pass, fresh.Ticket} {
		w.in(Entry{Ticket: ticket}, frame.Frame{}).fault(frame.ErrTicket)
	}
	// Who came by a link stays, and who signs in again comes in.
	desk = w.in(w.desk(), frame.Frame{})
	desk.typ(frame.TWelcome)
	desk.send(frame.Frame{T: frame.TSay, ID: "a", Text: "back again"})
	kim.text("back again")
	w.device("again")
}

func TestEndOfOneSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	one, two := signedIn(w.host, "one"), signedIn(w.host, "two")
	device, other := w.device("one"), w.device("two")
	desk, stays := w.in(w.enter(one), frame.Frame{}), w.in(w.enter(two), frame.Frame{})
	desk.typ(frame.TWelcome)
	stays.typ(frame.TWelcome)
	w.endSession(one)
	device.fault(frame.ErrTicket)
	desk.fault(frame.ErrTicket)
	for _, c := range []*client{other, stays} {
		c.send(frame.Frame{T: frame.TPing, N: 7})
		c.until("pong", func(f *frame.Frame) bool { return f.T == frame.TPong && f.N == 7 })
	}
	// The ended session is refused at hello.
	w.in(w.enter(one), frame.Frame{}).fault(frame.ErrTicket)
	again := w.socket("/device/one")
	again.send(frame.Frame{T: frame.THello})
	again.fault(frame.ErrTicket)
	if good, err := w.relay.SignedIn(t.Context(), one); err != nil || good {
		t.Fatal(good, err)
	}
}

// A note between relays can get lost: then the session ends with the next look.
func TestSignOutIsSeenWithoutANote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	desk := w.in(w.desk(), frame.Frame{})
	desk.typ(frame.TWelcome)
	if err := w.rooms.SignOut(t.Context(), w.host); err != nil {
		t.Fatal(err)
	}
	h := w.relay.use(w.room, nil)
	defer h.leave()
	h.do(func() {
		for s := range h.sessions {
			s.peers.Store(-1) // so that the connection gets a new ticket now
		}
	})
	desk.send(frame.Frame{T: frame.TPing})
	desk.fault(frame.ErrTicket)
}

func TestSignOutAtAllRelays(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	all := newWorlds(t, 2, func(o *Options) { o.SignedOut = func(login string) { told <- login } })
	home, other := all[0], all[1]
	here, there := home.device("here"), other.device("there")
	third := other.device("third")
	desk := home.come(home.desk(), frame.Frame{})
	desk.typ(frame.TWelcome)
	home.endSession(signedIn(home.host, "third"))
	third.fault(frame.ErrTicket)
	other.signOut()
	for _, c := range []*client{here, there, desk} {
		c.fault(frame.ErrTicket)
	}
	for range all {
		if login := <-told; login != home.host {
			t.Errorf("%s was signed out", login)
		}
	}
	if len(told) > 0 {
		t.Error("the end of one session counts as that of all")
	}
}
