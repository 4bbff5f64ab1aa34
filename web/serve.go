// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/guard/limit"
)

// Serve answers plain HTTP on l until Shutdown or Close; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	return served(s.http.Serve(s.bound(l)))
}

// ServeTLS answers HTTPS on l, HTTP/2 included, until Shutdown or Close.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	// HTTP/2 is set up per http.Server, so TLS is done here, with ALPN offered
	// by whatever configuration the handshake ends up with.
	return served(s.http.Serve(tls.NewListener(s.bound(l), forHTTP(config))))
}

func served(err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving web pages: %w", err)
}

// forHTTP adds ALPN and asks for TLS 1.2, in the configurations that
// GetConfigForClient returns as well.
func forHTTP(config *tls.Config) *tls.Config {
	config = config.Clone()
	for _, proto := range []string{"http/1.1", "h2"} {
		if !slices.Contains(config.NextProtos, proto) {
			config.NextProtos = append([]string{proto}, config.NextProtos...)
		}
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.DynamicRecordSizingDisabled = true // what is written at once goes out in one record
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if err != nil || chosen == nil {
				return chosen, err
			}
			return forHTTP(chosen), nil
		}
	}
	return config
}

// Shutdown stops listening, ends the WebSockets (the relay tells each that it
// goes away) and waits for requests under way. After linger, or when ctx ends
// first, it closes what is left: a client that sends or reads nothing more
// holds nobody up.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	s.closeHTTP3(ctx)
	err := s.http.Shutdown(ctx)
	gone := make(chan struct{})
	go func() { // ends with the last WebSocket
		s.sockets.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		err = errors.Join(err, errors.New("some WebSockets did not end in time"))
	}
	if err != nil {
		return fmt.Errorf("shutting down the web pages: %w", errors.Join(err, s.http.Close()))
	}
	return nil
}

// bound wraps a listener so that no more connections than maxConns are open,
// and no more than maxConnsPrefix of one client prefix. Proxies and loopback
// count only in the total.
func (s *Server) bound(l net.Listener) *boundListener {
	return &boundListener{Listener: l, free: func(ip netip.Addr) bool { return ip.IsLoopback() || s.trusted(ip) },
		open: make(map[netip.Prefix]int)}
}

type boundListener struct {
	net.Listener
	free func(netip.Addr) bool

	mu    sync.Mutex
	total int
	open  map[netip.Prefix]int // only prefixes that have a connection
}

func (l *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		prefix := limit.Prefix(remoteIP(c.RemoteAddr().String()))
		if l.enter(prefix) {
			connsOpen.Inc()
			return &boundConn{Conn: carrier.NoWait(c), leave: sync.OnceFunc(func() {
				l.leave(prefix)
				connsOpen.Dec()
			})}, nil
		}
		connsRefused.Inc()
		c.Close()
	}
}

func (l *boundListener) enter(prefix netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConns || l.open[prefix] >= maxConnsPrefix && !l.free(prefix.Addr()) {
		return false
	}
	l.total++
	l.open[prefix]++
	return true
}

func (l *boundListener) leave(prefix netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.open[prefix]--; l.open[prefix] == 0 {
		delete(l.open, prefix)
	}
}

type boundConn struct {
	net.Conn
	leave func()
}

// NetConn is what is wrapped, as of a tls.Conn.
func (c *boundConn) NetConn() net.Conn { return c.Conn }

func (c *boundConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
