// SPDX-License-Identifier: GPL-3.0-or-later

// Package chatrelay is the relay: rooms in which people talk, rings on the
// devices of whom they want to reach, alarms when nobody answers, and the
// carriers that bring the frames in.
//
// A live room is owned by one goroutine; connections, devices, timers and
// alarms send to it. A message is first committed by its connection's own
// goroutine, so that the rooms share commits; the room then reads on from the
// store in the order of offsets. A frame is encoded once and put into the
// bounded queue of every connection. docs/protocol.md describes the frames.
package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/room"
	"github.com/chmail/chmail/presence"
)

// ErrClosed: the relay shuts down.
var ErrClosed = errors.New("the relay is shutting down")

// Presence is what the relay uses of a presence.Directory.
type Presence interface {
	Lookup(ctx context.Context, login string) (presence.Address, error)
	Connect(ctx context.Context, d presence.Device) error
	Disconnect(ctx context.Context, login, id string) error
	Devices(ctx context.Context, login string) ([]presence.Device, error)
	Grant(ctx context.Context, login string) (presence.Grant, error)
	GrantOf(ctx context.Context, login string) (presence.Grant, error)
	Hold(ctx context.Context, g presence.Grant) error
	Release(ctx context.Context, g presence.Grant) error
	Block(ctx context.Context, g presence.Grant) error
}

// Rooms is what the relay uses of a room.Store, which documents each.
type Rooms interface {
	Invite(ctx context.Context, token string) (room.Invite, error)
	Claim(ctx context.Context, token, claim string) (room.Invite, error)
	NewCode(ctx context.Context, token string) (string, room.Participant, error)
	ClaimWithCode(ctx context.Context, token, claim, code string) (room.Invite, error)
	ClaimAsGuest(ctx context.Context, token, claim, name string) (room.Invite, room.Participant, error)
	Participant(ctx context.Context, token, claim string) (room.Participant, room.Invite, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
	Info(ctx context.Context, roomID string) (room.Info, error)
	ByLogin(ctx context.Context, login string, limit int, before time.Time) ([]room.Summary, error)
	Reveal(ctx context.Context, participant int64) error
	Member(ctx context.Context, login, roomID string) (room.Participant, error)
	Append(ctx context.Context, roomID string, m room.Message) (room.Message, error)
	Messages(ctx context.Context, roomID string, after int64, limit int) ([]room.Message, error)
	Seen(ctx context.Context, roomID string, participant, offset int64) error
	SeenBy(ctx context.Context, roomID string) (map[int64]int64, error)
	PutAttempt(ctx context.Context, a room.Attempt) error
	Attempts(ctx context.Context, roomID string, limit int) ([]room.Attempt, error)
	OpenAttempts(ctx context.Context) ([]room.Attempt, error)
	WaitingFor(ctx context.Context, login string) ([]room.Attempt, error)
	AckWaiting(ctx context.Context, login, roomID string) error
	Tells(ctx context.Context, calleeLogin string) ([]room.Attempt, error)
	ClearTell(ctx context.Context, attemptID string) error
}

var (
	_ Rooms    = (*room.Store)(nil)
	_ Presence = presence.Directory(nil)
)

// Options are what New needs.
type Options struct {
	Host     string        // name of this relay host, in endpoints
	Bind     netip.Addr    // address of the granted UDP ports; not valid or unspecified: all
	WebBase  string        // origin of the pages, such as "https://chat.mall.example"
	Presence Presence      // may fail at any time: chats go on
	Rooms    Rooms         //
	Mailer   Mailer        // alarm mails, codes
	Rings    int           // of an attempt; 0: 3
	Interval time.Duration // between them; 0: 10 s
	PortIdle time.Duration // a granted port closes after it; 0: 2 min
	Key      []byte        // 32 octets, of which tickets' and QUIC's keys are derived
	StateDir string        // keeps the certificates; empty: in memory only
	BlockUDP bool          // WebSocket only
	Log      func(msg string, fields ...any)
}

// Relay is the relay of one host. Its methods may be called at the same time.
type Relay struct {
	opt       Options
	origin    string // of WebBase
	socketURL string // the WebSocket endpoint
	ticketKey []byte
	certs     *certs
	ports     *ports
	owned     sync.WaitGroup  // every goroutine of the relay
	ctx       context.Context // ends with Close
	stop      context.CancelFunc

	mu       sync.Mutex
	closed   bool
	halls    map[string]*hall              // live rooms
	calls    map[string]*hall              // attempt ID → room in which it rings
	devices  map[string]map[string]*device // login → device ID
	watchers map[string]map[*session]bool  // login → who shows its status
	sessions map[*outbox]bool              // all connections, for Shutdown
	alarms   map[alarmKey]time.Time        // when the last one was sent
}

// New starts a relay. Attempts that were under way when the process before
// ended become unanswered and raise their alarms.
func New(opt Options) (*Relay, error) {
	base, err := url.Parse(opt.WebBase)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("starting the relay: the web address %q is not http(s)://HOST", opt.WebBase)
	case opt.Presence == nil || opt.Rooms == nil || opt.Mailer == nil:
		return nil, errors.New("starting the relay: presence, rooms and a mailer are needed")
	case len(opt.Key) != 32:
		return nil, errors.New("starting the relay: its key is not 32 octets long")
	case opt.Rings < 0 || opt.Interval < 0 || opt.PortIdle < 0:
		return nil, errors.New("starting the relay: rings and times cannot be negative")
	}
	if opt.Rings == 0 {
		opt.Rings = 3
	}
	if opt.Interval == 0 {
		opt.Interval = 10 * time.Second
	}
	if opt.PortIdle == 0 {
		opt.PortIdle = 2 * time.Minute
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	if opt.Host == "" {
		opt.Host = base.Hostname()
	}
	// localhost may be ::1 to a browser, where nothing listens.
	if opt.Host == "localhost" && opt.Bind.IsLoopback() {
		opt.Host = opt.Bind.String()
	}
	opt.WebBase = strings.TrimSuffix(opt.WebBase, "/")
	r := &Relay{
		opt:       opt,
		origin:    base.Scheme + "://" + base.Host,
		socketURL: "ws" + strings.TrimPrefix(opt.WebBase, "http") + chatPath,
		halls:     map[string]*hall{},
		calls:     map[string]*hall{},
		devices:   map[string]map[string]*device{},
		watchers:  map[string]map[*session]bool{},
		sessions:  map[*outbox]bool{},
		alarms:    map[alarmKey]time.Time{},
	}
	reset, err := derive(opt.Key, "stateless reset")
	if err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	token, err := derive(opt.Key, "address token")
	if err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	if r.ticketKey, err = derive(opt.Key, "ticket"); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	if r.certs, err = openCerts(opt.Host, opt.StateDir, time.Now()); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	r.ports = &ports{r: r, resetKey: quic.StatelessResetKey(reset), tokenKey: quic.TokenGeneratorKey(token), open: map[int]*port{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.owned.Go(r.rotateCerts)
	if err := r.takeUp(); err != nil {
		r.Close()
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	return r, nil
}

func (r *Relay) rotateCerts() {
	tick := time.NewTicker(certRecheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.certs.rotate(time.Now()); err != nil {
				r.opt.Log("the relay's certificate", "reason", err.Error())
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// Shutdown tells everyone that the relay goes away, waits until they have
// been told or ctx ends, and closes it.
func (r *Relay) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	var boxes []*outbox
	for b := range r.sessions {
		boxes = append(boxes, b)
	}
	r.mu.Unlock()
	for _, b := range boxes {
		b.end(frame.ErrShutdown, "the relay goes away for a moment")
	}
	for _, b := range boxes {
		select {
		case <-b.done:
		case <-ctx.Done():
		}
	}
	r.stop()
	r.ports.close()
	done := make(chan struct{})
	go func() { r.owned.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shutting the relay down: %w", ctx.Err())
	}
}

// Close is Shutdown within a few seconds.
func (r *Relay) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*closeWait)
	defer cancel()
	return r.Shutdown(ctx)
}

// recovered is deferred by the goroutine of a connection: a panic ends that
// connection and nothing else.
func (r *Relay) recovered(what string) {
	if p := recover(); p != nil {
		panicsTotal.Inc()
		r.opt.Log("panic", "in", what, "reason", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// ownOrigin says whether a page of ours opens a carrier. Programs have none.
func (r *Relay) ownOrigin(origin string) bool {
	return origin == "" || strings.EqualFold(origin, r.origin)
}

// attach registers a connection's queue and starts its writer.
func (r *Relay) attach(c Conn, kind string) (*outbox, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.sessions) >= maxSessions {
		return nil, nil, ErrClosed
	}
	o := newOutbox()
	r.sessions[o] = true
	r.owned.Go(func() { o.write(c) })
	connections.WithLabelValues(c.Carrier(), kind).Inc()
	return o, func() {
		o.end("", "")
		o.wait(writeWait + closeWait)
		r.mu.Lock()
		delete(r.sessions, o)
		r.mu.Unlock()
		connections.WithLabelValues(c.Carrier(), kind).Dec()
	}, nil
}

// socketTaken says whether another program has the port.
func socketTaken(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES)
}
