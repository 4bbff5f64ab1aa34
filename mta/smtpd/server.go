// SPDX-License-Identifier: GPL-3.0-or-later

// Package smtpd takes mail from other servers (SMTP, RFC 5321) and from people who
// sign in (submission, RFC 6409), and hands each message to a delivery target of
// maddy: a pipeline of checks and modifiers.
//
// The protocol is go-smtp's. conn stands between it and the client, session is
// what go-smtp calls, header reads a message's header as leniently as mail
// programs do, and repair makes of it what a submitted message has to be.
package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/chmail/go-smtp"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/safely"
)

// Limits and timeouts.
const (
	bufferSize      = 4096             // of a connection, for each direction
	maxLine         = 2000             // octets of a command
	maxAuthLine     = 12288 + 2        // octets of AUTH and what follows it (RFC 4954 section 4)
	maxSkipped      = 64 << 10         // octets that are skipped of what nobody asked for, before the end
	maxDomain       = 255              // octets of what EHLO says (RFC 5321 section 4.5.3.1.2)
	maxIdleCommands = 100              // commands without a message
	maxWrong        = 3                // refused sign-ins of a connection
	maxUnknown      = 20               // unknown recipients of a connection
	maxReceived     = 50               // Received fields; more are a loop (RFC 5321 section 6.3)
	maxFields       = 2000             // of a header
	maxPrefixes     = 65536            // client prefixes and logins whose rates are remembered
	minRate         = 1024             // octets a second of a message, after DataGrace
	maxFruitless    = 30 * time.Minute // a connection that leads to no message
	handshakeTime   = 30 * time.Second // of TLS
	writeTime       = time.Minute      // for replies
	lastWriteTime   = 2 * time.Second  // for those before a connection is closed
	lingerTime      = time.Second      // for a client to read the last one
	maxLinger       = 1 << 20          // octets that it may send meanwhile
	namingTime      = 5 * time.Second  // for the name of a client's address
	verifyTime      = 10 * time.Second // for DKIM signatures of CHmail-* fields
)

// Defaults of Options.
const (
	DefaultMaxSize        = 32 << 20
	DefaultMaxHeader      = 1 << 20
	DefaultMaxRecipients  = 1000
	DefaultMemory         = 128 << 10
	DefaultConnections    = 10_000
	DefaultPerPrefix      = 100
	DefaultTransactions   = 600
	DefaultSentMails      = 600
	DefaultSentRecipients = 3000
	DefaultIdle           = 5 * time.Minute
	DefaultDataGrace      = 5 * time.Minute
	DefaultSignInTime     = 3 * time.Minute
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("smtpd: server closed")

var (
	connectionsOpen = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chmail_smtp_connections", Help: "Open connections, by endpoint.",
	}, []string{"endpoint"})
	connectionsRefused = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_smtp_connections_refused_total",
		Help: "Connections refused because too many were open, of one address or in total.",
	}, []string{"endpoint"})
	messagesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_smtp_messages_total",
		Help: "Transactions by outcome: accepted, failed (the message was refused), aborted (the client left it).",
	}, []string{"endpoint", "outcome"})
	refusalsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_smtp_refusals_total", Help: "Refused commands, by endpoint, command and reply code.",
	}, []string{"endpoint", "command", "code"})
)

// Pipeline is where messages go.
type Pipeline interface {
	module.DeliveryTarget
	// RunEarlyChecks refuses a client before it has said anything about a message.
	RunEarlyChecks(ctx context.Context, state *module.ConnState) error
}

// SignIn is what smtpd needs of a signin.Check.
type SignIn interface {
	SignIn(ctx context.Context, a signin.Attempt) (*signin.Session, error)
	Tokens() bool
}

// Limits bound what maddy calls messages: its own `limits`.
type Limits interface {
	TakeMsg(ctx context.Context, ip net.IP, domain string) error
	ReleaseMsg(ip net.IP, domain string)
}

// Options of a Server. A zero number is its default.
type Options struct {
	Name     string // of the endpoint, in figures
	Hostname string
	Target   Pipeline
	Log      *slog.Logger
	TLS      *tls.Config  // nil: none
	Resolver dns.Resolver // nil: clients' names are not looked up

	Submission   bool   // clients sign in, and their messages are repaired
	SignIn       SignIn // nil: nobody can sign in
	InsecureAuth bool   // also without TLS
	// MayUse tells whether a login may write from an address that is not its own.
	MayUse func(ctx context.Context, login, addr string) (bool, error)

	MaxSize        int64 // octets of a message
	MaxHeader      int64 // octets of its header
	MaxRecipients  int   // of a message
	Memory         int   // octets of a message kept in memory; a larger one is in a file
	Folder         string
	Connections    int // at once
	PerPrefix      int // of one IPv4 address or IPv6 /64
	Transactions   int // a minute, of one IPv4 address or IPv6 /64 that has not signed in
	SentMails      int // an hour, of a login
	SentRecipients int // an hour, of a login
	Idle           time.Duration
	DataGrace      time.Duration     // for a message, besides what its size allows
	SignInTime     time.Duration     // until a client of submission has signed in
	Limits         Limits            // nil: none
	Reputation     *reputation.Table // nil: everybody is met alike
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	number := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	number(&o.MaxRecipients, DefaultMaxRecipients)
	number(&o.Memory, DefaultMemory)
	number(&o.Connections, DefaultConnections)
	number(&o.PerPrefix, DefaultPerPrefix)
	number(&o.Transactions, DefaultTransactions)
	number(&o.SentMails, DefaultSentMails)
	number(&o.SentRecipients, DefaultSentRecipients)
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.MaxHeader == 0 {
		o.MaxHeader = DefaultMaxHeader
	}
	duration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	duration(&o.Idle, DefaultIdle)
	duration(&o.DataGrace, DefaultDataGrace)
	duration(&o.SignInTime, DefaultSignInTime)
}

// Server takes mail on the listeners given to Serve.
type Server struct {
	opts   Options
	smtp   *gosmtp.Server
	conns  limit.Conns
	rates  rates
	ctx    context.Context // ends with the server
	cancel context.CancelFunc
	ready  chan net.Conn // connections for go-smtp

	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	open      map[*conn]struct{}
	running   sync.WaitGroup
}

// New makes a server. It must be shut down.
func New(o Options) *Server {
	o.setDefaults()
	o.TLS = notBefore12(o.TLS)
	s := &Server{opts: o, ready: make(chan net.Conn), open: make(map[*conn]struct{}), rates: newRates(o)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.conns = limit.Conns{Total: o.Connections, PerPrefix: o.PerPrefix, Barred: func(ip netip.Addr) bool {
		// Other servers come again; at submission a known login is let in.
		return o.Reputation.Bars(ip) || !o.Submission && o.Reputation.Level(ip) >= reputation.Refused
	},
		Opened: func(change int) { connectionsOpen.WithLabelValues(o.Name).Add(float64(change)) },
		Refused: func(nc net.Conn) {
			connectionsRefused.WithLabelValues(o.Name).Inc()
			_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // a new socket has room for a line
			_, _ = nc.Write([]byte("421 4.7.0 " + o.Hostname + " Too many connections, try again later\r\n"))
		}}
	s.smtp = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return s.newSession(c)
	}))
	s.smtp.Domain = o.Hostname
	s.smtp.MaxLineLength = 0 // conn bounds them
	s.smtp.MaxMessageBytes = o.MaxSize
	s.smtp.MaxRecipients = o.MaxRecipients
	s.smtp.AllowInsecureAuth = true // session decides
	s.smtp.EnableSMTPUTF8 = true
	s.smtp.EnableREQUIRETLS = true // conn tells of it, where TLS is on
	s.smtp.EnableDSN = true
	s.smtp.ErrorLog = errorLog{o.Log}
	s.running.Go(func() {
		if err := s.smtp.Serve(&queue{s}); err != nil && s.ctx.Err() == nil {
			o.Log.Error("smtpd: serving", "err", err)
		}
	})
	return s
}

// notBefore12 asks for TLS 1.2, also in what GetConfigForClient chooses: older
// versions are deprecated (RFC 8996).
func notBefore12(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if err != nil {
				return nil, err
			}
			return notBefore12(chosen), nil
		}
	}
	return config
}

// queue is the listener of go-smtp: the connections that are ready for it.
type queue struct{ s *Server }

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.s.ready:
		return c, nil
	case <-q.s.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error   { return nil }
func (q *queue) Addr() net.Addr { return nil }

// errorLog takes go-smtp's errors: a panic in a session, and connections that broke.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	level := slog.LevelDebug
	if strings.HasPrefix(format, "panic ") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) { l.log.Debug(fmt.Sprint(v...)) }

// Serve takes connections of l until Shutdown. With implicitTLS they begin with a
// handshake (RFC 8314).
func (s *Server) Serve(l net.Listener, implicitTLS bool) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = l.Close()
		return ErrServerClosed
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	bounded := s.conns.Listener(l)
	for {
		nc, err := bounded.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrServerClosed
			}
			return fmt.Errorf("smtpd: accepting on %v: %w", l.Addr(), err)
		}
		wait := s.opts.Reputation.Level(addrOf(nc)).Delay()
		if !implicitTLS && wait == 0 {
			s.handOver(newConn(s, nc, false, false))
			continue
		}
		s.running.Go(func() {
			defer safely.Recover(s.opts.Log, "smtp handshake")
			if !s.sleep(wait) {
				_ = nc.Close() // nothing was said
				return
			}
			if !implicitTLS {
				s.handOver(newConn(s, nc, false, false))
				return
			}
			secure, err := s.handshake(nc)
			if err != nil {
				s.opts.Log.Debug("smtpd: a connection", "err", err, "addr", nc.RemoteAddr())
				_ = nc.Close() // it came to nothing
				return
			}
			s.handOver(newConn(s, secure, true, false))
		})
	}
}

// sleep waits, and says whether the server is still there.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// handOver gives a connection to go-smtp.
func (s *Server) handOver(c *conn) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.open[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		_ = c.Close() // nothing was said
		return
	}
	select {
	case s.ready <- c:
	case <-s.ctx.Done():
		_ = c.Close() // as above
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Shutdown takes no new connections, ends those that wait for a command, lets the
// others finish the message they are in, and ends all when ctx does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, l := range s.listeners {
		_ = l.Close() // Serve returns
	}
	open := make([]*conn, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		c.drain()
	}
	err := s.smtp.Shutdown(ctx)
	s.cancel()
	if err != nil {
		s.mu.Lock()
		for c := range s.open {
			_ = c.Conn.Close() // what was not acknowledged comes again
		}
		s.mu.Unlock()
		err = fmt.Errorf("smtpd: ending connections: %w", err)
	}
	s.running.Wait()
	return err
}

// refused counts a refused command.
func (s *Server) refused(command string, code int) {
	refusalsTotal.WithLabelValues(s.opts.Name, command, strconv.Itoa(code)).Inc()
}
