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
	return served(s.http.Serve(tls.NewListener(s.bound(l), ForHTTP(config))))
}

func served(err error) error {
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving web pages: %w", err)
}

// ForHTTP adds ALPN and asks for TLS 1.2, in the configurations that
// GetConfigForClient returns as well.
func ForHTTP(config *tls.Config) *tls.Config {
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
			return ForHTTP(chosen), nil
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
// and no more than maxConnsPrefix of one client prefix.
func (s *Server) bound(l net.Listener) net.Listener { return s.doors().Listener(noWait{l}) }

// doors bounds the connections of one listener. Proxies and loopback count only in
// the total.
func (s *Server) doors() *limit.Conns {
	return &limit.Conns{Total: maxConns, PerPrefix: maxConnsPrefix,
		Free:    func(ip netip.Addr) bool { return ip.IsLoopback() || s.opts.TrustedProxies.Trusts(ip) },
		Opened:  func(change int) { connsOpen.Add(float64(change)) },
		Refused: func(net.Conn) { connsRefused.Inc() },
		Barred:  s.opts.Reputation.Bars,
	}
}

// noWait accepts connections whose writer need not wait.
type noWait struct{ net.Listener }

func (l noWait) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return carrier.NoWait(c), nil
}
