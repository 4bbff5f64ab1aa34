// SPDX-License-Identifier: GPL-3.0-or-later

// Package web is the web server: the pages behind chat links, the desk, and
// the WebSocket carrier for networks that block UDP.
//
// Server is an http.Handler and the listeners it is served on. A GET never
// changes anything and sets no cookie, because scanners follow links; every
// change is a POST of JSON from the same origin. Pages are one HTML
// shell with a card that reads without JavaScript, and data for the script.
// The relay does the work: this package checks, limits and translates.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/pass"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/work"
	"github.com/chmail/chmail/internal/assets"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/presence"
)

// Limits and timeouts.
const (
	headerTimeout = 10 * time.Second // until a request's header has come
	readTimeout   = 20 * time.Second // until its body has come
	writeTimeout  = 30 * time.Second // until its answer has gone; longer than the longest wait of a handler
	idleTimeout   = 2 * time.Minute  // between requests of a connection
	workTimeout   = 10 * time.Second // what a request may ask of the relay
	signInTimeout = 25 * time.Second // what a password may take, with the time that a refusal takes
	renewTimeout  = 50 * time.Millisecond
	linger        = 3 * time.Second // how long Shutdown waits for requests and WebSockets to end

	maxHeader      = 16 << 10 // octets
	minZipped      = 1 << 10  // octets of an answer's JSON, from which on it is compressed
	maxBody        = 4 << 10  // octets; beyond it 413
	MaxLanding     = 64 << 10 // octets of the landing page's data
	maxConns       = 16384    // connections, WebSockets among them; further ones are closed
	maxConnsPrefix = 512      // of one client prefix; further ones are closed
	maxGuest       = 64       // characters of a guest's name; cut
	maxTracked     = 16384    // prefixes, links or logins in one table; the least recent is forgotten
	maxRooms       = 100      // rooms in one answer

	nonceTTL    = 12 * time.Hour
	sessionIdle = 30 * 24 * time.Hour  // a session ends when unused for so long
	sessionLife = 180 * 24 * time.Hour // and after this anyhow
	claimTTL    = 365 * 24 * time.Hour

	downRetry = 2 * time.Second // Retry-After while there is no relay
)

// Relay is what this package uses of a chatrelay.Relay, grouped by purpose.
type Relay interface {
	Links         // chat.go
	Sockets       // sockets.go
	Sessions      // session.go
	Conversations // desk.go
	Preferences   // settings.go
	Team          // team.go
	Programs      // codes.go
}

var _ Relay = (*chatrelay.Relay)(nil)

// Presence is what a sign-in renews; presence.Directory has it.
type Presence interface {
	Renew(ctx context.Context, a presence.Address) error
}

// Options are what New needs.
type Options struct {
	Base     *url.URL // what people type: "https://chat.mall.example"
	Relay    Relay    // nil: it comes later, with Open
	SignIns  SignIns
	Accounts Accounts // nil: nobody changes a password at the desk
	Mail     Mail     // nil: nobody forwards or sorts their mail at the desk
	Presence Presence // nil: sign-ins renew nothing
	Key      []byte   // of Open, where Relay is given
	// RelayHosts are the hosts to whose UDP ports a page may connect, besides the
	// host of Base.
	RelayHosts     []string
	Guests         bool              // whether others than a link's recipient may come in as guests
	TrustedProxies limit.Proxies     // whose X-Forwarded-For is believed
	Reputation     *reputation.Table // nil: everybody is met alike
	// Landing returns the data of the demo's landing page. When it is nil or returns
	// nil, the server shows the landing page of a real installation.
	Landing      func() (json.RawMessage, error)
	MailPrograms *MailPrograms // nil: nobody is told how to set up a mail program
	// Downloads is the folder that make dist has filled, for /download; empty: nothing is
	// offered.
	Downloads    string
	Registration *Registration // nil: nobody makes a login here
	// Challenge answers an authority that proves a name of this machine over HTTP (ACME), and
	// says whether the request was from one; nil: none asks.
	Challenge func(http.ResponseWriter, *http.Request) bool
	// MailPolicy is the MTA-STS policy of a domain, or "" where it has none; nil: none has.
	MailPolicy func(domain string) string
	Assets     fs.FS        // instead of the embedded ones, for tests
	Log        *slog.Logger // nil: nothing is logged
}

// Server is the web server. Its methods may be called at the same time.
type Server struct {
	opts   Options
	log    *slog.Logger
	https  bool
	limits limits
	keys   struct{ nonce, session, mine, pass, setup, invite seal.Key }
	work   *work.Desk
	assets *assets.Set
	// cardStyle is card.css, which each page has within it.
	cardStyle template.CSS
	cross     *http.CrossOriginProtection
	handler   atomic.Pointer[http.Handler] // before Open: downRoutes
	http      *http.Server
	redirects *http.Server // of plain HTTP

	ctx     context.Context // ends the WebSockets
	cancel  context.CancelFunc
	mu      sync.Mutex
	closing bool
	h3      map[int]*http3.Server // by port
	sockets sync.WaitGroup
	streams carrier.Streams
}

// New checks the options and builds the server; it listens on nothing yet.
func New(opts Options) (*Server, error) {
	switch {
	case opts.Base == nil || opts.Base.Host == "" || opts.Base.Scheme != "https" && opts.Base.Scheme != "http":
		return nil, errors.New("web: base is not an http or https address")
	case opts.SignIns == nil:
		return nil, errors.New("web: nothing authenticates")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Assets == nil {
		opts.Assets = embedded()
	}
	s := &Server{
		opts:   opts,
		log:    opts.Log,
		https:  opts.Base.Scheme == "https",
		limits: newLimits(),
		cross:  http.NewCrossOriginProtection(),
	}
	var err error
	if s.assets, err = assets.Load(opts.Assets, neededAssets()...); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	card, err := fs.ReadFile(opts.Assets, "card.css")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	s.cardStyle = template.CSS(card)
	// A proxy may rewrite Host; what people see in the address bar is Base.
	if err := s.cross.AddTrustedOrigin(opts.Base.Scheme + "://" + opts.Base.Host); err != nil {
		return nil, fmt.Errorf("web: base: %w", err)
	}
	s.h3 = make(map[int]*http3.Server)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	server := func(h http.Handler) *http.Server {
		return &http.Server{
			Handler:           h,
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelInfo), // such as failed TLS handshakes
		}
	}
	s.http, s.redirects = server(s), server(http.HandlerFunc(s.redirect))
	down := s.outer(s.downRoutes(), nil)
	s.handler.Store(&down)
	if opts.Relay != nil {
		if err := s.Open(opts.Relay, opts.Key); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Open gives the server its relay and a key of 32 octets, kept over restarts,
// that seals sessions and nonces. Before it the server answers 503.
func (s *Server) Open(relay Relay, key []byte) error {
	if len(key) != 32 {
		return fmt.Errorf("web: the key has %d octets instead of 32", len(key))
	}
	var err error
	var workKey seal.Key
	for purpose, derived := range map[string]*seal.Key{
		"nonce": &s.keys.nonce, "session": &s.keys.session, "mine": &s.keys.mine,
		"setup": &s.keys.setup, "invite": &s.keys.invite, "work": &workKey} {
		if *derived, err = seal.Derive(key, "chmail web "+purpose); err != nil {
			return fmt.Errorf("web: deriving a key: %w", err)
		}
	}
	s.work = work.New(workKey)
	if s.keys.pass, err = relay.Secret(pass.Purpose); err != nil {
		return fmt.Errorf("web: the key of passes: %w", err)
	}
	s.opts.Relay = relay
	open := s.outer(s.routes(), relay)
	s.handler.Store(&open) // whoever loads it sees what was set before
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.challenge(w, r) {
		(*s.handler.Load()).ServeHTTP(w, r)
	}
}

// downRoutes are there while the relay is not: the offline page, assets, and
// 503 for everything else.
func (s *Server) downRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /offline", s.offlinePage)
	mux.HandleFunc("GET /.well-known/mta-sts.txt", s.mailPolicy)
	for path := range s.assets.Paths() {
		mux.HandleFunc("GET "+path, s.asset)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		retryAfter(w, downRetry)
		if r.Method == http.MethodGet && !isSocket(r) {
			s.plainPage(w, r, http.StatusServiceUnavailable, "down")
			return
		}
		refuse(w, http.StatusServiceUnavailable, "unavailable", "Not possible at the moment: try again soon.")
	})
	return mux
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.landing)
	mux.HandleFunc("GET /c/{token}", s.chatPage)
	mux.HandleFunc("GET /c/{token}/state", s.chatState)
	mux.HandleFunc("POST /c/{token}/chat", s.chat)
	mux.HandleFunc("POST /c/{token}/ticket", s.ticket)
	mux.HandleFunc("POST /c/{token}/code", s.code)
	mux.HandleFunc("POST /c/{token}/after", s.after)
	mux.HandleFunc("GET /c/{token}/stop", s.askStop)
	mux.HandleFunc("POST /c/{token}/stop", s.stopUnread)
	mux.HandleFunc("GET /chat", s.chatSocket)
	mux.HandleFunc("POST /mishap", s.mishap)
	mux.HandleFunc("GET /chat/stream", s.chatStream)
	mux.HandleFunc("POST /chat/stream", s.chatPost)
	mux.HandleFunc("POST /chat/gone", s.chatGone)
	mux.HandleFunc("GET /desk", s.deskPage)
	mux.HandleFunc("GET /desk/me", s.me)
	mux.HandleFunc("GET /desk/address", s.address)
	mux.HandleFunc("GET /offline", s.offlinePage)
	mux.HandleFunc("GET /.well-known/mta-sts.txt", s.mailPolicy)
	mux.HandleFunc("GET /download", s.downloadPage)
	mux.HandleFunc("GET /download/{file}", s.download)
	mux.HandleFunc("POST /register", s.register)
	mux.HandleFunc("GET /setup", s.setupPage)
	mux.HandleFunc("POST /desk/sign-in", s.signIn)
	mux.HandleFunc("POST /desk/token", s.deviceToken)
	mux.HandleFunc("POST /desk/sign-out", s.signOut)
	mux.HandleFunc("POST /desk/sign-out/everywhere", s.signOutEverywhere)
	mux.HandleFunc("POST /desk/rooms/{room}/ticket", s.roomTicket)
	mux.HandleFunc("GET /desk/ws", s.deskSocket)
	mux.HandleFunc("GET /desk/ws/stream", s.deskStream)
	mux.HandleFunc("POST /desk/ws/stream", s.post)
	s.fileRoutes(mux)
	s.preferenceRoutes(mux)
	s.teamRoutes(mux)
	s.accountRoutes(mux)
	s.mailRoutes(mux)
	s.clientRoutes(mux)
	for path := range s.assets.Paths() {
		mux.HandleFunc("GET "+path, s.asset)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if reputation.ProbedPath(r.URL.Path) {
			s.fault(r, reputation.Probe)
		}
		s.plainPage(w, r, http.StatusNotFound, "missing")
	})
	return mux
}
