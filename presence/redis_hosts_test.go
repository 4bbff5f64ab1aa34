// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Two relay hosts: a login has one grant, where its host is alive.
func TestRedisTwoHosts(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	open := func(host string) *Redis {
		return openRedis(t, RedisOptions{URL: s.url(), Ranges: []HostRange{{host, narrow(10)}}, Timeout: time.Second,
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

// A process that is no relay host reads and leaves no trace.
func TestRedisReader(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	g := mustGrant(t, openRedis(t, RedisOptions{URL: s.url(), Ranges: []HostRange{{Host: testHost}}, Timeout: time.Second}), "a")
	r := openRedis(t, RedisOptions{URL: s.url(), Timeout: time.Second})
	wantHosts(t, r, testHost)
	if gs := must[[]Grant](t)(r.Grants(ctx, 10)); len(gs) != 1 || gs[0].Port != g.Port {
		t.Errorf("grants %+v", gs)
	}
	_, err := r.Grant(ctx, "b")
	wantErr(t, err, ErrNoPort)
}

// Two live processes under one name: the second grants nothing, and says why.
func TestRedisNameTaken(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	var logs logBook
	open := func(id string) *Redis {
		return openRedis(t, RedisOptions{URL: s.url(), Ranges: []HostRange{{testHost, narrow(10)}}, ID: id,
			Timeout: time.Second, TTL: TTLs{Hold: 3 * time.Second}, Log: logs.add})
	}
	one := open("one")
	ok(t, one.Ready(ctx))
	g := mustGrant(t, one, "a")

	began := time.Now()
	two := open("two")
	wantErr(t, two.Ready(ctx), ErrNameTaken)
	if d := time.Since(began); d > 2*time.Second+slack {
		t.Errorf("found a live rival after %v", d)
	}
	_, err := two.Grant(ctx, "b")
	wantErr(t, err, ErrNameTaken)
	wantErr(t, two.Publish(ctx, "", nil), ErrNameTaken)
	if of := must[Grant](t)(two.GrantOf(ctx, "a")); of.Port != g.Port { // it can read
		t.Errorf("grant %+v, want %+v", of, g)
	}
	if again := mustGrant(t, one, "a"); again.Port != g.Port {
		t.Errorf("the first has port %d, want %d", again.Port, g.Port)
	}
	wantHosts(t, two, testHost)
	if h := must[[]Host](t)(two.Hosts(ctx))[0]; h.ID != "one" {
		t.Errorf("host %+v", h)
	}
	if n := logs.count("another relay host"); n != 1 {
		t.Errorf("the conflict was reported %d times", n)
	}

	// The machine is replaced: its record expires, and the other has the name
	// with all that was granted.
	ok(t, one.Close())
	eventually(t, 10*time.Second, func() error { return two.Ready(ctx) })
	if again := mustGrant(t, two, "a"); again.Port != g.Port {
		t.Errorf("after the machine was replaced port %d, want %d", again.Port, g.Port)
	}
	if b := mustGrant(t, two, "b"); b.Port == g.Port {
		t.Error("two logins have one port")
	}
}

// A process with several names takes the first that no other has, and the same
// one again.
func TestRedisNames(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, dir := t.Context(), t.TempDir()
	open := func(id string) *Redis {
		return openRedis(t, RedisOptions{URL: s.url(), Ranges: []HostRange{{"localhost", narrow(10)}},
			Names: []string{"127.0.0.2", "127.0.0.3"}, ID: id, Path: filepath.Join(dir, id), Timeout: time.Second,
			TTL: TTLs{Hold: 3 * time.Second}})
	}
	var rs []*Redis
	for i, want := range []string{"localhost", "127.0.0.2", "127.0.0.3"} {
		r := open(fmt.Sprint("id", i))
		ok(t, r.Ready(ctx))
		g := mustGrant(t, r, fmt.Sprint("u", i))
		if r.RelayHost() != want || g.Host != want {
			t.Errorf("process %d is %s and granted on %s, want %s", i, r.RelayHost(), g.Host, want)
		}
		rs = append(rs, r)
	}
	fourth := open("id3")
	wantErr(t, fourth.Ready(ctx), ErrNameTaken)
	ok(t, fourth.Close())
	ok(t, rs[0].Close())
	ok(t, rs[1].Close())
	back := open("id1") // its record is there, and so is the first one's
	ok(t, back.Ready(ctx))
	if got := back.RelayHost(); got != "127.0.0.2" {
		t.Errorf("back as %s, want 127.0.0.2", got)
	}
	ok(t, back.Close())
	wantHosts(t, rs[2], "127.0.0.3") // the others' records expire
	back = open("id1")
	ok(t, back.Ready(ctx))
	if got := back.RelayHost(); got != "127.0.0.2" {
		t.Errorf("back late as %s, want 127.0.0.2", got)
	}
}

// A host that leaves: its logins are granted ports elsewhere at once, what is
// held stays, and its name is free when it has ended.
func TestRedisLeave(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	open := func(host, id string) *Redis {
		return openRedis(t, RedisOptions{URL: s.url(), Ranges: []HostRange{{host, narrow(10)}}, ID: id, Timeout: time.Second})
	}
	one, two := open("one.example", "1"), open("two.example", "2")
	a, b := mustGrant(t, one, "a"), mustGrant(t, one, "b")
	ok(t, one.Hold(ctx, a))
	ok(t, one.Leave(ctx))
	wantHosts(t, two, "two.example")
	for _, login := range []string{"a", "b"} {
		if g := mustGrant(t, two, login); g.Host != "two.example" {
			t.Errorf("%s was granted %+v", login, g)
		}
		if g := mustGrant(t, one, login); g.Host != "two.example" { // mail still comes in there
			t.Errorf("%s was granted %+v", login, g)
		}
	}
	ok(t, one.Hold(ctx, a))
	if login := must[string](t)(two.Resolve(ctx, "one.example", b.Port)); login != "b" { // an old link
		t.Errorf("the old port is %q's", login)
	}
	ok(t, one.Close())
	replaced := open("one.example", "3")
	ok(t, replaced.Ready(ctx))
	if g := mustGrant(t, replaced, "c"); g.Host != "one.example" || g.Port == a.Port {
		t.Errorf("granted %+v", g)
	}
}
