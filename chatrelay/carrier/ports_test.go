// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

const host = "relay.example"

// echo is a relay that sends back what it gets. Its functions may be nil.
type echo struct {
	log           io.Writer // may be nil
	serve         func(first []byte)
	hold, release func(context.Context, Grant)
}

func (e *echo) ServeRoom(ctx context.Context, c Conn) {
	defer c.Close("over")
	for {
		b, err := c.Read(ctx)
		if err != nil {
			return
		}
		if e.serve != nil {
			e.serve(b)
		}
		if c.Write(ctx, b) != nil {
			return
		}
	}
}

func (e *echo) OwnOrigin(string) bool  { return true }
func (e *echo) Bind(string) netip.Addr { return netip.MustParseAddr("127.0.0.1") }

func (e *echo) Hold(ctx context.Context, g Grant) {
	if e.hold != nil {
		e.hold(ctx, g)
	}
}

func (e *echo) Release(ctx context.Context, g Grant) {
	if e.release != nil {
		e.release(ctx, g)
	}
}

// logged takes what is logged, for the test that looks at it.
func (e *echo) logged() io.Writer {
	if e.log == nil {
		return io.Discard
	}
	return e.log
}

func openPorts(t *testing.T, e *echo, idle time.Duration) *Ports {
	t.Helper()
	ps, err := OpenPorts(Options{Relay: e, Name: host, Idle: idle, HoldEvery: time.Second,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), e.logged()), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ps.Close(Within(patience)); err != nil {
			t.Error(err)
		}
	})
	return ps
}

// grantTo grants a UDP port that nobody has.
func grantTo(t *testing.T, login string) Grant {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return Grant{Host: host, Port: c.LocalAddr().(*net.UDPAddr).Port, Login: login}
}

// say sends a frame over plain QUIC, and waits for it to come back.
func say(t *testing.T, g Grant, text string) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPN}}
	c, err := quic.DialAddr(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port)), conf, nil)
	if err != nil {
		return err
	}
	defer c.CloseWithError(0, "test")
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	conn := OverStream(s, QUIC, g.Port, netip.Addr{}, func(string) error { return nil })
	if err := conn.Write(ctx, []byte(text)); err != nil {
		return err
	}
	b, err := conn.Read(ctx)
	if err == nil && string(b) != text {
		err = fmt.Errorf("%q came back", b)
	}
	return err
}

// TestListenBesideShut: a port that idles is closed while others ask for it, who
// never find it taken. The grant is not released after it was held again.
func TestListenBesideShut(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	releasing, released := false, 0
	e := &echo{hold: func(context.Context, Grant) {
		mu.Lock()
		defer mu.Unlock()
		if releasing {
			t.Error("a grant is held while it is released")
		}
	}, release: func(context.Context, Grant) {
		mu.Lock()
		releasing = true
		mu.Unlock()
		time.Sleep(time.Millisecond) // the time of a round trip
		mu.Lock()
		defer mu.Unlock()
		releasing, released = false, released+1
	}}
	ps, g := openPorts(t, e, time.Millisecond), grantTo(t, "")
	const askers, times = 3, 400
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			mine := g
			mine.Login = fmt.Sprintf("u%d@mall.example", i)
			for n := range times {
				if err := ps.Listen(t.Context(), mine); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(n%40) * 100 * time.Microsecond) // about as long as a port may idle
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	t.Logf("closed %d times", released)
	if released < 20 {
		t.Errorf("the port was closed only %d times", released)
	}
}

// TestListenOfAnotherLogin: the grant of a port goes to another login while the
// port is closed and released for the first.
func TestListenOfAnotherLogin(t *testing.T) {
	t.Parallel()
	held, releases, goOn := make(chan string, 1000), make(chan string), make(chan struct{})
	ps := openPorts(t, &echo{
		hold: func(_ context.Context, g Grant) { held <- g.Login },
		release: func(_ context.Context, g Grant) {
			if g.Login == "one" {
				releases <- g.Login
				<-goOn
			}
		},
	}, time.Millisecond)
	one := grantTo(t, "one")
	if err := ps.Listen(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	<-releases
	for len(held) > 0 {
		<-held
	}
	ps.opt.Idle = time.Hour // the keeper of the first has read it for the last time
	two := one
	two.Login = "two"
	if err := ps.Listen(t.Context(), two); err != nil { // does not wait for the release
		t.Fatal(err)
	}
	if err := say(t, two, "hello"); err != nil {
		t.Error(err)
	}
	if len(held) > 0 {
		t.Errorf("held for %s before it was released for one", <-held)
	}
	close(goOn)
	if login := <-held; login != "two" {
		t.Errorf("held for %s", login)
	}
}

// TestListenWaits: who asks for a port that is being closed waits, as long as
// their context allows.
func TestListenWaits(t *testing.T) {
	t.Parallel()
	ps, g := openPorts(t, &echo{}, time.Hour), grantTo(t, "one")
	old := &port{ps: ps, at: g.spot(), shut: true, closed: make(chan struct{}), done: make(chan struct{})}
	ps.open[old.at] = old
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := ps.Listen(ctx, g); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is being closed: %v", err)
	}
	opened := make(chan error, 1)
	go func() { opened <- ps.Listen(t.Context(), g) }()
	ps.mu.Lock()
	old.gone = true
	ps.mu.Unlock()
	close(old.closed)
	close(old.done)
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if err := say(t, g, "hello"); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	ps, g := openPorts(t, &echo{}, time.Hour), grantTo(t, "one")
	c, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ps.Listen(t.Context(), g); !errors.Is(err, ErrTaken) {
		t.Errorf("a port of another program: %v", err)
	}
	full := openPorts(t, &echo{}, time.Hour)
	for i := range maxPorts {
		full.open[spot{host, i}] = nil
	}
	if err := full.Listen(t.Context(), Grant{Host: host, Port: 29999}); !errors.Is(err, ErrFull) {
		t.Errorf("one port too many: %v", err)
	}
	if err := full.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := full.Listen(t.Context(), g); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestSocketFails: a port whose socket has failed is opened again when somebody
// asks for it.
func TestSocketFails(t *testing.T) {
	t.Parallel()
	ps, g := openPorts(t, &echo{}, time.Hour), grantTo(t, "one")
	for range 2 {
		if err := ps.Listen(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := say(t, g, "hello"); err != nil {
			t.Fatal(err)
		}
		ps.mu.Lock()
		p := ps.open[g.spot()]
		ps.mu.Unlock()
		p.sock.Close()
		<-p.closed
	}
}

// TestPanicsOfTheRelay: a panic in one connection, or in the keeper of a port,
// ends nothing else.
func TestPanicsOfTheRelay(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	var mu sync.Mutex
	ps := openPorts(t, &echo{
		serve: func(b []byte) {
			if string(b) == "panic" {
				panic("in ServeRoom")
			}
		},
		hold:    func(context.Context, Grant) { panic("in Hold") },
		release: func(context.Context, Grant) { panic("in Release") },
		log: writer(func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			log.Write(b)
		}),
	}, time.Hour)
	g := grantTo(t, "one")
	if err := ps.Listen(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := say(t, g, "panic"); err == nil {
			t.Error("a connection outlived its panic")
		}
		if err := say(t, g, "hello"); err != nil {
			t.Error(err)
		}
	}
	if err := ps.Close(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, what := range []string{"in ServeRoom", "in Hold", "in Release"} {
		if !strings.Contains(log.String(), what) {
			t.Errorf("%s is not logged", what)
		}
	}
}

// writer is what is logged.
type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// TestCloseIsSideBySide: many ports are closed and released at the same time, and
// a relay that does not answer does not hold Close up for ever.
func TestCloseIsSideBySide(t *testing.T) {
	t.Parallel()
	const many = 100
	var all sync.WaitGroup // everybody waits in Release for all others
	all.Add(many)
	ps := openPorts(t, &echo{release: func(context.Context, Grant) { all.Done(); all.Wait() }}, time.Hour)
	var last Grant
	for range many {
		last = grantTo(t, "one")
		if err := ps.Listen(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	if err := say(t, last, "hello"); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := ps.Close(ctx); err != nil {
		t.Error(err)
	}
	silent := openPorts(t, &echo{release: func(ctx context.Context, _ Grant) { <-ctx.Done() }}, time.Hour)
	if err := silent.Listen(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := silent.Close(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closing without an answer: %v", err)
	}
}

// TestRetry: a client that has to prove its address gets in all the same.
func TestRetry(t *testing.T) {
	t.Parallel()
	ps, g := openPorts(t, &echo{}, time.Hour), grantTo(t, "one")
	ps.admission.mu.Lock()
	ps.admission.opening += retryFrom
	ps.admission.mu.Unlock()
	if err := ps.Listen(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := say(t, g, "hello"); err != nil {
		t.Error(err)
	}
}
