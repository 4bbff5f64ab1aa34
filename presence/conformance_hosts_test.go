// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const otherHost = "second.mall.example"

func hostNames(t *testing.T, d Directory) (names []string) {
	t.Helper()
	for _, h := range must[[]Host](t)(d.Hosts(t.Context())) {
		names = append(names, h.Name)
	}
	return names
}

// wantHosts waits for a list of hosts: a process writes it after it began to
// grant ports.
func wantHosts(t *testing.T, d Directory, want ...string) {
	t.Helper()
	eventually(t, 5*time.Second, func() error {
		if names := hostNames(t, d); !slices.Equal(names, want) {
			return fmt.Errorf("hosts %v, want %v", names, want)
		}
		return nil
	})
}

func testHosts(t *testing.T, w world) {
	d := w(t, testOptions{Range: narrow(3), More: []HostRange{{otherHost, narrow(2)}}})
	mustGrant(t, d, "a") // it is announced
	if got := d.RelayHost(); got != testHost {
		t.Errorf("the primary host is %q", got)
	}
	wantHosts(t, d, testHost, otherHost)
	if h := must[[]Host](t)(d.Hosts(t.Context()))[0]; h.ID != "test" || h.Ports != "20000-20002" ||
		time.Since(h.Started).Abs() > 10*time.Second || time.Since(h.Heartbeat).Abs() > 10*time.Second {
		t.Errorf("host %+v", h)
	}
}

func testSeveralRanges(t *testing.T, w world) {
	ctx := t.Context()
	d := w(t, testOptions{Range: narrow(3), More: []HostRange{{otherHost, narrow(2)}}})
	var gs []Grant
	for i := range 5 {
		gs = append(gs, mustGrant(t, d, fmt.Sprint("u", i)))
		time.Sleep(2 * time.Millisecond) // Redis counts milliseconds
	}
	for i, g := range gs {
		if want := []string{testHost, testHost, testHost, otherHost, otherHost}[i]; g.Host != want {
			t.Errorf("grant %d is on %s, want %s", i, g.Host, want)
		}
		if login := must[string](t)(d.Resolve(ctx, g.Host, g.Port)); login != g.Login {
			t.Errorf("port %d of %s is %s's, want %s's", g.Port, g.Host, login, g.Login)
		}
		if of := must[Grant](t)(d.GrantOf(ctx, g.Login)); of.Port != g.Port || of.Host != g.Host {
			t.Errorf("looked up %+v, want %+v", of, g)
		}
	}
	mustGrant(t, d, "u0")
	mustGrant(t, d, "u1")
	mustGrant(t, d, "u2") // u3, on the second host, is the one idle for longest
	time.Sleep(2 * time.Millisecond)
	if g := mustGrant(t, d, "late"); g.Host != otherHost || g.Port != gs[3].Port {
		t.Errorf("took %+v, want the place of %+v", g, gs[3])
	}
	ok(t, d.Block(ctx, gs[4]))
	if g := mustGrant(t, d, "u4"); g.Host == gs[4].Host && g.Port == gs[4].Port {
		t.Errorf("blocked port granted again: %+v", g)
	}
	if all := must[[]Grant](t)(d.Grants(ctx, 10)); len(all) != 4 || all[0].Port > all[3].Port {
		t.Errorf("grants %+v", all)
	}
}

func testRangesRestart(t *testing.T, w world) {
	o := testOptions{Range: narrow(20), More: []HostRange{{otherHost, narrow(20)}}}
	d := w(t, o)
	var gs []Grant
	for i := range 40 {
		gs = append(gs, mustGrant(t, d, fmt.Sprint("u", i)))
	}
	ok(t, d.Hold(t.Context(), gs[30]))
	ok(t, d.Close())
	again := w(t, o)
	for _, g := range gs {
		if n := mustGrant(t, again, g.Login); n.Host != g.Host || n.Port != g.Port {
			t.Errorf("%s has %s %d after a restart, want %s %d", g.Login, n.Host, n.Port, g.Host, g.Port)
		}
	}
	if g := must[Grant](t)(again.GrantOf(t.Context(), "u30")); !g.Held {
		t.Error("a conversation's port is not held after a restart")
	}
}

func testLeave(t *testing.T, w world) {
	ctx := t.Context()
	d := w(t, testOptions{Range: narrow(3)})
	g := mustGrant(t, d, "a")
	ok(t, d.Hold(ctx, g))
	ok(t, d.Leave(ctx))
	ok(t, d.Leave(ctx)) // twice does no harm
	if names := hostNames(t, d); slices.Contains(names, testHost) {
		t.Errorf("hosts %v after it left", names)
	}
	for _, login := range []string{"a", "new"} {
		_, err := d.Grant(ctx, login)
		wantErr(t, err, ErrUnavailable)
	}
	ok(t, d.Hold(ctx, g)) // until its conversation has moved
	if of := must[Grant](t)(d.GrantOf(ctx, "a")); !of.Held || of.Port != g.Port {
		t.Errorf("grant %+v, want %+v, held", of, g)
	}
	ok(t, d.Release(ctx, g))
	ok(t, d.Close())
	back := w(t, testOptions{Range: narrow(3)})
	if again := mustGrant(t, back, "a"); again.Port != g.Port {
		t.Errorf("port %d when it is back, want %d", again.Port, g.Port)
	}
	if names := hostNames(t, back); !slices.Contains(names, testHost) {
		t.Errorf("hosts %v when it is back", names)
	}
}
