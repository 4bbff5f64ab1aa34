// SPDX-License-Identifier: GPL-3.0-or-later

// Package chatrelay is the relay: rooms in which people talk, rings on the
// devices of whom they want to reach, alarms when nobody answers, and the
// carriers that bring the frames in.
//
// A live room runs one step at a time; connections, devices, timers and
// alarms bring them. A message is first committed by its connection's own
// goroutine, so that the rooms share commits; the room then reads on from the
// store in the order of offsets. A frame is encoded once and put into the
// bounded queue of every connection. docs/protocol.md describes the frames.
//
// Relays that share a PostgreSQL serve each room at one of them (home.go), and
// tell each other of rings and of who comes and goes (bus.go).
package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/cluster"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/seal"
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
	Leave(ctx context.Context) error
}

// Rooms is what the relay uses of a store.Store, which documents each.
type Rooms interface {
	Invite(ctx context.Context, token string) (chat.Invite, error)
	Claim(ctx context.Context, token, claim string) (chat.Invite, error)
	NewCode(ctx context.Context, token string) (string, chat.Participant, error)
	ClaimWithCode(ctx context.Context, token, claim, code string) (chat.Invite, error)
	ClaimAsGuest(ctx context.Context, token, claim, name string) (chat.Invite, chat.Participant, error)
	Participant(ctx context.Context, token, claim string) (chat.Participant, chat.Invite, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
	Info(ctx context.Context, roomID string) (chat.Info, error)
	ByLogin(ctx context.Context, login string, limit int, before time.Time) ([]chat.Summary, error)
	Reveal(ctx context.Context, participant int64) error
	Member(ctx context.Context, login, roomID string) (chat.Participant, error)
	Append(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
	AppendThen(ctx context.Context, home, roomID string, m chat.Message, then func(chat.Message, error))
	Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error)
	Seen(ctx context.Context, home, roomID string, participant, offset int64) error
	SeenBy(ctx context.Context, roomID string) (map[int64]int64, error)
	PutAttempt(ctx context.Context, a chat.Attempt) error
	Attempts(ctx context.Context, roomID string, limit int) ([]chat.Attempt, error)
	OpenAttempts(ctx context.Context, relay string) ([]chat.Attempt, error)
	WaitingFor(ctx context.Context, login string) ([]chat.Attempt, error)
	AckWaiting(ctx context.Context, login, roomID string) error
	Tells(ctx context.Context, calleeLogin string) ([]chat.Attempt, error)
	ClearTell(ctx context.Context, attemptID string) error
	LineRooms
	TalkRooms
	SessionRooms
	OnMail(f func(roomID string))
	Shared() bool
	cluster.Store
}

var _ Presence = presence.Directory(nil)

// Options are what New needs.
type Options struct {
	Host     string                // name of this relay host, as in presence
	Binds    map[string]netip.Addr // addresses of the granted UDP ports by host name, "" for any other; unspecified: all
	WebBase  string                // origin of the pages, such as "https://chat.mall.example"
	Socket   string                // this relay's WebSocket endpoint; empty: that of WebBase
	Bus      cluster.Bus           // to the relays that share the store; may be nil
	Presence Presence              // may fail at any time: chats go on
	Rooms    Rooms                 //
	Mailer   Mailer                // alarm mails, codes
	Rings    int                   // of an attempt; 0: 3
	Interval time.Duration         // between them; 0: 10 s
	PortIdle time.Duration         // a granted port closes after it; 0: 2 min
	Key      []byte                // 32 octets, of which tickets' and QUIC's keys are derived
	StateDir string                // keeps the certificates; empty: in memory only
	BlockUDP bool                  // WebSocket only
	Groups   map[string][]string   // address → logins that share its rings
	Push     *PushOptions          // notifications of browsers; nil: none
	Webhooks []Webhook             // told of alarms
	Log      *slog.Logger          // nil: nothing is logged
	TalkOptions
}

// Relay is the relay of one host. Its methods may be called at the same time.
type Relay struct {
	opt       Options
	log       *slog.Logger
	origin    string // of WebBase
	cluster   *cluster.Cluster
	talks     *talks
	ticketKey seal.Key
	certs     *certs
	ports     *ports
	owned     sync.WaitGroup  // every goroutine of the relay
	work      gate            // steps of rooms under way
	tended    int             // heartbeats after which it was tended, the cluster's
	ctx       context.Context // ends with Close
	stop      context.CancelFunc

	mu           sync.Mutex
	closed       bool
	rooms        map[string]*liveRoom          // live rooms
	calls        map[string]*liveRoom          // attempt ID → room in which it rings
	devices      map[string]map[string]*device // login → device ID
	watchers     map[string]map[*session]bool  // login → who shows its status
	limiters     limiters
	sessions     map[*outbox]chat.Session // all connections, with the session of those of the desk
	chats        *activeChats
	statusTimers map[string]*time.Timer // login → when its availability changes by itself
	alerts       *alerts
	turned       atomic.Int64      // how often somebody's availability changed
	rung         map[string]ringer // attempts with which another relay rings
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
	opt.Groups = foldGroups(opt.Groups)
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Host == "" {
		opt.Host = base.Hostname()
	}
	opt.WebBase = strings.TrimSuffix(opt.WebBase, "/")
	if opt.Socket == "" {
		opt.Socket = "ws" + strings.TrimPrefix(opt.WebBase, "http") + chatPath
	}
	r := &Relay{
		opt:          opt,
		log:          opt.Log,
		origin:       base.Scheme + "://" + base.Host,
		rooms:        map[string]*liveRoom{},
		calls:        map[string]*liveRoom{},
		devices:      map[string]map[string]*device{},
		watchers:     map[string]map[*session]bool{},
		sessions:     map[*outbox]chat.Session{},
		statusTimers: map[string]*time.Timer{},
		limiters:     newLimiters(),
		rung:         map[string]ringer{},
	}
	r.cluster = cluster.New(r.clusterOptions())
	r.chats = newActiveChats(func(relay string) bool {
		_, alive := r.cluster.Peer(relay)
		return alive
	})
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
	if r.certs, err = openCerts(r.reach(opt.Host), opt.StateDir, time.Now()); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	r.ports = &ports{r: r, resetKey: quic.StatelessResetKey(reset), tokenKey: quic.TokenGeneratorKey(token), open: map[spot]*port{}}
	if err := r.openTalk(); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if err := r.start(); err != nil {
		r.Close()
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	return r, nil
}

func (r *Relay) start() error {
	r.owned.Go(r.rotateCerts)
	r.owned.Go(r.runTalk)
	if err := r.openAlerts(); err != nil {
		return err
	}
	if err := r.opt.Rooms.SetGroups(r.ctx, r.opt.Groups); err != nil {
		return err
	}
	r.owned.Go(r.waits)
	if err := r.cluster.Start(); err != nil {
		return err
	}
	r.opt.Rooms.OnMail(func(roomID string) {
		r.deliver(note{T: noteMail, Room: roomID})
		r.publish("", note{T: noteMail, Room: roomID})
	})
	r.takeUp()
	return nil
}

// clusterOptions make this relay one of several, where others share the store.
func (r *Relay) clusterOptions() cluster.Options {
	o := cluster.Options{
		Self:   chat.Relay{Name: r.opt.Host, Origin: r.origin, Socket: r.opt.Socket},
		Vacant: ticketLife, InUse: r.isLive, Receive: r.receive, Answer: r.answer,
		Tend: r.tend, Fenced: r.fenced, Rejoined: r.checkHomes, Log: r.log,
	}
	if r.opt.Rooms.Shared() {
		o.Store, o.Bus = r.opt.Rooms, r.opt.Bus
	}
	return o
}

// Peers are the other relays that are alive.
func (r *Relay) Peers() []chat.Relay { return r.cluster.Peers() }

// Secret is a key of 32 octets for another purpose, the same at every relay
// that shares the store.
func (r *Relay) Secret(purpose string) ([]byte, error) { return derive(r.opt.Key, purpose) }

func (r *Relay) rotateCerts() {
	tick := time.NewTicker(certRecheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.certs.rotate(time.Now()); err != nil {
				r.log.Warn("the relay's certificate", "err", err)
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// Shutdown tells everyone that the relay goes away, waits a moment until they
// have been told, and closes it.
func (r *Relay) Shutdown(ctx context.Context) error {
	r.Drain(ctx)
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
	bye, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	for _, b := range boxes {
		select {
		case <-b.done:
		case <-bye.Done(): // who does not read by then is cut off below
		}
	}
	r.stop()
	bye, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	r.cluster.Close(bye)
	r.ports.close()
	done := make(chan struct{})
	go func() { r.work.close(); r.owned.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shutting the relay down: %w", ctx.Err())
	}
}

// Close is Shutdown within a few seconds.
func (r *Relay) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*closeWait)
	defer cancel()
	return r.Shutdown(ctx)
}

// failed logs what presence could not do, unless it does not answer at all:
// that it says itself, once.
func (r *Relay) failed(doing string, err error, fields ...any) {
	if !errors.Is(err, presence.ErrUnavailable) {
		r.log.Warn(doing, append(fields, "err", err)...)
	}
}

// recovered is deferred by the goroutine of a connection: a panic ends that
// connection and nothing else.
func (r *Relay) recovered(what string) {
	if p := recover(); p != nil {
		panicsTotal.Inc()
		r.log.Warn("panic", "in", what, "reason", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// OwnOrigin says whether a page of ours, or of a relay that shares the store,
// opens a carrier. Programs have none.
func (r *Relay) OwnOrigin(origin string) bool {
	if origin == "" || strings.EqualFold(origin, r.origin) {
		return true
	}
	return r.cluster.Origin(origin) // the page may be of a relay that has died
}

// attach registers a connection's queue and starts its writer.
func (r *Relay) attach(c Conn, kind string) (*outbox, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.sessions) >= maxSessions {
		return nil, nil, ErrClosed
	}
	o := newOutbox()
	r.sessions[o] = chat.Session{}
	o.write(c)
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
