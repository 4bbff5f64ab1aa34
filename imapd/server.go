// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/signin"
)

const (
	// DefaultMaxConnections is how many connections a server holds; one more is
	// told to come again and closed.
	DefaultMaxConnections = 10_000
	// DefaultMaxConnectionsPerIP is the same for one IPv4 address or IPv6 /64:
	// mail programs keep several connections each.
	DefaultMaxConnectionsPerIP = 100

	// loginTimeout is how long a connection may take until it has signed in.
	loginTimeout = 3 * time.Minute
	// handshakeTimeout is the longest TLS handshake.
	handshakeTimeout = 30 * time.Second
	// idleTimeout is the autologout timer (RFC 3501 section 5.4).
	idleTimeout = 30 * time.Minute
	// commandTimeout is the longest pause in the middle of a command.
	commandTimeout = 5 * time.Minute
	// writeTimeout is how long a client may take to read what waits for it.
	writeTimeout = time.Minute
	// storageTimeout is the longest that signing in and one APPEND's sync may take.
	storageTimeout = 90 * time.Second
	// presenceTimeout is the most that presence may delay a sign-in.
	presenceTimeout = 50 * time.Millisecond
	// renewEvery is how often the address of a session in use is renewed.
	renewEvery = 10 * time.Minute
	// endPatience is how long a session may finish its command when its login's
	// password was changed.
	endPatience = 5 * time.Second

	// closeTimeout is how long sessions whose connections were closed may take to
	// end; storage may hold them.
	closeTimeout = 2 * time.Second

	// maxFailures is how many refused sign-ins a connection survives.
	maxFailures = 5
	// maxLineBefore is the octets of a line before the sign-in, maxLine those
	// afterwards; the library takes no more.
	maxLineBefore, maxLine = 4 << 10, 48 << 10
	// maxLiteral is the octets of a literal that is no message.
	maxLiteral = 4 << 10
	// maxDepth is how deep parentheses may be nested.
	maxDepth = 64
	// maxTag is the octets of a tag.
	maxTag = 64
	// maxWaiting is how many octets of responses wait to go out together.
	maxWaiting = 16 << 10
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("imapd: server closed")

// errStuck: sessions whose connections are closed do not end.
var errStuck = errors.New("imapd: sessions whose connections are closed do not end")

// Server is an IMAP server. Set its fields before the first Serve; a zero number
// is its default.
type Server struct {
	SignIn   *signin.Check
	Store    Store
	Presence Renewer      // nil: sessions renew nothing
	TLS      *tls.Config  // nil: no STARTTLS
	Log      *slog.Logger // nil: nothing is logged

	InsecureAuth        bool // take passwords over plaintext
	MaxConnections      int
	MaxConnectionsPerIP int
	Reputation          *reputation.Table     // nil: everybody is met alike
	Free                func(netip.Addr) bool // who counts in the total only, like a proxy; nil: nobody

	init    sync.Once
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	library *imapserver.Server
	bounds  limit.Conns

	mu        sync.Mutex
	down      bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	running   sync.WaitGroup
}

func (srv *Server) setUp() {
	srv.init.Do(func() {
		srv.ctx, srv.cancel = context.WithCancel(context.Background())
		srv.listeners = make(map[net.Listener]struct{})
		srv.conns = make(map[*conn]struct{})
		if srv.Log == nil {
			srv.Log = slog.New(slog.DiscardHandler)
		}
		if srv.MaxConnections == 0 {
			srv.MaxConnections = DefaultMaxConnections
		}
		if srv.MaxConnectionsPerIP == 0 {
			srv.MaxConnectionsPerIP = DefaultMaxConnectionsPerIP
		}
		srv.bounds.Total, srv.bounds.PerPrefix, srv.bounds.Free = srv.MaxConnections, srv.MaxConnectionsPerIP, srv.Free
		srv.bounds.Barred = srv.Reputation.Bars
		srv.bounds.Opened = func(change int) { metricOpen.Add(float64(change)) }
		srv.bounds.Refused = srv.refuse
		srv.library = imapserver.New(&imapserver.Options{
			NewSession: func(lib *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
				s := lib.NetConn().(*conn).session
				s.lib = lib
				return s, nil, nil
			},
			Logger:       libraryLog{srv.Log},
			InsecureAuth: true, // the session looks at it itself, and at STARTTLS
			Caps: imap.CapSet{
				imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {},
				imap.CapSearchRes: {}, imap.CapListExtended: {}, imap.CapListStatus: {}, imap.CapMove: {},
				imap.CapStatusSize: {}, imap.CapChildren: {}, imap.CapSpecialUse: {}, imap.CapCreateSpecialUse: {},
			},
		})
	})
}

// libraryLog is the library's log: it tells of what clients do wrong, and of panics
// that end one connection.
type libraryLog struct{ log *slog.Logger }

// Printf implements imapserver.Logger.
func (l libraryLog) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "panic") {
		metricPanics.Inc()
		l.log.Error("imapd: session panicked", "err", fmt.Sprintf(format, args...))
		return
	}
	l.log.Debug("imapd: session", "err", fmt.Sprintf(format, args...))
}

// refuse tells a client that there are too many.
func (srv *Server) refuse(c net.Conn) {
	metricConnections.WithLabelValues("limit").Inc()
	if _, encrypted := c.(*tls.Conn); encrypted {
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a new connection takes it at once
	_, _ = c.Write([]byte("* BYE Too many connections, come again later\r\n"))
}

// Serve accepts connections until the server is closed, and then returns
// ErrServerClosed. On a listener made by tls.NewListener sessions are encrypted
// from their first octet. A failing accept is tried again with growing pauses.
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
	err := srv.library.Serve(&sessionListener{srv.bounds.Listener(l), srv})
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.down {
		return ErrServerClosed
	}
	return fmt.Errorf("imapd: accepting on %v: %w", l.Addr(), errors.Join(err, net.ErrClosed))
}

// sessionListener makes a session of each connection.
type sessionListener struct {
	net.Listener
	srv *Server
}

func (l *sessionListener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.srv.add(accepted); c != nil {
			metricConnections.WithLabelValues("accepted").Inc()
			return c, nil
		}
		_ = accepted.Close()
	}
}

// tlsOf is the encryption of a connection, which its bound wraps; nil: none.
func tlsOf(c net.Conn) *tls.Conn {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		if t, ok := wrapped.NetConn().(*tls.Conn); ok {
			return t
		}
	}
	return nil
}

// add takes a connection in; nil when the server closes.
func (srv *Server) add(accepted net.Conn) *conn {
	c := &conn{Conn: accepted, base: accepted, srv: srv, began: time.Now()}
	c.session = &session{c: c, idled: make(chan struct{}, 1)}
	if addr, ok := accepted.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = addr.AddrPort().Addr().Unmap()
	}
	c.tls = tlsOf(accepted)
	c.secure = c.tls != nil // the handshake comes before anything is said
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.down {
		return nil
	}
	srv.conns[c] = struct{}{}
	srv.running.Add(1)
	c.left = sync.OnceFunc(func() {
		srv.mu.Lock()
		delete(srv.conns, c)
		srv.mu.Unlock()
		srv.running.Done()
	})
	return c
}

// Shutdown stops accepting, ends sessions that wait for a command with BYE, lets
// the others finish the command they are in, and waits for them. When ctx ends
// first, the rest are closed and its error is returned.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.setUp()
	srv.mu.Lock()
	srv.down = true
	for l := range srv.listeners {
		_ = l.Close()
	}
	for c := range srv.conns {
		c.end("The server shuts down", time.Minute)
	}
	srv.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last session: below they are all closed
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
	for c := range srv.conns {
		_ = c.base.Close()
	}
	srv.mu.Unlock()
	select {
	case <-done:
		return ctx.Err()
	case <-time.After(closeTimeout):
		return errStuck
	}
}

// Close ends every session at once and waits for their goroutines.
func (srv *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
