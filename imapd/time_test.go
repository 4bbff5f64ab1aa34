// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/imapd"
)

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	close(l.closed)
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection of a client at an address.
type from struct{ net.Conn }

func (from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// emptyStore has accounts without mail.
type emptyStore struct{}

type emptyAccount struct{ imapd.Account }

func (emptyStore) Account(string) (imapd.Account, error) { return emptyAccount{}, nil }
func (emptyStore) AppendLimit() uint32                   { return 0 }

// inTime runs a test against a server in whose time nobody waits.
func inTime(t *testing.T, test func(t *testing.T, told renewals, dial func() *client)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := make(renewals, 1000)
		srv := &imapd.Server{
			SignIn:   signin.New(signin.Options{Accounts: anyone{}}),
			Store:    emptyStore{},
			Presence: told, InsecureAuth: true,
		}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()
		defer func() {
			srv.Close()
			<-done
		}()
		test(t, told, func() *client {
			near, far := net.Pipe()
			t.Cleanup(func() { near.Close() })
			l.conns <- from{far}
			c := &client{near, t, newReader(near)}
			c.expect("* OK …")
			return c
		})
	})
}

// TestLoginTime: a connection has three minutes to sign in, however it spends them.
func TestLoginTime(t *testing.T) {
	inTime(t, func(t *testing.T, _ renewals, dial func() *client) {
		var writing sync.WaitGroup
		for _, name := range []string{"silent", "busy"} {
			c, began := dial(), time.Now()
			if name == "busy" {
				writing.Go(func() { // ends with the connection
					for err := error(nil); err == nil; {
						time.Sleep(19 * time.Second)
						_, err = c.Write([]byte("a NOOP\r\n"))
					}
				})
			}
			_ = c.SetReadDeadline(time.Time{})
			for line := ""; !strings.HasPrefix(line, "* BYE Autologout"); {
				var err error
				if line, err = c.r.ReadString('\n'); err != nil {
					t.Fatal(name, err)
				}
			}
			if took := time.Since(began); took != 3*time.Minute {
				t.Errorf("%s: it ended after %v", name, took)
			}
			c.Close()
		}
		writing.Wait()
	})
}

// TestAutologout: who is signed in may be silent for half an hour, in IDLE as well,
// which renews the login's address every ten minutes meanwhile.
func TestAutologout(t *testing.T) {
	inTime(t, func(t *testing.T, told renewals, dial func() *client) {
		silent, idle := dial(), dial()
		for _, c := range []*client{silent, idle} {
			c.ask("OK …", "LOGIN mina@mall.example secret")
		}
		idle.send("t IDLE")
		idle.expect("+ …")
		began := time.Now()
		for _, c := range []*client{silent, idle} {
			_ = c.SetReadDeadline(time.Time{})
			if line, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "* BYE Autologout") {
				t.Fatalf("got %q, %v", line, err)
			}
			if took := time.Since(began); took != 30*time.Minute {
				t.Errorf("it ended after %v", took)
			}
		}
		synctest.Wait()
		if n := len(told); n < 4 || n > 5 { // two sign-ins, and IDLE at 10, 20 and perhaps 30 minutes
			t.Errorf("%d renewals", n)
		}
	})
}

// TestRenewedInUse: a session that is in use renews the address as well.
func TestRenewedInUse(t *testing.T) {
	inTime(t, func(t *testing.T, told renewals, dial func() *client) {
		c := dial()
		c.ask("OK …", "LOGIN mina@mall.example secret")
		for range 25 {
			time.Sleep(time.Minute)
			c.ask("OK …", "NOOP")
		}
		if n := len(told); n != 3 {
			t.Errorf("%d renewals in 25 minutes, want 3", n)
		}
	})
}
