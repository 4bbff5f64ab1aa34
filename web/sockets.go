// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"io"
	"net/http"
	"net/netip"
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
	Gone(ticket string)
	Peers() []chat.Relay
	Direct() bool
	AddressProof(login string, from netip.Addr) string
}

// chatSocket is the WebSocket carrier of a room; the ticket in its first
// frame says whose, so pages of the other relays may open it too.
func (s *Server) chatSocket(w http.ResponseWriter, r *http.Request) {
	if !s.ownPage(r) && !s.opts.Relay.OwnOrigin(r.Header.Get("Origin")) {
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return
	}
	s.socket(w, r, "room", s.opts.Relay.ServeRoom)
}

// chatStream is the HTTP carrier of a room: where neither UDP nor WebSockets get through.
func (s *Server) chatStream(w http.ResponseWriter, r *http.Request) {
	if s.siblingPage(w, r) {
		s.stream(w, r, "room", s.opts.Relay.ServeRoom)
	}
}

// chatPost brings the frames of a room's HTTP carrier.
func (s *Server) chatPost(w http.ResponseWriter, r *http.Request) {
	if s.siblingPage(w, r) {
		s.post(w, r)
	}
}

// chatGone is sent by a page that is left or loaded again; its body is the ticket that it holds.
func (s *Server) chatGone(w http.ResponseWriter, r *http.Request) {
	if !s.siblingPage(w, r) {
		return
	}
	if ticket, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err == nil {
		s.opts.Relay.Gone(string(ticket))
	}
	w.WriteHeader(http.StatusNoContent)
}

// siblingPage says whether a request comes from a page of this server or of another relay, whose script may then read
// the answer; otherwise it has answered 403.
func (s *Server) siblingPage(w http.ResponseWriter, r *http.Request) bool {
	switch origin := r.Header.Get("Origin"); {
	case s.ownPage(r):
	case s.opts.Relay.OwnOrigin(origin):
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
		w.Header().Add("Vary", "Origin")
	default:
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return false
	}
	return true
}

// post brings the frames of an HTTP carrier. The connection bounds those that are known.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	if !s.streams.Known(r) {
		if wait := s.limits.page.WaitOf(s.clientIP(r)); wait > 0 {
			tooOften(w, wait)
			return
		}
	}
	s.streams.Post(w, r)
}

// stream serves a connection over HTTP until it is over or the server goes away.
func (s *Server) stream(
	w http.ResponseWriter, r *http.Request, kind string, serve func(context.Context, carrier.Conn),
) {
	if !s.open() {
		refuse(w, http.StatusServiceUnavailable, "shutdown", "The server goes away: connect again.")
		return
	}
	defer s.sockets.Done()
	c, err := s.streams.Open(w, r, s.clientIP(r))
	if err != nil {
		return // Open has answered
	}
	defer c.Close("over")
	socketsOpen.WithLabelValues(kind).Inc()
	defer socketsOpen.WithLabelValues(kind).Dec()
	serve(s.ctx, c)
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

// deskSocket makes this desk a device that can be rung, over a WebSocket.
func (s *Server) deskSocket(w http.ResponseWriter, r *http.Request) { s.device(w, r, s.socket) }

// deskStream does it over HTTP.
func (s *Server) deskStream(w http.ResponseWriter, r *http.Request) { s.device(w, r, s.stream) }

// address says where a program's request came from, with a proof for its registration.
func (s *Server) address(w http.ResponseWriter, r *http.Request) {
	if who, ok := s.member(w, r); ok {
		answer(w, http.StatusOK, map[string]string{"proof": s.opts.Relay.AddressProof(who.Login, s.clientIP(r))})
	}
}

// device makes a desk a device, over the carrier that opens.
func (s *Server) device(w http.ResponseWriter, r *http.Request,
	open func(http.ResponseWriter, *http.Request, string, func(context.Context, carrier.Conn))) {
	who, ok := s.member(w, r)
	if !ok {
		return
	}
	// Where a cookie says who it is, no other site may open it (RFC 6455 section 10.2).
	if who.Device == "" && !s.ownPage(r) {
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return
	}
	d := presence.Device{
		ID: deviceID(), Login: who.Login, Source: presence.Desk, IP: s.clientIP(r),
		Name: deviceName(r.UserAgent()), Connected: time.Now(),
	}
	if who.Device != "" {
		d.Source, d.Name = presence.Agent, who.Device
	}
	open(w, r, "device", func(ctx context.Context, c carrier.Conn) {
		s.opts.Relay.ServeDevice(ctx, who, d, c)
	})
}
