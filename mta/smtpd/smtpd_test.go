// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
	forksmtp "github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/signin"
)

// taken is what the pipeline got.
type taken struct {
	from     string
	to       []string
	opts     []forksmtp.RcptOptions
	meta     module.MsgMetadata
	header   textproto.Header
	raw      string // header and body
	aborted  bool
	finished bool
}

// sink is a pipeline that keeps what it gets.
type sink struct {
	mu     sync.Mutex
	mails  []*taken
	early  error
	unborn int                         // deliveries begun and not yet ended
	body   func(context.Context) error // called by Body; nil: nothing
}

func (s *sink) RunEarlyChecks(context.Context, *module.ConnState) error { return s.early }

func (s *sink) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &taken{from: from, meta: *meta}
	s.mails = append(s.mails, m)
	s.unborn++
	return &sinkDelivery{s, m}, nil
}

// done are the mails that were committed.
func (s *sink) done() []*taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.mails), func(m *taken) bool { return !m.finished })
}

// last is the mail that was committed last.
func (s *sink) last(t testing.TB) *taken {
	t.Helper()
	done := s.done()
	if len(done) == 0 {
		t.Fatal("no mail has come")
	}
	return done[len(done)-1]
}

func (s *sink) begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unborn
}

type sinkDelivery struct {
	s *sink
	m *taken
}

func (d *sinkDelivery) AddRcpt(_ context.Context, to string, o forksmtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody") {
		return &exterrors.SMTPError{Code: 550, EnhancedCode: exterrors.EnhancedCode{5, 1, 1},
			Message: "No such user here"}
	}
	d.m.to, d.m.opts = append(d.m.to, to), append(d.m.opts, o)
	return nil
}

func (d *sinkDelivery) Body(ctx context.Context, h textproto.Header, b buffer.Buffer) error {
	if d.s.body != nil {
		if err := d.s.body(ctx); err != nil {
			return err
		}
	}
	var all bytes.Buffer
	if err := textproto.WriteHeader(&all, h); err != nil {
		return err
	}
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(&all, r); err != nil {
		return err
	}
	d.m.header, d.m.raw = h, all.String()
	return nil
}

func (d *sinkDelivery) end(m func(*taken)) error {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.unborn--
	m(d.m)
	return nil
}

func (d *sinkDelivery) Commit(context.Context) error {
	return d.end(func(m *taken) { m.finished = true })
}
func (d *sinkDelivery) Abort(context.Context) error {
	return d.end(func(m *taken) { m.aborted = true })
}

const (
	kim      = "kim@mall.test"
	password = "secret words"
)

// accounts has kim.
type accounts struct{}

func (accounts) Verify(_ context.Context, login, p string) error {
	switch {
	case login == "away@mall.test":
		return context.DeadlineExceeded
	case login != kim || p != password:
		return signin.ErrWrong
	}
	return nil
}

func newCheck() *signin.Check {
	return signin.New(signin.Options{Accounts: accounts{}, First: time.Millisecond, Longest: time.Millisecond})
}

// certificate is a self-signed one.
func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"mx.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func tlsOf(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), gone: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.gone:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.gone) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "test"} }

// start starts a server whose listener is in memory. It returns a client maker.
func start(t testing.TB, o Options, implicitTLS bool) (*Server, func() *client) {
	t.Helper()
	if o.Target == nil {
		o.Target = &sink{}
	}
	o.Hostname = "mx.test"
	o.Name = "test"
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	s := New(o)
	l := newPipes()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, implicitTLS) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx) // clients that a test left open are closed
		if err := <-served; err != ErrServerClosed {
			t.Error(err)
		}
	})
	return s, func() *client {
		mine, its := net.Pipe()
		l.conns <- its
		t.Cleanup(func() { _ = mine.Close() })
		if implicitTLS {
			mine = tls.Client(mine, &tls.Config{InsecureSkipVerify: true})
		}
		return newClient(t, mine)
	}
}

// client is one of SMTP.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newClient(t testing.TB, c net.Conn) *client { return &client{t, c, bufio.NewReader(c)} }

// read reads a reply; "" when the connection ended.
func (c *client) read() string {
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil || len(line) > 3 && line[3] == ' ' {
			return strings.TrimSpace(all.String())
		}
	}
}

// send sends octets while replies may come.
func (c *client) send(s string) {
	go func() { _, _ = io.WriteString(c.Conn, s) }() // it fails where the server closes before
}

// ask sends a command, and wants a reply that begins so.
func (c *client) ask(command, want string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, command+"\r\n"); err != nil {
		c.t.Fatalf("%.60s: %v", command, err)
	}
	return c.want(command, want)
}

func (c *client) want(command, want string) string {
	c.t.Helper()
	got := c.read()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("%.60q was answered %q, not %q", command, got, want)
	}
	return got
}

func (c *client) hello() *client {
	c.t.Helper()
	c.want("", "220")
	c.ask("EHLO client.test", "250")
	return c
}

func plainText(login, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + login + "\x00" + password))
}

// kim signs kim in.
func (c *client) kim() *client {
	c.t.Helper()
	c.hello().ask("AUTH PLAIN "+plainText(kim, password), "235")
	return c
}

// data sends a message as it is, and its end.
func (c *client) data(from, to, message, want string) string {
	c.t.Helper()
	c.ask("MAIL FROM:<"+from+">", "250")
	c.ask("RCPT TO:<"+to+">", "250")
	c.ask("DATA", "354")
	c.send(message + "\r\n.\r\n")
	return c.want(message, want)
}

func submission(s *sink) Options {
	return Options{Target: s, Submission: true, SignIn: newCheck(), InsecureAuth: true}
}

// TestMessage: a message arrives as it was sent, by DATA and by BDAT.
func TestMessage(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s}, false)
	const message = "From: A <a@far.test>\r\nSubject: x\r\n\r\n.a dot\r\n"
	c := dial().hello()
	c.data("a@far.test", kim, "From: A <a@far.test>\r\nSubject: x\r\n\r\n..a dot", "250")
	if m := s.last(t); m.raw != message || m.from != "a@far.test" || !slices.Equal(m.to, []string{kim}) {
		t.Errorf("by DATA it came as %q from %s to %s", m.raw, m.from, m.to)
	}
	c.ask("MAIL FROM:<b@far.test>", "250")
	c.ask("RCPT TO:<"+kim+">", "250")
	half := len(message) / 2
	c.send(fmt.Sprintf("BDAT %d\r\n%s", half, message[:half]))
	c.want("BDAT", "250")
	c.send(fmt.Sprintf("BDAT %d LAST\r\n%sNOOP\r\n", len(message)-half, message[half:]))
	c.want("BDAT LAST", "250")
	c.want("NOOP", "250 2.0.0 I have")
	if m := s.last(t); m.raw != message || m.from != "b@far.test" {
		t.Errorf("by BDAT it came as %q from %s", m.raw, m.from)
	}
	if n := s.begun(); n != 0 {
		t.Errorf("%d deliveries were not ended", n)
	}
}

// TestSignIn: who signs in, how, and what a refusal says.
func TestSignIn(t *testing.T) {
	t.Parallel()
	_, dial := start(t, submission(&sink{}), false)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, do := range map[string]func(c *client){
		"PLAIN": func(c *client) { c.ask("AUTH PLAIN "+plainText(kim, password), "235") },
		"PLAIN after a challenge": func(c *client) {
			c.ask("AUTH PLAIN", "334")
			c.ask(plainText(kim, password), "235")
		},
		"LOGIN": func(c *client) {
			c.ask("AUTH LOGIN", "334 "+b64("Username:"))
			c.ask(b64(kim), "334 "+b64("Password:"))
			c.ask(b64(password), "235")
		},
		"LOGIN with the name": func(c *client) {
			c.ask("AUTH LOGIN "+b64(kim), "334 "+b64("Password:"))
			c.ask(b64(password), "235")
		},
		"wrong":         func(c *client) { c.ask("AUTH PLAIN "+plainText(kim, "x"), "535 5.7.8") },
		"unknown":       func(c *client) { c.ask("AUTH PLAIN "+plainText("x@mall.test", "x"), "535 5.7.8") },
		"not now":       func(c *client) { c.ask("AUTH PLAIN "+plainText("away@mall.test", "x"), "454 4.7.0") },
		"as another":    func(c *client) { c.ask("AUTH PLAIN "+b64("boss\x00"+kim+"\x00"+password), "535 5.7.8") },
		"broken off":    func(c *client) { c.ask("AUTH LOGIN", "334"); c.ask("*", "501") },
		"no base64":     func(c *client) { c.ask("AUTH PLAIN ?", "501") },
		"another way":   func(c *client) { c.ask("AUTH CRAM-MD5", "504") },
		"not signed in": func(c *client) { c.ask("MAIL FROM:<"+kim+">", "530 5.7.0") },
		"three wrong ones": func(c *client) {
			for range 3 {
				c.ask("AUTH PLAIN "+plainText(kim, "x"), "535")
			}
			c.want("", "421 4.7.0")
			if got := c.read(); got != "" {
				c.t.Errorf("after that the connection says %q", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial()
			c.t = t
			do(c.hello())
		})
	}
}

// tokens has one of kim's.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (string, time.Time, error) {
	if token != "good" {
		return "", time.Time{}, signin.ErrWrong
	}
	return kim, time.Now().Add(time.Hour), nil
}

// TestTokens: a bearer token signs its login in, and nobody else.
func TestTokens(t *testing.T) {
	t.Parallel()
	o := submission(&sink{})
	o.SignIn = signin.New(signin.Options{Accounts: accounts{}, Tokens: tokens{}, First: time.Millisecond,
		Longest: time.Millisecond})
	_, dial := start(t, o, false)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	c := dial()
	c.want("", "220")
	if caps := c.ask("EHLO c", "250"); !strings.Contains(caps, "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2") {
		t.Errorf("it says of AUTH: %q", caps)
	}
	for _, wrong := range []string{
		"OAUTHBEARER " + b64("n,a="+kim+",\x01auth=Bearer bad\x01\x01"),
		"XOAUTH2 " + b64("user=boss@mall.test\x01auth=Bearer good\x01\x01"),
	} {
		c.ask("AUTH "+wrong, "334 "+b64(signin.BearerRefused))
		c.ask("AQ==", "535 5.7.8") // RFC 7628 section 3.2.3
	}
	c.ask("AUTH XOAUTH2 "+b64("user="+kim), "501")
	c.ask("AUTH OAUTHBEARER "+b64("n,a="+kim+",\x01auth=Bearer good\x01\x01"), "235")
	c.ask("MAIL FROM:<"+kim+">", "250")
	dial().hello().ask("AUTH XOAUTH2 "+b64("user="+kim+"\x01auth=Bearer good\x01\x01"), "235")
}

// TestTLS: passwords go over TLS only, by STARTTLS and from the first octet, and
// what was said before STARTTLS counts not.
func TestTLS(t *testing.T) {
	t.Parallel()
	o := submission(&sink{})
	o.InsecureAuth = false
	o.TLS = tlsOf(certificate(t))
	_, dial := start(t, o, false)
	c := dial()
	c.want("", "220")
	if caps := c.ask("EHLO c", "250"); !strings.Contains(caps, "STARTTLS") || strings.Contains(caps, "AUTH") {
		t.Errorf("without TLS: %q", caps)
	}
	c.ask("AUTH PLAIN "+plainText(kim, password), "538")
	c.send("STARTTLS\r\nNOOP\r\n") // a second command, which nobody may have put in
	c.want("STARTTLS", "220")
	secure := newClient(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
	secure.ask("MAIL FROM:<"+kim+">", "503")
	if caps := secure.ask("EHLO c", "250"); strings.Contains(caps, "STARTTLS") ||
		!strings.Contains(caps, "AUTH PLAIN LOGIN") || !strings.Contains(caps, "REQUIRETLS") {
		t.Errorf("with TLS: %q", caps)
	}
	secure.ask("STARTTLS", "503")
	secure.ask("AUTH PLAIN "+plainText(kim, password), "235")
	secure.ask("MAIL FROM:<"+kim+"> REQUIRETLS", "250")

	_, dial = start(t, o, true)
	dial().kim().ask("MAIL FROM:<"+kim+">", "250")
}
