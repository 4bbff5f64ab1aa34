// SPDX-License-Identifier: GPL-3.0-or-later

// Package site is the mall's web server: the pages of customers and hosts, the API,
// and what stands on the pages of shops elsewhere.
//
// Pages are html/template in the reader's language and work without script, but for
// the chat. A GET changes nothing; a change is a form posted from the same origin,
// or a call of the API with its key. A file a subject, with its routes at the top;
// templates/SUBJECT.html has its pages.
package site

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/work"
	"github.com/chmail/chmail/internal/assets"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/advert"
	"github.com/chmail/chmail/mall/publicity"
	"github.com/chmail/chmail/mall/store"
)

// Limits and timeouts.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second // until a request's body has come
	writeTimeout  = 60 * time.Second // until its answer has gone
	idleTimeout   = 2 * time.Minute
	linger        = 3 * time.Second // how long Shutdown waits for requests under way

	maxHeader      = 16 << 10 // octets
	maxForm        = 96 << 10 // octets of a form without files
	maxConns       = 16384    // connections; further ones are closed
	maxConnsPrefix = 512      // of one client prefix
)

// The bundles are made from web/ui by `make build`.
//
//go:embed assets/*
var assetFiles embed.FS

// Options are what New needs.
type Options struct {
	TrustedProxies limit.Proxies // whose X-Forwarded-For is believed
	Assets         fs.FS         // instead of the embedded ones, for tests
	Log            *slog.Logger  // nil: nothing is logged
}

// Server is the mall's web server. Its methods may be called at the same time.
type Server struct {
	opts    Options
	log     *slog.Logger
	assets  *assets.Set
	cross   *http.CrossOriginProtection
	limits  limits
	work    *work.Desk                   // set by Open
	handler atomic.Pointer[http.Handler] // nil before Open
	http    *http.Server

	// Set by Open.
	mall      *mall.Mall
	store     *store.Store
	https     bool
	publicity *publicity.Publicity // nil: campaigns are not sent from here
	adverts   *advert.Adverts      // nil: there are none
	keys      keys
}

// New builds the server; it listens on nothing yet. Before Open it answers 503.
func New(opts Options) (*Server, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Assets == nil {
		sub, err := fs.Sub(assetFiles, "assets")
		if err != nil { // "assets" is a valid path
			panic(err)
		}
		opts.Assets = sub
	}
	s := &Server{opts: opts, log: opts.Log, limits: newLimits(), cross: http.NewCrossOriginProtection()}
	needed := []string{"mall.css"}
	for _, lang := range words.Languages {
		needed = append(needed, "mall."+lang+".js")
	}
	var err error
	if s.assets, err = assets.Load(opts.Assets, needed...); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelInfo), // such as failed TLS handshakes
	}
	return s, nil
}

// Open gives the server its mall.
func (s *Server) Open(m *mall.Mall) error {
	base := m.Base()
	s.mall, s.store, s.https = m, m.Store(), base.Scheme == "https"
	var err error
	if s.keys, err = newKeys(m); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	s.work = work.New(s.keys.work)
	// A proxy may rewrite Host; what people see in the address bar is the base.
	if err := s.cross.AddTrustedOrigin(origin(base)); err != nil {
		return fmt.Errorf("site: base: %w", err)
	}
	open := s.outer(s.routes())
	s.handler.Store(&open) // whoever loads it sees what was set before
	return nil
}

// routes are those of all subjects.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.catalogueRoutes(mux)
	s.memberRoutes(mux)
	s.accountRoutes(mux)
	s.passkeyRoutes(mux)
	s.publicityRoutes(mux)
	s.advertRoutes(mux)
	s.talkRoutes(mux)
	s.orderRoutes(mux)
	s.consoleRoutes(mux)
	s.apiRoutes(mux)
	for path := range s.assets.Paths() {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if !s.assets.Serve(w, r) {
				s.missing(w, r)
			}
		})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /", s.missing)
	return mux
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if open := s.handler.Load(); open != nil {
		(*open).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Retry-After", "2")
	http.Error(w, words.In(r.Header.Get("Accept-Language")).Say("mall.down.what"), http.StatusServiceUnavailable)
}

// Serve answers on l, which brings TLS along where there is any, until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	doors := &limit.Conns{Total: maxConns, PerPrefix: maxConnsPrefix,
		Free: func(ip netip.Addr) bool { return ip.IsLoopback() || s.opts.TrustedProxies.Trusts(ip) }}
	if err := s.http.Serve(doors.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the mall: %w", err)
	}
	return nil
}

// Shutdown stops listening and waits for requests under way, but not for long.
func (s *Server) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("shutting the mall down: %w", errors.Join(err, s.http.Close()))
	}
	return nil
}

// clientIP is who asks.
func (s *Server) clientIP(r *http.Request) netip.Addr { return s.opts.TrustedProxies.Client(r) }
