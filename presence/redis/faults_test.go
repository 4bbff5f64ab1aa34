// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// Redis killed, then back and empty: calls fail at once, and everyone gets the
// same port again, held ones first, newcomers never one of theirs.
func TestRedisRestartedEmpty(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	var logs pt.LogBook
	ctx, r := t.Context(), openRedis(t, Options{URL: s.url(),
		Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(50)}}, Timeout: time.Second,
		Log: logs.Logger()})
	gs := pt.Fill(t, r, 45)
	held := gs[7]
	pt.OK(t, r.Hold(ctx, held))

	s.kill()
	pt.Eventually(t, time.Second, func() error {
		if _, err := r.Grant(ctx, "u1"); !errors.Is(err, presence.ErrUnavailable) {
			return fmt.Errorf("without Redis: %v", err)
		}
		return nil
	})
	began := time.Now()
	for range 100 {
		_, err := r.Grant(ctx, "u1")
		pt.WantErr(t, err, presence.ErrUnavailable)
		pt.WantErr(t, r.Renew(ctx, presence.Address{Login: "u1"}), presence.ErrUnavailable)
	}
	if d := time.Since(began); d > 100*time.Millisecond {
		t.Errorf("200 calls without Redis took %v", d)
	}
	pt.WantErr(t, r.Hold(ctx, held), presence.ErrUnavailable) // remembered all the same

	s.start()
	var late []presence.Grant
	pt.Eventually(t, 5*time.Second, func() error {
		g, err := r.Grant(ctx, "newcomer")
		if err == nil {
			late = append(late, g)
		}
		return err
	})
	pt.OK(t, r.Hold(ctx, held))
	for _, g := range gs {
		if g.Port == late[0].Port {
			t.Errorf("a newcomer got the port %d of %s", g.Port, g.Login)
		}
		of := pt.Must[presence.Grant](t)(r.GrantOf(ctx, g.Login))
		if again := pt.MustGrant(t, r, g.Login); again.Port != g.Port || of.Port != g.Port {
			t.Errorf("%s has port %d, want %d", g.Login, again.Port, g.Port)
		}
	}
	if n := logs.Count("does not answer"); n != 1 {
		t.Errorf("the outage was reported %d times", n)
	}
	if n := logs.Count("answers again"); n != 1 {
		t.Errorf("the end of the outage was reported %d times", n)
	}
}

// A Redis that hangs costs the first call its time-out and the others nothing;
// a caller's own deadline is obeyed.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	r := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost}}})
	patient := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: "other.example"}},
		Prefix: "patient", Timeout: 2 * time.Second})
	var g presence.Grant
	pt.Eventually(t, 5*time.Second, func() (err error) { g, err = r.Grant(ctx, "a"); return err })
	pt.Eventually(t, 5*time.Second, func() (err error) { _, err = patient.Grant(ctx, "a"); return err })

	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	calls := map[string]func() error{
		"Grant":      func() error { return second(r.Grant(ctx, "a")) },
		"GrantOf":    func() error { return second(r.GrantOf(ctx, "a")) },
		"Resolve":    func() error { return second(r.Resolve(ctx, g.Host, g.Port)) },
		"Lookup":     func() error { return second(r.Lookup(ctx, "a")) },
		"Devices":    func() error { return second(r.Devices(ctx, "a")) },
		"Hosts":      func() error { return second(r.Hosts(ctx)) },
		"Addresses":  func() error { return second(r.Addresses(ctx, 10)) },
		"AllDevices": func() error { return second(r.AllDevices(ctx, 10)) },
		"Grants":     func() error { return second(r.Grants(ctx, 10)) },
		"Renew":      func() error { return r.Renew(ctx, presence.Address{Login: "a", Source: presence.POP3}) },
		"Connect":    func() error { return r.Connect(ctx, presence.Device{ID: "1", Login: "a"}) },
		"Disconnect": func() error { return r.Disconnect(ctx, "a", "1") },
		"Hold":       func() error { return r.Hold(ctx, g) },
		"Release":    func() error { return r.Release(ctx, g) },
		"Block":      func() error { return r.Block(ctx, g) },
		"Publish":    func() error { return r.Publish(ctx, "", nil) },
	}
	for i := range 50 {
		for name, call := range calls {
			began := time.Now()
			pt.WantErr(t, call(), presence.ErrUnavailable)
			if d := time.Since(began); d > 50*time.Millisecond+slack {
				t.Errorf("%s, round %d: took %v", name, i, d)
			}
		}
	}

	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := patient.Grant(short, "a")
	pt.WantErr(t, err, presence.ErrUnavailable)
	if d := time.Since(began); d > 30*time.Millisecond+slack {
		t.Errorf("a call with a deadline of 30 ms took %v", d)
	}

	s.signal(syscall.SIGCONT)
	pt.Eventually(t, 2*time.Second, func() error {
		again, err := r.Grant(ctx, "a")
		if err == nil && again.Port != g.Port {
			t.Errorf("port %d, want %d", again.Port, g.Port)
		}
		return err
	})
}

// A Redis that hangs holds up no end of the process.
func TestRedisHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost}}, Timeout: time.Second})
	r.Subscribe(func(string, []byte) {})
	pt.MustGrant(t, r, "a")
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	began := time.Now()
	if err := r.Leave(t.Context()); err == nil {
		t.Error("it left a Redis that hangs")
	}
	pt.OK(t, r.Close())
	if d := time.Since(began); d > 4*time.Second+slack {
		t.Errorf("leaving and closing took %v", d)
	}
}

// A panic under a call is its error, one of the subscriber ends with its
// message, and both go on.
func TestRedisPanic(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	var logs pt.LogBook
	var bug atomic.Bool
	bug.Store(true)
	one := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: "one.example"}}, Timeout: time.Second,
		Log: logs.Logger(), Probe: func(string, int) error {
			if bug.Load() {
				panic("a bug of the probe")
			}
			return nil
		}})
	_, err := one.Grant(t.Context(), "a")
	pt.WantErr(t, err, presence.ErrUnavailable)
	if logs.Count("a bug of the probe") != 1 {
		t.Errorf("log: %s", &logs)
	}
	bug.Store(false)
	pt.MustGrant(t, one, "b")

	two := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: "two.example"}}, Timeout: time.Second})
	var in inbox
	one.Subscribe(func(from string, msg []byte) {
		if string(msg) == "evil" {
			panic("a bug of the subscriber")
		}
		in.take(from, msg)
	})
	reaches(t, two, "one.example", &in)
	pt.OK(t, two.Publish(t.Context(), "one.example", []byte("evil")))
	reaches(t, two, "one.example", &in)
	if logs.Count("a bug of the subscriber") != 1 {
		t.Errorf("log: %s", &logs)
	}
}

// slack is what a busy machine may add to a time.
const slack = 100 * time.Millisecond

// Nobody listens where Redis should be: no error at the start, and no delay.
func TestRedisAbsent(t *testing.T) {
	t.Parallel()
	l := pt.Must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")) // takes connections, says nothing
	defer l.Close()
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", testpart.FreePort(t)), l.Addr().String()} {
		r := openRedis(t, Options{URL: "redis://" + addr, Ranges: presence.HostRanges{{Host: pt.TestHost}}})
		began := time.Now()
		_, err := r.Grant(t.Context(), "a")
		pt.WantErr(t, err, presence.ErrUnavailable)
		if d := time.Since(began); d > 50*time.Millisecond+slack {
			t.Errorf("%s: took %v", addr, d)
		}
	}
}

// Redis' clock jumps ahead by more than every lease: what is held stays held.
func TestRedisClockJumped(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, c := t.Context(), s.client()
	defer c.Close()
	r := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(2)}},
		Timeout: time.Second})
	a, b := pt.MustGrant(t, r, "a"), pt.MustGrant(t, r, "b")
	pt.OK(t, r.Hold(ctx, a))
	// What a jump does: the host's key expires, and the end of the hold is past.
	keys := r.hostKeys(pt.TestHost)
	pt.OK(t, c.ZAdd(ctx, keys[4], goredis.Z{Score: 1, Member: a.Port}).Err())
	pt.OK(t, c.Del(ctx, keys[0]).Err())
	if late := pt.MustGrant(t, r, "late"); late.Port != b.Port {
		t.Errorf("took port %d, want %d which is not held", late.Port, b.Port)
	}
	if g := pt.Must[presence.Grant](t)(r.GrantOf(ctx, "a")); g.Port != a.Port || !g.Held {
		t.Errorf("grant %+v, want port %d, held", g, a.Port)
	}
}

// A failover lost the last writes: a port whose conversation this process knows
// of is given to nobody.
func TestRedisLostWrites(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, c := t.Context(), s.client()
	defer c.Close()
	r := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(2)}},
		Timeout: time.Second})
	a := pt.MustGrant(t, r, "a")
	pt.OK(t, r.Hold(ctx, a))
	keys := r.hostKeys(pt.TestHost)
	pt.OK(t, c.Del(ctx, keys[1:]...).Err())
	for i := range 3 {
		if g := pt.MustGrant(t, r, fmt.Sprint("u", i)); g.Port == a.Port {
			t.Fatalf("port %d of a conversation granted to %s", g.Port, g.Login)
		}
	}
	pt.OK(t, r.Hold(ctx, a))
}
