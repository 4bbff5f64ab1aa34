// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// redisServer is a real redis-server that keeps nothing on the disk.
type redisServer struct {
	t    testing.TB
	path string
	port int
	args []string
	tls  *tls.Config // nil for none
	cmd  *exec.Cmd
}

func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{t: t, path: testpart.Need(t, "redis-server"), port: testpart.FreePort(t), args: args}
	s.start()
	return s
}

func (s *redisServer) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *redisServer) url() string  { return "redis://" + s.addr() }

// start starts it, empty; also again.
func (s *redisServer) start() {
	s.t.Helper()
	listen := []string{"--port", fmt.Sprint(s.port)}
	if s.tls != nil {
		listen = []string{"--port", "0", "--tls-port", fmt.Sprint(s.port)}
	}
	s.run(slices.Concat(listen, []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--enable-debug-command", "yes"}, s.args)...)
}

// run runs redis-server in a folder of its own until it answers.
func (s *redisServer) run(args ...string) {
	s.t.Helper()
	dir := pt.Must[string](s.t)(os.MkdirTemp("", "presence-redis-"))
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	s.cmd = exec.Command(s.path, args...)
	s.cmd.Dir = dir
	pt.OK(s.t, s.cmd.Start())
	s.t.Cleanup(s.kill)
	c := s.client()
	defer c.Close()
	pt.Eventually(s.t, 10*time.Second, func() error { return c.Ping(context.Background()).Err() })
}

func (s *redisServer) client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: s.addr(), TLSConfig: s.tls, MaxRetries: -1, DialerRetries: 1})
}

func (s *redisServer) kill() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd.Process = nil
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

// suite is that of a server; timeouts are wide because the machine is shared,
// the tests of timeouts have their own.
func suite(url string) pt.Suite {
	return pt.Suite{TTL: 700 * time.Millisecond, New: func(*testing.T) pt.Open {
		prefix := newPrefix()
		return func(t *testing.T, o pt.Options) presence.Directory {
			return openRedis(t, Options{URL: url, Prefix: prefix, Ranges: o.Ranges(), ID: "test",
				Timeout: 5 * time.Second,
				Probe:   o.Probe, TTL: o.TTL, Log: o.Log})
		}
	}}
}

func openRedis(t testing.TB, o Options) *Directory {
	t.Helper()
	r := pt.Must[*Directory](t)(Open(o))
	t.Cleanup(func() { r.Close() })
	return r
}

// Every key has a lease.
func TestRedisLeases(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, c := t.Context(), s.client()
	defer c.Close()
	r := openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost}}, Timeout: time.Second})
	g := pt.MustGrant(t, r, "a")
	b := pt.MustGrant(t, r, "b")
	pt.MustGrant(t, r, "c")
	pt.OK(t, r.Hold(ctx, g))
	pt.OK(t, r.Block(ctx, b))
	pt.OK(t, r.Connect(ctx, presence.Device{ID: "1", Login: "a", Source: presence.Desk}))
	pt.Must[[]presence.Device](t)(r.AllDevices(ctx, 10)) // writes what was seen last
	keys := pt.Must[[]string](t)(c.Keys(ctx, "*").Result())
	if len(keys) != 14 {
		t.Errorf("%d keys: %q", len(keys), keys)
	}
	for _, key := range keys {
		if ttl := c.PTTL(ctx, key).Val(); ttl <= 0 {
			t.Errorf("%s has no lease", key)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	here := openRedis(t, Options{URL: s.url(), Prefix: newPrefix(), ID: "a"})
	pt.OK(t, here.PutRules(t.Context(), map[string]string{"192.0.2.0/24": "one", "2001:db8::/64": "two"}))
	pt.OK(t, here.PutRules(t.Context(), map[string]string{"192.0.2.0/24": "three"}))
	pt.OK(t, here.DeleteRules(t.Context(), []string{"2001:db8::/64", "203.0.113.0/24"}))
	all := pt.Must[map[string]string](t)(here.Rules(t.Context()))
	if want := map[string]string{"192.0.2.0/24": "three"}; !maps.Equal(all, want) {
		t.Errorf("%v, want %v", all, want)
	}
}
