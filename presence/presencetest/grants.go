// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
)

func testGrant(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	_, err := d.GrantOf(ctx, "a")
	WantErr(t, err, presence.ErrUnknown)
	g := MustGrant(t, d, "a")
	if g.Login != "a" || g.Host != TestHost || !presence.DefaultRange.Contains(g.Port) || g.Held ||
		time.Since(g.Granted).Abs() > time.Second || time.Since(g.Renewed).Abs() > time.Second {
		t.Fatalf("grant %+v", g)
	}
	time.Sleep(10 * time.Millisecond)
	again := MustGrant(t, d, "a")
	if again.Port != g.Port || !again.Renewed.After(g.Renewed) ||
		again.Granted.Sub(g.Granted).Abs() > time.Millisecond {
		t.Errorf("again %+v, want %+v renewed", again, g)
	}
	if login := Must[string](t)(d.Resolve(ctx, TestHost, g.Port)); login != "a" {
		t.Errorf("port %d is %q's", g.Port, login)
	}
	if login := Must[string](t)(d.Resolve(ctx, strings.ToUpper(TestHost), g.Port)); login != "a" {
		t.Errorf("port %d is %q's", g.Port, login)
	}
	_, err = d.Resolve(ctx, TestHost, g.Port+1)
	WantErr(t, err, presence.ErrUnknown)
	_, err = d.Resolve(ctx, "elsewhere.example", g.Port)
	WantErr(t, err, presence.ErrUnknown)
	_, err = d.Resolve(ctx, TestHost, 99999)
	WantErr(t, err, presence.ErrUnknown)
	of := Must[presence.Grant](t)(d.GrantOf(ctx, "a"))
	if of.Port != g.Port || of.Renewed.Sub(again.Renewed).Abs() > time.Millisecond {
		t.Errorf("looked up %+v, want %+v", of, again)
	}
	other := MustGrant(t, d, "b")
	if other.Port == g.Port {
		t.Error("two logins have one port")
	}
	gs := Must[[]presence.Grant](t)(d.Grants(ctx, 10))
	if len(gs) != 2 || gs[0].Port > gs[1].Port {
		t.Errorf("grants %+v", gs)
	}
	if gs := Must[[]presence.Grant](t)(d.Grants(ctx, 1)); len(gs) != 1 {
		t.Errorf("%d grants with limit 1", len(gs))
	}
	_, err = d.Grant(ctx, "")
	if err == nil {
		t.Error("an empty login was granted a port")
	}
}

func testLease(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{TTL: presence.TTLs{Grant: w.ttl}})
	g := MustGrant(t, d, "a")
	for range 4 {
		MustGrant(t, d, "a") // it is renewed
		time.Sleep(w.ttl * 3 / 10)
	}
	Must[string](t)(d.Resolve(ctx, TestHost, g.Port))
	time.Sleep(w.ttl * 8 / 10)
	_, err := d.Resolve(ctx, TestHost, g.Port)
	WantErr(t, err, presence.ErrUnknown)
	_, err = d.GrantOf(ctx, "a")
	WantErr(t, err, presence.ErrUnknown)
	if gs := Must[[]presence.Grant](t)(d.Grants(ctx, 10)); len(gs) != 0 {
		t.Errorf("expired grant listed: %+v", gs)
	}
	if again := MustGrant(t, d, "a"); again.Port != g.Port {
		t.Errorf("port %d after the lease, want %d again", again.Port, g.Port)
	}
}

// Fill grants every port of a narrow range and returns the grants.
func Fill(t *testing.T, d presence.Directory, n int) []presence.Grant {
	t.Helper()
	var gs []presence.Grant
	ports := make(map[int]bool)
	for i := range n {
		g := MustGrant(t, d, fmt.Sprint("u", i))
		if ports[g.Port] {
			t.Fatalf("port %d granted twice", g.Port)
		}
		ports[g.Port] = true
		gs = append(gs, g)
		time.Sleep(2 * time.Millisecond) // Redis counts milliseconds
	}
	return gs
}

func testTakeover(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(3)})
	gs := Fill(t, d, 3)
	MustGrant(t, d, "u0") // u1 is now the one idle for longest
	time.Sleep(2 * time.Millisecond)
	g := MustGrant(t, d, "late")
	if g.Port != gs[1].Port {
		t.Errorf("took port %d, want %d of the one idle for longest", g.Port, gs[1].Port)
	}
	_, err := d.GrantOf(ctx, "u1")
	WantErr(t, err, presence.ErrUnknown)
	if login := Must[string](t)(d.Resolve(ctx, TestHost, g.Port)); login != "late" {
		t.Errorf("port %d is %q's, want late's", g.Port, login)
	}
	WantErr(t, d.Hold(ctx, gs[1]), presence.ErrUnknown)
}

func testBadPorts(t *testing.T, w world) {
	d := w.open(t, Options{Range: presence.Range{Lo: 6664, Hi: 6670}}) // 6665 to 6669 are bad
	gs := Fill(t, d, 2)
	ports := []int{gs[0].Port, gs[1].Port}
	slices.Sort(ports)
	if !slices.Equal(ports, []int{6664, 6670}) {
		t.Errorf("ports %v, want 6664 and 6670", ports)
	}
	OK(t, d.Hold(t.Context(), gs[0]))
	OK(t, d.Hold(t.Context(), gs[1]))
	_, err := d.Grant(t.Context(), "c")
	WantErr(t, err, presence.ErrNoPort)
}

func testRestart(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(40)})
	gs := Fill(t, d, 40)
	OK(t, d.Hold(ctx, gs[0]))
	// As after SIGKILL: the old directory is not closed.
	crashed := w.open(t, Options{Range: Narrow(40)})
	for _, g := range gs {
		if again := MustGrant(t, crashed, g.Login); again.Port != g.Port {
			t.Fatalf("%s has port %d after a crash, want %d", g.Login, again.Port, g.Port)
		}
	}
	OK(t, crashed.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.1"), Source: presence.Agent}))
	OK(t, crashed.Close())
	OK(t, d.Close())
	closed := w.open(t, Options{Range: Narrow(40)})
	Must[presence.Address](t)(closed.Lookup(ctx, "a"))
	for _, g := range gs {
		if login := Must[string](t)(closed.Resolve(ctx, TestHost, g.Port)); login != g.Login {
			t.Fatalf("port %d is %s's after a restart, want %s's", g.Port, login, g.Login)
		}
	}
}

func testRangeMoved(t *testing.T, w world) {
	d := w.open(t, Options{Range: presence.Range{Lo: 20000, Hi: 20003}})
	Fill(t, d, 4)
	OK(t, d.Close())
	moved := w.open(t, Options{Range: presence.Range{Lo: 20002, Hi: 20005}})
	Eventually(t, 5*time.Second, func() error { // the host is announced
		if hs, err := moved.Hosts(t.Context()); err != nil || len(hs) != 1 || hs[0].Ports != "20002-20005" {
			return fmt.Errorf("hosts %+v, error %w", hs, err)
		}
		return nil
	})
	for i := range 4 {
		if g := MustGrant(t, moved, fmt.Sprint("u", i)); g.Port < 20002 || g.Port > 20005 {
			t.Errorf("port %d is outside the new range", g.Port)
		}
	}
	if gs := Must[[]presence.Grant](t)(moved.Grants(t.Context(), 10)); len(gs) != 4 {
		t.Errorf("%d grants, want 4: %+v", len(gs), gs)
	}
}

func testConcurrency(t *testing.T, w world) {
	const n, room = 100, 30
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(room)})
	var mu sync.Mutex
	holder := make(map[int]string) // ports held now
	refused := 0
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			login := fmt.Sprint("u", i)
			g, err := d.Grant(ctx, login)
			if err == nil {
				err = d.Hold(ctx, g)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, presence.ErrNoPort), errors.Is(err, presence.ErrUnknown):
				refused++ // or taken over before it was held
			case err != nil:
				t.Errorf("%s: %v", login, err)
			case holder[g.Port] != "":
				t.Errorf("port %d is held by %s and %s", g.Port, holder[g.Port], login)
			default:
				holder[g.Port] = login
			}
		})
	}
	wg.Wait()
	if len(holder) > room || refused < n-room {
		t.Errorf("%d held, %d refused of %d in %d ports", len(holder), refused, n, room)
	}
	gs := Must[[]presence.Grant](t)(d.Grants(ctx, n))
	logins := make(map[string]bool)
	for _, g := range gs {
		if logins[g.Login] {
			t.Errorf("%s has two ports", g.Login)
		}
		logins[g.Login] = true
	}
	// The same login at once.
	for port := range holder {
		OK(t, d.Release(ctx, presence.Grant{Login: holder[port], Host: TestHost, Port: port}))
	}
	ports := make(map[int]bool)
	for range 20 {
		wg.Go(func() {
			g, err := d.Grant(ctx, "one")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			ports[g.Port] = true
		})
	}
	wg.Wait()
	if len(ports) != 1 {
		t.Errorf("one login was granted the ports %v", ports)
	}
}
