// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/internal/testpart"
)

// redisServer is a real redis-server that keeps nothing on the disk.
type redisServer struct {
	t    testing.TB
	path string
	port int
	args []string
	cmd  *exec.Cmd
}

func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{t: t, path: testpart.Need(t, "redis-server"), port: testpart.FreePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *redisServer) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *redisServer) url() string  { return "redis://" + s.addr() }

func (s *redisServer) start() {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "presence-redis-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	s.cmd = exec.Command(s.path, append([]string{"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", dir, "--enable-debug-command", "yes"}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := s.client()
	defer c.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c.Ping(context.Background()).Err() == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("redis-server did not start")
		}
	}
}

func (s *redisServer) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1, DialerRetries: 1})
}

func (s *redisServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *redisServer) signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

var prefixes struct {
	sync.Mutex
	n int
}

func newPrefix() string {
	prefixes.Lock()
	defer prefixes.Unlock()
	prefixes.n++
	return fmt.Sprintf("test%d", prefixes.n)
}

// redisWorld makes worlds on one server; timeouts are wide because the machine
// is shared, the tests of timeouts have their own.
func redisWorld(url string) func(t *testing.T) world {
	return func(*testing.T) world {
		prefix := newPrefix()
		return func(t *testing.T, o testOptions) Directory {
			return openRedis(t, RedisOptions{URL: url, Prefix: prefix, Host: testHost, Timeout: 5 * time.Second,
				Range: o.Range, Probe: o.Probe, TTL: o.TTL, Log: o.Log})
		}
	}
}

func openRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	r := must[*Redis](t)(OpenRedis(o))
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRedis(t *testing.T) {
	t.Parallel()
	testDirectory(t, redisWorld(startRedis(t).url()))
}

// Three masters: a step that touches two slots is refused by them.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var nodes []*redisServer
	var addrs []string
	for i := range 3 {
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
		c := s.client()
		ok(t, c.ClusterAddSlotsRange(ctx, i*5462, min(16383, i*5462+5461)).Err())
		ok(t, c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i > 0 {
			ok(t, c.ClusterMeet(ctx, "127.0.0.1", fmt.Sprint(nodes[0].port)).Err())
		}
		c.Close()
		nodes, addrs = append(nodes, s), append(addrs, s.addr())
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, s := range nodes {
			c := s.client()
			info := c.ClusterInfo(ctx).Val()
			c.Close()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") {
				ready++
			}
		}
		if ready == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster did not form")
		}
	}
	testDirectory(t, redisWorld("redis://"+strings.Join(addrs, ",")))
}

// eventually waits until f has no error.
func eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
	}
}

// Redis killed, then back and empty: calls fail at once, and everyone gets the
// same port again, held ones first, newcomers never one of theirs.
func TestRedisRestartedEmpty(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	var logs logBook
	ctx, r := t.Context(), openRedis(t, RedisOptions{URL: s.url(), Host: testHost, Range: narrow(50), Timeout: 250 * time.Millisecond, Log: logs.add})
	gs := fill(t, r, 45)
	held := gs[7]
	ok(t, r.Hold(ctx, held))

	s.kill()
	eventually(t, time.Second, func() error {
		if _, err := r.Grant(ctx, "u1"); !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("without Redis: %v", err)
		}
		return nil
	})
	began := time.Now()
	for range 100 {
		_, err := r.Grant(ctx, "u1")
		wantErr(t, err, ErrUnavailable)
		wantErr(t, r.Renew(ctx, Address{Login: "u1"}), ErrUnavailable)
	}
	if d := time.Since(began); d > 100*time.Millisecond {
		t.Errorf("200 calls without Redis took %v", d)
	}
	wantErr(t, r.Hold(ctx, held), ErrUnavailable) // remembered all the same

	s.start()
	var late []Grant
	eventually(t, 5*time.Second, func() error {
		g, err := r.Grant(ctx, "newcomer")
		if err == nil {
			late = append(late, g)
		}
		return err
	})
	ok(t, r.Hold(ctx, held))
	for _, g := range gs {
		if g.Port == late[0].Port {
			t.Errorf("a newcomer got the port %d of %s", g.Port, g.Login)
		}
		of := must[Grant](t)(r.GrantOf(ctx, g.Login))
		if again := mustGrant(t, r, g.Login); again.Port != g.Port || of.Port != g.Port {
			t.Errorf("%s has port %d, want %d", g.Login, again.Port, g.Port)
		}
	}
	if n := logs.count("does not answer"); n != 1 {
		t.Errorf("the outage was reported %d times", n)
	}
	if n := logs.count("answers again"); n != 1 {
		t.Errorf("the end of the outage was reported %d times", n)
	}
}

// A Redis that hangs costs the first call its time-out and the others nothing;
// a caller's own deadline is obeyed.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	r := openRedis(t, RedisOptions{URL: s.url(), Host: testHost})
	patient := openRedis(t, RedisOptions{URL: s.url(), Host: "other.example", Prefix: "patient", Timeout: 2 * time.Second})
	var g Grant
	eventually(t, 5*time.Second, func() (err error) { g, err = r.Grant(ctx, "a"); return err })
	eventually(t, 5*time.Second, func() (err error) { _, err = patient.Grant(ctx, "a"); return err })

	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	began := time.Now()
	_, err := r.Grant(ctx, "a")
	if d := time.Since(began); d > 50*time.Millisecond+slack {
		t.Errorf("the first call took %v", d)
	}
	wantErr(t, err, ErrUnavailable)
	began = time.Now()
	for range 100 {
		_, err := r.Grant(ctx, "a")
		wantErr(t, err, ErrUnavailable)
	}
	if d := time.Since(began); d > 50*time.Millisecond+slack {
		t.Errorf("100 more calls took %v", d)
	}

	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	began = time.Now()
	_, err = patient.Grant(short, "a")
	wantErr(t, err, ErrUnavailable)
	if d := time.Since(began); d > 30*time.Millisecond+slack {
		t.Errorf("a call with a deadline of 30 ms took %v", d)
	}

	s.signal(syscall.SIGCONT)
	eventually(t, 2*time.Second, func() error {
		again, err := r.Grant(ctx, "a")
		if err == nil && again.Port != g.Port {
			t.Errorf("port %d, want %d", again.Port, g.Port)
		}
		return err
	})
}

// slack is what a busy machine may add to a time.
const slack = 100 * time.Millisecond

// Nobody listens where Redis should be: no error at the start, and no delay.
func TestRedisAbsent(t *testing.T) {
	t.Parallel()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")) // takes connections, says nothing
	defer l.Close()
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", testpart.FreePort(t)), l.Addr().String()} {
		r := openRedis(t, RedisOptions{URL: "redis://" + addr, Host: testHost})
		began := time.Now()
		_, err := r.Grant(t.Context(), "a")
		wantErr(t, err, ErrUnavailable)
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
	r := openRedis(t, RedisOptions{URL: s.url(), Host: testHost, Range: narrow(2), Timeout: time.Second})
	a, b := mustGrant(t, r, "a"), mustGrant(t, r, "b")
	ok(t, r.Hold(ctx, a))
	// What a jump does: the host's key expires, and the end of the hold is past.
	keys := r.hostKeys(testHost)
	ok(t, c.ZAdd(ctx, keys[4], redis.Z{Score: 1, Member: a.Port}).Err())
	ok(t, c.Del(ctx, keys[0]).Err())
	if late := mustGrant(t, r, "late"); late.Port != b.Port {
		t.Errorf("took port %d, want %d which is not held", late.Port, b.Port)
	}
	if g := must[Grant](t)(r.GrantOf(ctx, "a")); g.Port != a.Port || !g.Held {
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
	r := openRedis(t, RedisOptions{URL: s.url(), Host: testHost, Range: narrow(2), Timeout: time.Second})
	a := mustGrant(t, r, "a")
	ok(t, r.Hold(ctx, a))
	keys := r.hostKeys(testHost)
	ok(t, c.Del(ctx, keys[1:]...).Err())
	for i := range 3 {
		if g := mustGrant(t, r, fmt.Sprint("u", i)); g.Port == a.Port {
			t.Fatalf("port %d of a conversation granted to %s", g.Port, g.Login)
		}
	}
	ok(t, r.Hold(ctx, a))
}

// Two relay hosts: a login has one grant, where its host is alive.
func TestRedisTwoHosts(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	open := func(host string) *Redis {
		return openRedis(t, RedisOptions{URL: s.url(), Host: host, Timeout: time.Second, Range: narrow(10),
			TTL: TTLs{Hold: time.Second}})
	}
	one, two := open("one.example"), open("two.example")
	g := mustGrant(t, one, "a")
	if again := mustGrant(t, two, "a"); again.Host != "one.example" || again.Port != g.Port {
		t.Errorf("second host granted %+v, want %+v", again, g)
	}
	if login := must[string](t)(two.Resolve(ctx, "one.example", g.Port)); login != "a" {
		t.Errorf("resolved to %q", login)
	}
	ok(t, two.Hold(ctx, g))
	// Both at once: one wins, and both say so.
	var wg sync.WaitGroup
	got := make([]Grant, 20)
	for i := range got {
		wg.Go(func() {
			g, err := []*Redis{one, two}[i%2].Grant(ctx, "both")
			if err != nil {
				t.Error(err)
			}
			got[i] = g
		})
	}
	wg.Wait()
	for _, g := range got {
		if g.Host != got[0].Host || g.Port != got[0].Port {
			t.Errorf("granted %v and %v", got[0], g)
		}
	}
	if gs := must[[]Grant](t)(two.Grants(ctx, 100)); len(gs) != 2 {
		t.Errorf("grants %+v, want 2", gs)
	}
	ok(t, one.Close())
	eventually(t, 3*time.Second, func() error { // the host's heartbeats stopped
		g, err := two.Grant(ctx, "a")
		if err == nil && g.Host != "two.example" {
			err = fmt.Errorf("still at %s", g.Host)
		}
		return err
	})
	if of := must[Grant](t)(two.GrantOf(ctx, "a")); of.Host != "two.example" {
		t.Errorf("grant %+v", of)
	}
}

// Every key has a lease.
func TestRedisLeases(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, c := t.Context(), s.client()
	defer c.Close()
	r := openRedis(t, RedisOptions{URL: s.url(), Host: testHost, Timeout: time.Second})
	g := mustGrant(t, r, "a")
	b := mustGrant(t, r, "b")
	mustGrant(t, r, "c")
	ok(t, r.Hold(ctx, g))
	ok(t, r.Block(ctx, b))
	ok(t, r.Connect(ctx, Device{ID: "1", Login: "a", Source: Desk}))
	keys := must[[]string](t)(c.Keys(ctx, "*").Result())
	if len(keys) != 12 {
		t.Errorf("%d keys: %q", len(keys), keys)
	}
	for _, key := range keys {
		if ttl := c.PTTL(ctx, key).Val(); ttl <= 0 {
			t.Errorf("%s has no lease", key)
		}
	}
}

// A process that is no relay host reads and leaves no trace.
func TestRedisReader(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	g := mustGrant(t, openRedis(t, RedisOptions{URL: s.url(), Host: testHost, Timeout: time.Second}), "a")
	r := openRedis(t, RedisOptions{URL: s.url(), Timeout: time.Second})
	if gs := must[[]Grant](t)(r.Grants(ctx, 10)); len(gs) != 1 || gs[0].Port != g.Port {
		t.Errorf("grants %+v", gs)
	}
	_, err := r.Grant(ctx, "b")
	wantErr(t, err, ErrNoPort)
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	o := must[*redis.UniversalOptions](t)(parseURL("redis://us%40r:p%2Fw@a:1,b,[::1]:3/0?master=m&sentinel_password=x"))
	if fmt.Sprint(o.Addrs) != "[a:1 b:6379 [::1]:3]" || o.Username != "us@r" || o.Password != "p/w" || o.MasterName != "m" || o.SentinelPassword != "x" {
		t.Errorf("%+v", o)
	}
	o = must[*redis.UniversalOptions](t)(parseURL("rediss://redis.example/4"))
	if o.DB != 4 || o.TLSConfig == nil || o.TLSConfig.ServerName != "redis.example" {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"", "localhost:6379", "http://x", "redis://u:secret@h:port", "redis://u:secret@h/x",
		"redis://u:secret@h?what=1", "redis://u:secret%zz@h", "redis://a,b/3", "rediss://u:secret@h?ca=/nonexistent"} {
		if _, err := parseURL(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	if _, err := OpenRedis(RedisOptions{URL: "redis://h", Prefix: "a{b"}); err == nil {
		t.Error("a prefix with a brace was taken")
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"redis://a", "redis://u:p@a:1,b:2/0?master=m", "rediss://[::1]:6379/3", "redis://?cluster=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := parseURL(s); err == nil && len(o.Addrs) == 0 {
			t.Errorf("%q has no address", s)
		}
	})
}
