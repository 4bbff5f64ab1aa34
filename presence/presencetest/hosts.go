// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
)

func hostNames(t *testing.T, d presence.Directory) (names []string) {
	t.Helper()
	for _, h := range Must[[]presence.Host](t)(d.Hosts(t.Context())) {
		names = append(names, h.Name)
	}
	return names
}

// WantHosts waits for a list of hosts: a process writes it after it began to
// grant ports.
func WantHosts(t *testing.T, d presence.Directory, want ...string) {
	t.Helper()
	Eventually(t, 5*time.Second, func() error {
		if names := hostNames(t, d); !slices.Equal(names, want) {
			return fmt.Errorf("hosts %v, want %v", names, want)
		}
		return nil
	})
}

func testHosts(t *testing.T, w world) {
	d := w.open(t, Options{Range: Narrow(3), More: presence.HostRanges{{Host: OtherHost, Range: Narrow(2)}}})
	MustGrant(t, d, "a") // it is announced
	if got := d.RelayHost(); got != TestHost {
		t.Errorf("the primary host is %q", got)
	}
	WantHosts(t, d, TestHost, OtherHost)
	if h := Must[[]presence.Host](t)(d.Hosts(t.Context()))[0]; h.ID != "test" || h.Ports != "20000-20002" ||
		time.Since(h.Started).Abs() > 10*time.Second || time.Since(h.Heartbeat).Abs() > 10*time.Second {
		t.Errorf("host %+v", h)
	}
}

func testSeveralRanges(t *testing.T, w world) {
	ctx := t.Context()
	d := w.open(t, Options{Range: Narrow(3), More: presence.HostRanges{{Host: OtherHost, Range: Narrow(2)}}})
	var gs []presence.Grant
	for i := range 5 {
		gs = append(gs, MustGrant(t, d, fmt.Sprint("u", i)))
		time.Sleep(2 * time.Millisecond) // Redis counts milliseconds
	}
	for i, g := range gs {
		if want := []string{TestHost, TestHost, TestHost, OtherHost, OtherHost}[i]; g.Host != want {
			t.Errorf("grant %d is on %s, want %s", i, g.Host, want)
		}
		if login := Must[string](t)(d.Resolve(ctx, g.Host, g.Port)); login != g.Login {
			t.Errorf("port %d of %s is %s's, want %s's", g.Port, g.Host, login, g.Login)
		}
		if of := Must[presence.Grant](t)(d.GrantOf(ctx, g.Login)); of.Port != g.Port || of.Host != g.Host {
			t.Errorf("looked up %+v, want %+v", of, g)
		}
	}
	MustGrant(t, d, "u0")
	MustGrant(t, d, "u1")
	MustGrant(t, d, "u2") // u3, on the second host, is the one idle for longest
	time.Sleep(2 * time.Millisecond)
	if g := MustGrant(t, d, "late"); g.Host != OtherHost || g.Port != gs[3].Port {
		t.Errorf("took %+v, want the place of %+v", g, gs[3])
	}
	OK(t, d.Block(ctx, gs[4]))
	if g := MustGrant(t, d, "u4"); g.Host == gs[4].Host && g.Port == gs[4].Port {
		t.Errorf("blocked port granted again: %+v", g)
	}
	if all := Must[[]presence.Grant](t)(d.Grants(ctx, 10)); len(all) != 4 || all[0].Port > all[3].Port {
		t.Errorf("grants %+v", all)
	}
}

func testRangesRestart(t *testing.T, w world) {
	o := Options{Range: Narrow(20), More: presence.HostRanges{{Host: OtherHost, Range: Narrow(20)}}}
	d := w.open(t, o)
	var gs []presence.Grant
	for i := range 40 {
		gs = append(gs, MustGrant(t, d, fmt.Sprint("u", i)))
	}
	OK(t, d.Hold(t.Context(), gs[30]))
	OK(t, d.Close())
	again := w.open(t, o)
	for _, g := range gs {
		if n := MustGrant(t, again, g.Login); n.Host != g.Host || n.Port != g.Port {
			t.Errorf("%s has %s %d after a restart, want %s %d", g.Login, n.Host, n.Port, g.Host, g.Port)
		}
	}
	if g := Must[presence.Grant](t)(again.GrantOf(t.Context(), "u30")); !g.Held {
		t.Error("a conversation's port is not held after a restart")
	}
}

func testLeave(t *testing.T, w world) {
	ctx := t.Context()
	d := w.open(t, Options{Range: Narrow(3)})
	g := MustGrant(t, d, "a")
	OK(t, d.Hold(ctx, g))
	OK(t, d.Leave(ctx))
	OK(t, d.Leave(ctx)) // twice does no harm
	if names := hostNames(t, d); slices.Contains(names, TestHost) {
		t.Errorf("hosts %v after it left", names)
	}
	for _, login := range []string{"a", "new"} {
		_, err := d.Grant(ctx, login)
		WantErr(t, err, presence.ErrUnavailable)
	}
	OK(t, d.Hold(ctx, g)) // until its conversation has moved
	if of := Must[presence.Grant](t)(d.GrantOf(ctx, "a")); !of.Held || of.Port != g.Port {
		t.Errorf("grant %+v, want %+v, held", of, g)
	}
	OK(t, d.Release(ctx, g))
	OK(t, d.Close())
	back := w.open(t, Options{Range: Narrow(3)})
	if again := MustGrant(t, back, "a"); again.Port != g.Port {
		t.Errorf("port %d when it is back, want %d", again.Port, g.Port)
	}
	if names := hostNames(t, back); !slices.Contains(names, TestHost) {
		t.Errorf("hosts %v when it is back", names)
	}
}
