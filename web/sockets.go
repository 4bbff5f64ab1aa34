// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/presence"
)

// Sockets is what WebSockets, and pages that open them, ask of the relay,
// which documents each.
type Sockets interface {
	ServeRoom(ctx context.Context, c carrier.Conn)
	ServeDevice(ctx context.Context, session chat.Session, d presence.Device, c carrier.Conn)
	OwnOrigin(origin string) bool
	Peers() []chat.Relay
}

// chatSocket is the WebSocket carrier of a room; the ticket in its first
// frame says whose, so pages of the other relays may open it too.
func (s *Server) chatSocket(w http.ResponseWriter, r *http.Request) {
	if !s.ownPage(r) && !s.opts.Relay.OwnOrigin(r.Header.Get("Origin")) {
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return
	}
	s.socket(w, r, "room", func(ctx context.Context, c carrier.Conn) { s.opts.Relay.ServeRoom(ctx, c) })
}

// ownPage says whether the request comes from a page of this server, or from a
// program, which names no origin. A proxy may have rewritten Host.
func (s *Server) ownPage(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && (strings.EqualFold(u.Host, r.Host) ||
		strings.EqualFold(u.Host, s.opts.Base.Host))
}

// socket upgrades a request whose origin was checked and serves it until it is over or
// the server goes away. A goroutine of its own does that: net/http's has grown
// a large stack in the TLS handshake, and holds on to the request.
func (s *Server) socket(
	w http.ResponseWriter, r *http.Request, kind string, serve func(context.Context, carrier.Conn),
) {
	if !s.open() {
		refuse(w, http.StatusServiceUnavailable, "shutdown", "The server goes away: connect again.")
		return
	}
	c, err := carrier.Upgrade(w, r, s.clientIP(r))
	if err != nil {
		s.sockets.Done()
		return // Upgrade has answered
	}
	socketsOpen.WithLabelValues(kind).Inc()
	go func() { // ends with the connection; Shutdown waits for it
		defer s.sockets.Done()
		defer socketsOpen.WithLabelValues(kind).Dec()
		defer c.Close("over")
		serve(s.ctx, c)
	}()
}

// open counts a WebSocket in; it reports false when the server goes away.
func (s *Server) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.sockets.Add(1)
	return true
}

// deskSocket makes this desk a device that can be rung.
func (s *Server) deskSocket(w http.ResponseWriter, r *http.Request) {
	who, ok := s.member(w, r)
	if !ok {
		return
	}
	// A cookie says who it is, so no other site may open it (RFC 6455 section 10.2).
	if !s.ownPage(r) {
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return
	}
	d := presence.Device{
		ID: deviceID(), Login: who.Login, Source: presence.Desk, IP: s.clientIP(r),
		Name: deviceName(r.UserAgent()), Connected: time.Now(),
	}
	s.socket(w, r, "device", func(ctx context.Context, c carrier.Conn) {
		s.opts.Relay.ServeDevice(ctx, who, d, c)
	})
}
