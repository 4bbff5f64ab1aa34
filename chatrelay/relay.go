// SPDX-License-Identifier: GPL-3.0-or-later

// Package chatrelay is the relay: it keeps the live rooms, rings the devices of
// a person who is called, sends an alarm when nobody answers, and takes the
// frames that the carriers bring in.
//
// A live room runs one function at a time. Connections, devices, timers and
// alarms post these functions to the room's queue. The goroutine of a connection
// commits a message to the store first, so that the rooms share commits; the
// room then reads the messages from the store in the order of offsets. A frame
// is encoded once and put into the bounded queue of every connection.
// docs/protocol.md describes the frames.
//
// Relays that share a PostgreSQL serve each room at one of them (home.go), and
// tell each other of rings and of who comes and goes (bus.go).
package chatrelay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/cluster"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/chatrelay/transcript"
	"github.com/chmail/chmail/guard/reputation"
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

// Store is what the relay, and the packages that work for it, use of a
// store.Store, which documents each method. Each part stands beside its user.
type Store interface {
	EntryStore
	TalkStore
	AccessStore
	TeamStore
	WriterStore
	MessageStore
	AttemptStore
	SettingsStore
	SessionRooms
	TranscriptStore
	UnreadStore
	notify.Store
	files.Rooms
	transcript.Store
	cluster.Store
	Shared() bool
}

var _ Presence = presence.Directory(nil)

// Options are what New needs.
type Options struct {
	Host string // name of this relay host, as in presence
	// Binds are the addresses of the granted UDP ports by host name; "" stands
	// for any other host, and an unspecified address for all addresses.
	Binds    map[string]netip.Addr
	WebBase  string              // origin of the pages, such as "https://chat.mall.example"
	Socket   string              // this relay's WebSocket endpoint; empty: that of WebBase
	Bus      cluster.Bus         // to the relays that share the store; may be nil
	Presence Presence            // may fail at any time: chats go on
	Rooms    Store               // the conversations
	Mailer   notify.Mailer       // takes the mails that the relay writes
	Rings    int                 // of an attempt; 0: 3
	Interval time.Duration       // between them; 0: 10 s
	PortIdle time.Duration       // a granted port closes after it; 0: 2 min
	Key      []byte              // 32 octets, of which tickets' and QUIC's keys are derived
	StateDir string              // keeps the certificates; empty: in memory only
	BlockUDP bool                // WebSocket only
	Direct   bool                // people may talk past the server
	Groups   map[string][]string // address → logins that share its rings
	Push     *notify.PushOptions // notifications of browsers; nil: none
	Webhooks []notify.Webhook    // told of alarms
	Log      *slog.Logger        // nil: nothing is logged
	// Reputation is told of who rings or writes too much; nil: nobody is.
	Reputation *reputation.Table

	// Submit takes mails that people write at the desk, as mail that the login
	// submitted: it is stamped. nil: nobody can write any.
	Submit func(ctx context.Context, l chat.Letter) error

	// SignedOut is told of a login all of whose sessions end, also when they end at
	// another relay; nil: nobody is.
	SignedOut func(login string)

	// Exists reports whether a login has an account; nil: that is not known.
	Exists func(ctx context.Context, login string) (bool, error)

	Files    string // folder of people's files, shared by relays that share the store; empty: no files
	MaxFile  int64  // octets of one; 0: 25 MiB
	MaxRoom  int64  // octets of a room's files; 0: 500 MiB
	MaxFiles int64  // octets of this relay's files; 0: 20 GiB

	Replies string        // mail domain of the addresses at which transcripts are answered; empty: none can be
	LeftFor time.Duration // everybody has left for so long: a transcript goes out; 0: transcript.DefaultLeftFor
	Silence time.Duration // or nothing was said for so long; 0: chat.Silence
	// UnreadAfter is how long words may be unread before those who have left get them by mail; 0:
	// transcript.DefaultUnreadAfter; less: they never do.
	UnreadAfter time.Duration
	// UsualTranscript is what a member wants of all rooms, where they have said
	// nothing in one; may be nil.
	UsualTranscript func(ctx context.Context, login string) (w chat.TranscriptPreference, known bool)
}

// Relay is the relay of one host. Its methods may be called at the same time.
type Relay struct {
	opt         Options
	log         *slog.Logger
	origin      string // of WebBase
	cluster     *cluster.Cluster
	notifier    *notify.Notifier
	files       *files.Service // nil: no files are kept
	transcripts *transcript.Sender
	postman     *transcript.Postman
	answers     transcript.Answers
	ticketKey   seal.Key
	// Of the direct way.
	ticketSigner ed25519.PrivateKey
	wordsKey     seal.Key
	ports        *carrier.Ports
	owned        sync.WaitGroup  // every goroutine of the relay
	work         gate            // jobs of rooms under way
	tended       int             // heartbeats after which it was tended, the cluster's
	ctx          context.Context // ends with Close
	stop         context.CancelFunc

	mu           sync.Mutex
	closed       bool
	rooms        map[string]*liveRoom // live rooms
	calls        map[string]*liveRoom // attempt ID → room in which it rings
	devices      *devices
	programs     map[string]*program // login → what lets people in on their own computer
	groups       groups
	heard        atomic.Pointer[func(Event)]  // of OnEvent
	watchers     map[string]map[*session]bool // login → who shows its status
	limiters     limiters
	sessions     map[*carrier.Queue]chat.Session // all connections, with the session of those of the desk
	chats        *activeChats
	news         *roomNews
	statusTimers map[string]*time.Timer // login → when its availability changes by itself
	turned       atomic.Int64           // how often somebody's availability changed
	attendedFor  time.Duration          // the constant, but in tests
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
	if opt.UnreadAfter == 0 {
		opt.UnreadAfter = transcript.DefaultUnreadAfter
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Host == "" {
		opt.Host = base.Hostname()
	}
	opt.WebBase = strings.TrimSuffix(opt.WebBase, "/")
	if opt.Socket == "" {
		opt.Socket = "ws" + strings.TrimPrefix(opt.WebBase, "http") + carrier.Path
	}
	r := &Relay{
		opt:          opt,
		log:          opt.Log,
		origin:       base.Scheme + "://" + base.Host,
		rooms:        map[string]*liveRoom{},
		calls:        map[string]*liveRoom{},
		devices:      newDevices(),
		programs:     map[string]*program{},
		watchers:     map[string]map[*session]bool{},
		sessions:     map[*carrier.Queue]chat.Session{},
		statusTimers: map[string]*time.Timer{},
		limiters:     newLimiters(),
		attendedFor:  attendedFor,
	}
	r.news = newNews()
	r.cluster = cluster.New(r.clusterOptions())
	r.chats = newActiveChats(func(relay string) bool {
		_, alive := r.cluster.Peer(relay)
		return alive
	})
	if r.ticketKey, err = derive(opt.Key, "ticket"); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	if r.ticketSigner, r.wordsKey, err = r.directKeys(); err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	if err := r.openPorts(); err != nil {
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
	for _, start := range []func() error{r.startFiles, r.startNotifier, r.startTranscripts,
		r.startPostman} {
		if err := start(); err != nil {
			return err
		}
	}
	if err := r.SetGroups(r.ctx, "", r.opt.Groups); err != nil {
		return err
	}
	r.owned.Go(r.waits)
	r.owned.Go(r.tellNews)
	if err := r.cluster.Start(); err != nil {
		return err
	}
	r.opt.Rooms.OnMail(r.mailed)
	r.opt.Rooms.OnAccess(r.accessChanged)
	r.takeUp()
	return nil
}

// announce makes a message appear that was put into a room without a connection
// to it, wherever the room is served.
func (r *Relay) announce(roomID string) {
	r.deliver(note{T: noteMail, Room: roomID})
	r.publish("", note{T: noteMail, Room: roomID})
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

// Direct says whether people may talk past the server.
func (r *Relay) Direct() bool { return r.opt.Direct }

// Secret is a key of 32 octets for another purpose, the same at every relay
// that shares the store.
func (r *Relay) Secret(purpose string) ([]byte, error) { return derive(r.opt.Key, purpose) }

// Shutdown tells everyone that the relay goes away, waits a moment until they
// have been told, and closes it.
func (r *Relay) Shutdown(ctx context.Context) error {
	r.Drain(ctx)
	r.mu.Lock()
	r.closed = true
	var boxes []*carrier.Queue
	for b := range r.sessions {
		boxes = append(boxes, b)
	}
	r.mu.Unlock()
	for _, b := range boxes {
		b.End(frame.ErrShutdown, "the relay goes away for a moment")
	}
	bye, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	for _, b := range boxes {
		select {
		case <-b.Done():
		case <-bye.Done(): // who does not read by then is cut off below
		}
	}
	r.stop()
	bye, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	r.cluster.Close(bye)
	if err := r.ports.Close(ctx); err != nil {
		r.log.Warn("shutting down", "err", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.files.Close()
		r.notifier.Close()
		r.transcripts.Close()
		r.postman.Close()
		r.work.close()
		r.owned.Wait()
	}()
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

// OwnOrigin says whether a page of ours, or of a relay that shares the store,
// opens a carrier. Programs have none.
func (r *Relay) OwnOrigin(origin string) bool {
	if origin == "" || strings.EqualFold(origin, r.origin) {
		return true
	}
	return r.cluster.Origin(origin) // the page may be of a relay that has died
}

// attach registers a connection's queue and starts its writer.
func (r *Relay) attach(c carrier.Conn, kind string) (*carrier.Queue, func(), error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.sessions) >= maxSessions {
		return nil, nil, ErrClosed
	}
	o := carrier.NewQueue(c, r.log)
	r.sessions[o] = chat.Session{}
	connections.WithLabelValues(c.Carrier(), kind).Inc()
	return o, func() {
		o.End("", "")
		o.Wait()
		r.mu.Lock()
		delete(r.sessions, o)
		r.mu.Unlock()
		connections.WithLabelValues(c.Carrier(), kind).Dec()
	}, nil
}
