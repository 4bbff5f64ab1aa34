// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"
)

// Limits of HTTP/3; those of requests are the same as over TCP.
const (
	h3Retry   = 100 // newcomers a second, from which on they prove their address first (QUIC Retry)
	h3Streams = 64  // requests of one connection at once
	h3Window  = 256 << 10
	h3Linger  = time.Second // how long Shutdown lets requests under way finish
	h3AltLife = 24 * time.Hour
)

// errCrowd: a client prefix, or all together, have too many connections.
var errCrowd = errors.New("too many connections")

// ServeHTTP3 answers HTTP/3 on c until Shutdown or Close, and closes c. While
// it does, answers over TLS on the TCP port of the same number point to it
// (Alt-Svc, RFC 7838). WebSockets stay on TCP.
func (s *Server) ServeHTTP3(c net.PacketConn, config *tls.Config) error {
	defer c.Close()
	doors, newcomers := s.doors(), rate.NewLimiter(h3Retry, h3Retry)
	tr := &quic.Transport{
		Conn:                c,
		VerifySourceAddress: func(net.Addr) bool { return !newcomers.Allow() },
		ConnContext: func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
			leave, ok := doors.Enter(limit.AddrOf(info.RemoteAddr.String()))
			if !ok {
				connsRefused.Inc()
				return nil, errCrowd
			}
			context.AfterFunc(ctx, leave)
			return ctx, nil
		},
	}
	defer tr.Close()
	srv := &http3.Server{Handler: s, MaxHeaderBytes: maxHeader, IdleTimeout: idleTimeout}
	ln, err := tr.ListenEarly(http3.ConfigureTLSConfig(config), &quic.Config{
		HandshakeIdleTimeout:       headerTimeout,
		MaxIdleTimeout:             idleTimeout,
		MaxIncomingStreams:         h3Streams,
		MaxIncomingUniStreams:      8,
		MaxStreamReceiveWindow:     h3Window,
		MaxConnectionReceiveWindow: 2 * h3Window,
	})
	if err != nil {
		return fmt.Errorf("serving HTTP/3: %w", err)
	}
	defer ln.Close()
	port, _ := c.LocalAddr().(*net.UDPAddr)
	s.mu.Lock()
	if s.closing || port == nil {
		s.mu.Unlock()
		return nil
	}
	s.h3[port.Port] = srv
	s.mu.Unlock()
	if err := srv.ServeListener(ln); err != nil && !errors.Is(err, http.ErrServerClosed) &&
		!errors.Is(err, quic.ErrServerClosed) {
		return fmt.Errorf("serving HTTP/3: %w", err)
	}
	return nil
}

// altSvc points to HTTP/3 where the request came over TLS to a port that has
// it; otherwise it is empty.
func (s *Server) altSvc(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || r.TLS == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h3[local.Port] == nil || s.closing {
		return ""
	}
	return fmt.Sprintf(`h3=":%d"; ma=%d`, local.Port, int(h3AltLife.Seconds()))
}

// closeHTTP3 lets requests under way finish for a moment and ends the
// connections. closing is set.
func (s *Server) closeHTTP3(ctx context.Context) {
	s.mu.Lock()
	all := s.h3
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, h3Linger)
	defer cancel()
	for _, srv := range all {
		srv.Shutdown(ctx) // what it reports is that ctx ended: Close ends what is left
		srv.Close()
	}
}
