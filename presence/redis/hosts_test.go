// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// Two relay hosts: a login has one grant, where its host is alive.
func TestRedisTwoHosts(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	open := func(host string) *Directory {
		return openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: host, Range: pt.Narrow(10)}},
			Timeout: time.Second,
			TTL:     presence.TTLs{Hold: time.Second}})
	}
	one, two := open("one.example"), open("two.example")
	g := pt.MustGrant(t, one, "a")
	if again := pt.MustGrant(t, two, "a"); again.Host != "one.example" || again.Port != g.Port {
		t.Errorf("second host granted %+v, want %+v", again, g)
	}
	if login := pt.Must[string](t)(two.Resolve(ctx, "one.example", g.Port)); login != "a" {
		t.Errorf("resolved to %q", login)
	}
	pt.OK(t, two.Hold(ctx, g))
	// Both at once: one wins, and both say so.
	var wg sync.WaitGroup
	got := make([]presence.Grant, 20)
	for i := range got {
		wg.Go(func() {
			g, err := []*Directory{one, two}[i%2].Grant(ctx, "both")
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
	if gs := pt.Must[[]presence.Grant](t)(two.Grants(ctx, 100)); len(gs) != 2 {
		t.Errorf("grants %+v, want 2", gs)
	}
	pt.OK(t, one.Close())
	pt.Eventually(t, 3*time.Second, func() error { // the host's heartbeats stopped
		g, err := two.Grant(ctx, "a")
		if err == nil && g.Host != "two.example" {
			err = fmt.Errorf("still at %s", g.Host)
		}
		return err
	})
	if of := pt.Must[presence.Grant](t)(two.GrantOf(ctx, "a")); of.Host != "two.example" {
		t.Errorf("grant %+v", of)
	}
}

// A process that is no relay host reads and leaves no trace.
func TestRedisReader(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	g := pt.MustGrant(t, openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost}},
		Timeout: time.Second}), "a")
	r := openRedis(t, Options{URL: s.url(), Timeout: time.Second})
	pt.WantHosts(t, r, pt.TestHost)
	if gs := pt.Must[[]presence.Grant](t)(r.Grants(ctx, 10)); len(gs) != 1 || gs[0].Port != g.Port {
		t.Errorf("grants %+v", gs)
	}
	_, err := r.Grant(ctx, "b")
	pt.WantErr(t, err, presence.ErrNoPort)
}

// Two live processes under one name: the second grants nothing, and says why.
func TestRedisNameTaken(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx := t.Context()
	var logs pt.LogBook
	open := func(id string) *Directory {
		return openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost,
			Range: pt.Narrow(10)}}, ID: id,
			Timeout: time.Second, TTL: presence.TTLs{Hold: 3 * time.Second}, Log: logs.Logger()})
	}
	one := open("one")
	pt.OK(t, one.Ready(ctx))
	g := pt.MustGrant(t, one, "a")

	began := time.Now()
	two := open("two")
	pt.WantErr(t, two.Ready(ctx), presence.ErrNameTaken)
	if d := time.Since(began); d > 2*time.Second+slack {
		t.Errorf("found a live rival after %v", d)
	}
	_, err := two.Grant(ctx, "b")
	pt.WantErr(t, err, presence.ErrNameTaken)
	pt.WantErr(t, two.Publish(ctx, "", nil), presence.ErrNameTaken)
	if of := pt.Must[presence.Grant](t)(two.GrantOf(ctx, "a")); of.Port != g.Port { // it can read
		t.Errorf("grant %+v, want %+v", of, g)
	}
	if again := pt.MustGrant(t, one, "a"); again.Port != g.Port {
		t.Errorf("the first has port %d, want %d", again.Port, g.Port)
	}
	pt.WantHosts(t, two, pt.TestHost)
	if h := pt.Must[[]presence.Host](t)(two.Hosts(ctx))[0]; h.ID != "one" {
		t.Errorf("host %+v", h)
	}
	if n := logs.Count("another relay host"); n != 1 {
		t.Errorf("the conflict was reported %d times", n)
	}

	// The machine is replaced: its record expires, and the other has the name
	// with all that was granted.
	pt.OK(t, one.Close())
	pt.Eventually(t, 10*time.Second, func() error { return two.Ready(ctx) })
	if again := pt.MustGrant(t, two, "a"); again.Port != g.Port {
		t.Errorf("after the machine was replaced port %d, want %d", again.Port, g.Port)
	}
	if b := pt.MustGrant(t, two, "b"); b.Port == g.Port {
		t.Error("two logins have one port")
	}
}

// A process with several names takes the first that no other has, and the same
// one again.
func TestRedisNames(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, dir := t.Context(), t.TempDir()
	open := func(id string) *Directory {
		return openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: "localhost",
			Range: pt.Narrow(10)}},
			Names: []string{"127.0.0.2", "127.0.0.3"}, ID: id, Path: filepath.Join(dir, id), Timeout: time.Second,
			TTL: presence.TTLs{Hold: 3 * time.Second}})
	}
	var rs []*Directory
	for i, want := range []string{"localhost", "127.0.0.2", "127.0.0.3"} {
		r := open(fmt.Sprint("id", i))
		pt.OK(t, r.Ready(ctx))
		g := pt.MustGrant(t, r, fmt.Sprint("u", i))
		if r.RelayHost() != want || g.Host != want {
			t.Errorf("process %d is %s and granted on %s, want %s", i, r.RelayHost(), g.Host, want)
		}
		rs = append(rs, r)
	}
	fourth := open("id3")
	pt.WantErr(t, fourth.Ready(ctx), presence.ErrNameTaken)
	pt.OK(t, fourth.Close())
	pt.OK(t, rs[0].Close())
	pt.OK(t, rs[1].Close())
	back := open("id1") // its record is there, and so is the first one's
	pt.OK(t, back.Ready(ctx))
	if got := back.RelayHost(); got != "127.0.0.2" {
		t.Errorf("back as %s, want 127.0.0.2", got)
	}
	pt.OK(t, back.Close())
	pt.WantHosts(t, rs[2], "127.0.0.3") // the others' records expire
	back = open("id1")
	pt.OK(t, back.Ready(ctx))
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
	open := func(host, id string) *Directory {
		return openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: host, Range: pt.Narrow(10)}},
			ID: id, Timeout: time.Second})
	}
	one, two := open("one.example", "1"), open("two.example", "2")
	a, b := pt.MustGrant(t, one, "a"), pt.MustGrant(t, one, "b")
	pt.OK(t, one.Hold(ctx, a))
	pt.OK(t, one.Leave(ctx))
	pt.WantHosts(t, two, "two.example")
	for _, login := range []string{"a", "b"} {
		if g := pt.MustGrant(t, two, login); g.Host != "two.example" {
			t.Errorf("%s was granted %+v", login, g)
		}
		if g := pt.MustGrant(t, one, login); g.Host != "two.example" { // mail still comes in there
			t.Errorf("%s was granted %+v", login, g)
		}
	}
	pt.OK(t, one.Hold(ctx, a))
	if login := pt.Must[string](t)(two.Resolve(ctx, "one.example", b.Port)); login != "b" { // an old link
		t.Errorf("the old port is %q's", login)
	}
	pt.OK(t, one.Close())
	replaced := open("one.example", "3")
	pt.OK(t, replaced.Ready(ctx))
	if g := pt.MustGrant(t, replaced, "c"); g.Host != "one.example" || g.Port == a.Port {
		t.Errorf("granted %+v", g)
	}
}
