// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/internal/safely"
)

const (
	// DefaultMaxConnections is how many connections a server holds; one more
	// is told to come again and closed.
	DefaultMaxConnections = 10_000
	// DefaultMaxConnectionsPerIP is the same for one IPv4 address or IPv6 /64.
	DefaultMaxConnectionsPerIP = 50
	// DefaultIdleTimeout is the autologout timer, the least that RFC 1939
	// section 3 allows.
	DefaultIdleTimeout = 10 * time.Minute

	// loginTimeout is how long a connection may take until it has signed in.
	loginTimeout = 3 * time.Minute
	// handshakeTimeout is the longest TLS handshake.
	handshakeTimeout = 30 * time.Second
	// storageTimeout is the longest that opening a maildrop or deleting at QUIT
	// may take.
	storageTimeout = 90 * time.Second
	// presenceTimeout is the most that presence may delay a sign-in.
	presenceTimeout = 50 * time.Millisecond
	// closeTimeout is how long sessions whose connections were closed may take to
	// end; storage may hold them.
	closeTimeout = 2 * time.Second
	// acceptBackoff is the first and the longest pause after a failed accept.
	acceptBackoffMin, acceptBackoffMax = 5 * time.Millisecond, time.Second
)

// errStuck: sessions whose connections are closed do not end.
var errStuck = errors.New("pop3d: sessions whose connections are closed do not end")

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("pop3d: server closed")

// Server is a POP3 server. Set its fields before the first Serve; a zero
// number is its default.
type Server struct {
	SignIns   SignIns
	Maildrops Maildrops
	Presence  Renewer      // nil: sign-ins renew nothing
	TLS       *tls.Config  // nil: no STLS
	Log       *slog.Logger // nil: nothing is logged

	InsecureAuth        bool // take passwords over plaintext
	MaxConnections      int
	MaxConnectionsPerIP int
	IdleTimeout         time.Duration     // after sign-in
	Reputation          *reputation.Table // nil: everybody is met alike

	init    sync.Once
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	closing context.Context // ends when Shutdown begins
	close   context.CancelFunc
	bounds  limit.Conns
	locks   locks

	mu        sync.Mutex
	down      bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	running   sync.WaitGroup
}

func (srv *Server) setUp() {
	srv.init.Do(func() {
		srv.ctx, srv.cancel = context.WithCancel(context.Background())
		srv.closing, srv.close = context.WithCancel(srv.ctx)
		srv.listeners = make(map[net.Listener]struct{})
		srv.sessions = make(map[*session]struct{})
		if srv.Log == nil {
			srv.Log = slog.New(slog.DiscardHandler)
		}
		if srv.MaxConnections == 0 {
			srv.MaxConnections = DefaultMaxConnections
		}
		if srv.MaxConnectionsPerIP == 0 {
			srv.MaxConnectionsPerIP = DefaultMaxConnectionsPerIP
		}
		srv.bounds.Total, srv.bounds.PerPrefix = srv.MaxConnections, srv.MaxConnectionsPerIP
		srv.bounds.Barred = srv.Reputation.Bars
		srv.bounds.Free = func(ip netip.Addr) bool { return !ip.IsValid() } // no TCP, as in tests
		if srv.IdleTimeout == 0 {
			srv.IdleTimeout = DefaultIdleTimeout
		}
	})
}

// Serve accepts connections until the server is closed, and then returns
// ErrServerClosed. On a listener made by tls.NewListener sessions are
// encrypted from their first octet. A failing accept is tried again with
// growing pauses.
func (srv *Server) Serve(l net.Listener) error {
	srv.setUp()
	srv.mu.Lock()
	if srv.down {
		srv.mu.Unlock()
		_ = l.Close()
		return ErrServerClosed
	}
	srv.listeners[l] = struct{}{}
	srv.mu.Unlock()

	pause := acceptBackoffMin
	for {
		conn, err := l.Accept()
		if err == nil {
			pause = acceptBackoffMin
			srv.start(conn)
			continue
		}
		if srv.isClosing() {
			return ErrServerClosed
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("pop3d: accepting on %v: %w", l.Addr(), err)
		}
		srv.Log.Error("pop3d: accepting", "err", err, "addr", l.Addr())
		if !srv.sleep(pause) {
			return ErrServerClosed
		}
		pause = min(2*pause, acceptBackoffMax)
	}
}

func (srv *Server) isClosing() bool { return srv.closing.Err() != nil }

// sleep waits and says whether the server is still open.
func (srv *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-srv.closing.Done():
		return false
	}
}

// start begins a session in a goroutine of its own, within the limits.
func (srv *Server) start(conn net.Conn) {
	s := &session{srv: srv, raw: conn, wire: wire{conn: conn}, began: time.Now()}
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		s.remote = addr.AddrPort().Addr().Unmap()
	}
	leave, ok := srv.bounds.Enter(s.remote)
	if !ok || !srv.add(s) {
		if ok {
			leave()
		}
		metricConnections.WithLabelValues("limit").Inc()
		if _, encrypted := conn.(*tls.Conn); !encrypted {
			s.fail("[SYS/TEMP] too many connections, come again later")
			_ = s.flush()
		}
		_ = conn.Close()
		return
	}
	metricConnections.WithLabelValues("accepted").Inc()
	metricOpen.Inc()
	go func() {
		defer srv.running.Done()
		defer metricOpen.Dec()
		defer leave()
		defer srv.remove(s)
		defer safely.Recover(srv.Log, "pop3 session")
		defer s.end()
		s.run()
	}()
}

// add takes s in, unless the server closes.
func (srv *Server) add(s *session) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.down {
		return false
	}
	srv.sessions[s] = struct{}{}
	srv.running.Add(1)
	return true
}

func (srv *Server) remove(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
}

// Shutdown stops accepting, ends sessions that wait for a command, lets the
// others finish the command they are in, and waits for them. When ctx ends
// first, it does what Close does and returns the context's error, or another one
// if a session is held by its storage and does not end in closeTimeout.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.setUp()
	srv.mu.Lock()
	srv.down = true
	srv.close()
	for l := range srv.listeners {
		_ = l.Close()
	}
	for s := range srv.sessions {
		// A session looks at closing after it has set its own deadline, so it
		// cannot miss this. The error is that of a connection already closed.
		_ = s.raw.SetReadDeadline(time.Unix(1, 0))
	}
	srv.mu.Unlock()

	done := make(chan struct{})
	go func() { // ends with the last session: Close below ends them all
		srv.running.Wait()
		close(done)
	}()
	defer srv.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	srv.cancel()
	srv.mu.Lock()
	for s := range srv.sessions {
		_ = s.raw.Close()
	}
	srv.mu.Unlock()
	select {
	case <-done:
		return ctx.Err()
	case <-time.After(closeTimeout):
		return errStuck
	}
}

// Close ends every session at once and waits for their goroutines. Messages
// marked in a session that had not said QUIT stay.
func (srv *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
