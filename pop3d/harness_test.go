// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/signin"
)

const (
	alice    = "alice@example.org"
	password = "secret word"
)

var mail = []string{
	"From: bob@example.org\r\nSubject: one\r\n\r\n.\r\n..dots\r\ntext\r\nlast\r\n",
	"From: bob@example.org\n\nbare LF\n\n",
	"From: bob@example.org\r\n\r\nno line end",
}

// memory is maildrops in memory.
type memory struct {
	mu          sync.Mutex
	drops       map[string][]memoryMessage
	undeletable bool
	panics      bool
	opened      int
}

type memoryMessage struct {
	uid  int
	text string
}

func newMemory(logins ...string) *memory {
	m := &memory{drops: make(map[string][]memoryMessage)}
	for _, login := range logins {
		for i, text := range mail {
			m.drops[login] = append(m.drops[login], memoryMessage{i + 1, text})
		}
	}
	return m
}

func (m *memory) Open(_ context.Context, login string) (Maildrop, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	return &memoryDrop{m, login, slices.Clone(m.drops[login])}, nil
}

func (m *memory) left(login string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.drops[login])
}

type memoryDrop struct {
	all      *memory
	login    string
	messages []memoryMessage
}

func (d *memoryDrop) Count() int        { return len(d.messages) }
func (d *memoryDrop) UIDL(n int) string { return fmt.Sprintf("7.%d", d.messages[n-1].uid) }
func (d *memoryDrop) Close() error      { return nil }

func (d *memoryDrop) Size(n int) int64 {
	text := d.messages[n-1].text
	size := len(text) + strings.Count(text, "\n") - strings.Count(text, "\r\n")
	if !strings.HasSuffix(text, "\n") {
		size += 2
	}
	return int64(size)
}

func (d *memoryDrop) Open(_ context.Context, n int, _ bool) (io.ReadCloser, error) {
	if d.all.panics {
		panic("reading a message")
	}
	return io.NopCloser(strings.NewReader(d.messages[n-1].text)), nil
}

func (d *memoryDrop) Delete(_ context.Context, numbers []int) error {
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.all.undeletable {
		return errors.New("the disk is full")
	}
	d.all.drops[d.login] = slices.DeleteFunc(d.all.drops[d.login], func(m memoryMessage) bool {
		return slices.ContainsFunc(numbers, func(n int) bool { return d.messages[n-1].uid == m.uid })
	})
	return nil
}

// onePassword signs everyone in who says the password.
type onePassword struct{}

func (onePassword) Verify(_ context.Context, login, given string) error {
	if given != password || !strings.Contains(login, "@") {
		return signin.ErrWrong
	}
	return nil
}

// oneToken is alice's.
type oneToken struct{}

func (oneToken) Verify(_ context.Context, token string) (string, time.Time, error) {
	if token != "a token" {
		return "", time.Time{}, signin.ErrWrong
	}
	return alice, time.Time{}, nil
}

// signIns is a check whose first refusal takes first.
func signIns(first time.Duration) *signin.Check {
	return signin.New(signin.Options{Accounts: onePassword{}, First: first})
}

var certificate = sync.OnceValues(func() (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
})

func serverTLS() *tls.Config {
	cert, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func clientTLS() *tls.Config {
	_, ca := certificate()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// serve starts a server of drops, changed by changes, and returns its address.
func serve(t testing.TB, drops Maildrops, changes ...func(*Server)) (*Server, string) {
	t.Helper()
	srv := &Server{
		SignIns: signIns(time.Millisecond), Maildrops: drops, TLS: serverTLS(),
		InsecureAuth: true, MaxConnectionsPerIP: 2000,
	}
	for _, change := range changes {
		change(srv)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if held := len(srv.locks.held); held != 0 {
			t.Errorf("%d maildrops are still locked", held)
		}
	})
	return srv, l.Addr().String()
}

// client speaks lines.
type client struct {
	t    testing.TB
	conn net.Conn
	got  []byte
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn}
}

func (c *client) say(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (string, error) {
	for {
		if line, rest, ok := bytes.Cut(c.got, []byte("\n")); ok {
			c.got = rest
			if !bytes.HasSuffix(line, []byte("\r")) {
				return "", fmt.Errorf("line %q does not end with CRLF", line)
			}
			return string(line[:len(line)-1]), nil
		}
		buf := make([]byte, 4096)
		_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.conn.Read(buf)
		c.got = append(c.got, buf[:n]...)
		if err != nil && n == 0 {
			return "", err
		}
	}
}

// want reads a line; a pattern that ends with * is a prefix.
func (c *client) want(pattern string) {
	c.t.Helper()
	line, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for %q: %v", pattern, err)
	}
	prefix, open := strings.CutSuffix(pattern, "*")
	if line != pattern && !(open && strings.HasPrefix(line, prefix)) {
		c.t.Fatalf("got %q, want %q", line, pattern)
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	if line, err := c.read(); err == nil {
		c.t.Fatalf("got %q, want the end of the connection", line)
	}
}

func signedIn(t testing.TB, address, login string) *client {
	t.Helper()
	c := dial(t, address)
	c.want("+OK*")
	c.say("USER "+login, "PASS "+password)
	c.want("+OK*")
	c.want("+OK*")
	return c
}

func unlocked(t *testing.T, srv *Server, login string) {
	t.Helper()
	for range 500 {
		srv.locks.mu.Lock()
		_, held := srv.locks.held[login]
		srv.locks.mu.Unlock()
		if !held {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the maildrop stays locked")
}
