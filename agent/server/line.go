// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// The pace of a connection that is kept, and of coming back. A relay counts as dead
// after 4 s without an answer.
const (
	pingEvery  = 2 * time.Second
	lostAfter  = 4 * time.Second
	probeWait  = 2 * time.Second // for an answer after sleep
	watchEvery = time.Second
	slept      = 3 * time.Second // the clock went on so much further than this process
	firstWait  = 10 * time.Second
	tryWait    = 4 * time.Second
	doorEvery  = time.Second
	passLife   = 9 * time.Minute // of a ticket for coming back, a little less than the relay's
	hastyPause = 5 * time.Second // after too-fast
	mostHops   = 3               // from relay to relay, one after the other
)

// pause is the time between two rounds of asking everywhere. A network that came back
// is noticed by its address; the longest pause is for networks that do not change it.
func pause(searched time.Duration) time.Duration {
	switch {
	case searched < 15*time.Second:
		return 400 * time.Millisecond
	case searched < time.Minute:
		return 1500 * time.Millisecond
	}
	return 2 * time.Second
}

// Event is what happens on a Line: a frame, a connection that was lost (Err says why,
// once and again when the reason changes), or the end of it all, which is the last event.
type Event struct {
	Frame *frame.Frame
	Err   error
	Over  bool
}

// Line is a connection that comes back whenever it was lost, until it is closed or the
// server says that it must not.
type Line struct {
	c      *Client
	signed bool // the WebSockets need the token
	door   func(ctx context.Context) (Way, error)
	hello  func(ticket string) *frame.Frame
	events chan Event
	cancel context.CancelFunc

	mu   sync.Mutex
	sock *socket // nil: not connected

	// Of the goroutine that runs.
	pass   string // ticket for coming back
	passed time.Time
	last   string   // WebSocket where we were
	peers  []string // those of the other relays
	remote netip.AddrPort
}

// Device keeps a connection on which the signed-in login is rung.
func (c *Client) Device(ctx context.Context) *Line {
	here := Way{Endpoints: []frame.Endpoint{{Carrier: "websocket", URL: "ws" + c.Base()[len("http"):] + "/desk/ws"}}}
	return c.line(ctx, true, func(context.Context) (Way, error) { return here, nil },
		func(string) *frame.Frame { return &frame.Frame{T: frame.THello} })
}

// Room keeps a connection into a room; door gives ways in, and hello the first frame.
func (c *Client) Room(ctx context.Context, door func(context.Context) (Way, error),
	hello func(ticket string) *frame.Frame) *Line {
	return c.line(ctx, false, door, hello)
}

func (c *Client) line(ctx context.Context, signed bool, door func(context.Context) (Way, error),
	hello func(string) *frame.Frame) *Line {
	ctx, cancel := context.WithCancel(ctx)
	l := &Line{c: c, signed: signed, door: door, hello: hello,
		events: make(chan Event, 64), cancel: cancel}
	go l.run(ctx) // ends with Close, or when the server says so
	return l
}

// Events are closed after the last.
func (l *Line) Events() <-chan Event { return l.events }

// Send reports whether there was a connection to send on.
func (l *Line) Send(f *frame.Frame) bool {
	l.mu.Lock()
	s := l.sock
	l.mu.Unlock()
	return s != nil && s.write(f) == nil
}

// Close ends it and waits for that; the server learns it at once.
func (l *Line) Close() {
	l.Send(&frame.Frame{T: frame.TLeave})
	l.cancel()
	for range l.events {
	}
}

func (l *Line) run(ctx context.Context) {
	defer close(l.events)
	defer l.cancel()
	for ctx.Err() == nil {
		s, early, err := l.search(ctx)
		if err != nil {
			l.tell(ctx, Event{Err: err, Over: true})
			return
		}
		l.mu.Lock()
		l.sock = s
		l.mu.Unlock()
		err = l.stay(ctx, s, early)
		l.mu.Lock()
		l.sock = nil
		l.mu.Unlock()
		s.close()
		if final(err) {
			l.tell(ctx, Event{Err: err, Over: true})
			return
		}
		l.tell(ctx, Event{Err: err})
	}
}

func (l *Line) tell(ctx context.Context, e Event) {
	select {
	case l.events <- e:
	case <-ctx.Done():
	}
}

// final reports whether an error is one after which nobody comes back.
func final(err error) bool {
	var no *Refusal
	var f refusedFrame
	if errors.As(err, &no) {
		return no.Ended()
	}
	return errors.As(err, &f) && f.T == frame.TError && (f.Code == frame.ErrRoom || f.Code == frame.ErrForbidden)
}

// try is one way in that is being tried.
type try struct {
	at    string // WebSocket; empty: the front door is asked
	led   string // WebSocket that let us in
	sock  *socket
	early []*frame.Frame
	err   error
}

// search asks all places that are known, side by side and round after round, until one
// lets us in: the relay where we were and the other relays with the ticket for coming
// back, and the front door. It errs when the server does not want us again, or ctx ends.
func (l *Line) search(ctx context.Context) (*socket, []*frame.Frame, error) {
	began, told, hops := time.Now(), "", 0
	var doorRests time.Time
	tries, results := map[string]context.CancelFunc{}, make(chan try)
	done, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	give := func(t try) {
		select {
		case results <- t:
		case <-done.Done():
			if t.sock != nil {
				t.sock.close()
			}
		}
	}
	wait := tryWait
	if l.last == "" {
		wait = firstWait
	}
	ask := func(at string, way func(context.Context) (Way, error)) {
		if tries[at] != nil {
			return
		}
		one, stop := context.WithTimeout(done, wait)
		tries[at] = stop
		owned.Go(func() {
			w, err := way(one)
			t := try{at: at, err: err}
			if t.err == nil {
				t.led, t.err = socketOf(w.Endpoints)
			}
			if t.err == nil {
				t.sock, t.early, t.err = l.c.enter(one, t.led, l.signed, l.hello(w.Ticket))
			}
			give(t)
		})
	}
	round := func() {
		known := l.pass != "" && time.Since(l.passed) < passLife
		if pass := l.pass; known {
			for _, at := range append([]string{l.last}, l.peers...) {
				ask(at, func(context.Context) (Way, error) {
					return Way{Ticket: pass, Endpoints: []frame.Endpoint{{Carrier: "websocket", URL: at}}}, nil
				})
			}
		}
		if now := time.Now(); (!known || now.Sub(began) > pause(0)/2) && now.After(doorRests) {
			doorRests = now.Add(doorEvery)
			ask("", l.door)
		}
	}
	watch := newWatch(l.remote)
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-look.C:
			if watch.changed() { // a network came: what was tried on the old one is for nothing
				for at, stop := range tries {
					stop()
					delete(tries, at)
				}
				doorRests = time.Time{}
				next.Reset(0)
			}
		case <-next.C:
			round()
			next.Reset(jitter(pause(time.Since(began))))
		case t := <-results:
			if t.sock != nil {
				l.last, l.remote = t.led, t.sock.remote
				return t.sock, t.early, nil
			}
			if stop := tries[t.at]; stop != nil {
				stop()
				delete(tries, t.at)
			}
			var no *Refusal
			var f refusedFrame
			switch {
			case errors.As(t.err, &no):
				doorRests = time.Now().Add(max(no.After, doorEvery))
			case errors.As(t.err, &f) && f.T == frame.TMoved && hops < mostHops:
				hops++
				if at, err := socketOf(f.Endpoints); err == nil {
					ask(at, func(context.Context) (Way, error) {
						return Way{Ticket: f.Ticket, Endpoints: f.Endpoints}, nil
					})
				}
				continue
			case errors.As(t.err, &f) && f.Code == frame.ErrTicket:
				l.pass = ""
				if l.signed { // a device has no ticket: its session has ended
					return nil, nil, &Refusal{Status: 401, Code: "sign-in", Text: f.Text}
				}
			case errors.As(t.err, &f) && f.Code == frame.ErrTooFast:
				next.Reset(hastyPause)
			}
			if final(t.err) {
				return nil, nil, t.err
			}
			if words := l.c.Explain(t.err); words != told && ctx.Err() == nil {
				told = words
				l.tell(ctx, Event{Err: t.err})
			}
		}
	}
}

func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// stay passes frames on for as long as the connection lasts, and says why it does not.
func (l *Line) stay(ctx context.Context, s *socket, early []*frame.Frame) error {
	// When the loop below has found it lost, the reading ends too.
	reading, cancel := context.WithCancel(ctx)
	lost := make(chan error, 1)
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	owned.Go(func() {
		for _, f := range early {
			if err := l.take(reading, f); err != nil {
				lost <- err
				return
			}
		}
		for {
			f, err := s.read(reading)
			if err == nil {
				err = l.take(reading, f)
			}
			if err != nil {
				lost <- err
				return
			}
		}
	})
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	watch := newWatch(s.remote)
	watch.was = s.local
	pinged, limit := time.Now(), lostAfter
	for {
		select {
		case err := <-lost:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		switch {
		case watch.awoke():
			s.beat() // the silence of sleep says nothing
			limit, pinged = probeWait, time.Time{}
		case watch.moved():
			return errMoved
		case s.silent() >= limit:
			return errSilent
		case s.silent() < watchEvery:
			limit = lostAfter
		}
		if time.Since(pinged) >= pingEvery {
			pinged = time.Now()
			if err := s.write(&frame.Frame{T: frame.TPing}); err != nil {
				return err
			}
		}
	}
}

var (
	errSilent = errors.New("the server is silent: connecting again")
	errMoved  = errors.New("this computer has another address: connecting again")
)

// take keeps what is about the connection, and passes frames on.
func (l *Line) take(ctx context.Context, f *frame.Frame) error {
	switch f.T {
	case frame.TWelcome, frame.TTicket:
		if f.Ticket != "" {
			l.pass, l.passed = f.Ticket, time.Now()
		}
		l.peers = f.Peers
		if f.T == frame.TTicket {
			return nil
		}
	case frame.TMoved:
		if at, err := socketOf(f.Endpoints); err == nil {
			l.last, l.pass, l.passed = at, f.Ticket, time.Now()
		}
		return refusedFrame{f}
	case frame.TError:
		if f.Code == frame.ErrTicket {
			l.pass = ""
			if l.signed {
				return &Refusal{Status: 401, Code: "sign-in", Text: f.Text}
			}
		}
		if f.Fatal || f.Code == frame.ErrTicket || f.Code == frame.ErrRoom {
			return refusedFrame{f}
		}
	}
	l.tell(ctx, Event{Frame: f})
	return ctx.Err()
}

// watch notices that the computer slept, or has another address on the way to a server.
type watch struct {
	remote netip.AddrPort
	was    netip.Addr
	at     time.Time
}

func newWatch(remote netip.AddrPort) *watch {
	w := &watch{remote: remote, at: time.Now()}
	if remote.IsValid() {
		w.was = Toward(remote)
	}
	return w
}

// moved reports whether the address is another than it was, once a change.
func (w *watch) moved() bool {
	if !w.remote.IsValid() {
		return false
	}
	is := Toward(w.remote)
	moved := is != w.was && is.IsValid()
	w.was = is
	return moved
}

// awoke reports whether the clock went on without this process. The monotonic clock
// of most systems stands still in sleep.
func (w *watch) awoke() bool {
	now := time.Now()
	awake, passed := now.Sub(w.at), now.Round(0).Sub(w.at.Round(0))
	w.at = now
	return passed-awake > slept || awake > watchEvery+slept
}

func (w *watch) changed() bool {
	moved, awoke := w.moved(), w.awoke()
	return moved || awoke
}
