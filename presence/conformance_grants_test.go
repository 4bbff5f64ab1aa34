// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func testGrant(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	_, err := d.GrantOf(ctx, "a")
	wantErr(t, err, ErrUnknown)
	g := mustGrant(t, d, "a")
	if g.Login != "a" || g.Host != testHost || !DefaultRange.Contains(g.Port) || g.Held ||
		time.Since(g.Granted).Abs() > time.Second || time.Since(g.Renewed).Abs() > time.Second {
		t.Fatalf("grant %+v", g)
	}
	time.Sleep(10 * time.Millisecond)
	again := mustGrant(t, d, "a")
	if again.Port != g.Port || !again.Renewed.After(g.Renewed) || again.Granted.Sub(g.Granted).Abs() > time.Millisecond {
		t.Errorf("again %+v, want %+v renewed", again, g)
	}
	if login := must[string](t)(d.Resolve(ctx, testHost, g.Port)); login != "a" {
		t.Errorf("port %d is %q's", g.Port, login)
	}
	if login := must[string](t)(d.Resolve(ctx, strings.ToUpper(testHost), g.Port)); login != "a" {
		t.Errorf("port %d is %q's", g.Port, login)
	}
	_, err = d.Resolve(ctx, testHost, g.Port+1)
	wantErr(t, err, ErrUnknown)
	_, err = d.Resolve(ctx, "elsewhere.example", g.Port)
	wantErr(t, err, ErrUnknown)
	_, err = d.Resolve(ctx, testHost, 99999)
	wantErr(t, err, ErrUnknown)
	if of := must[Grant](t)(d.GrantOf(ctx, "a")); of.Port != g.Port || of.Renewed.Sub(again.Renewed).Abs() > time.Millisecond {
		t.Errorf("looked up %+v, want %+v", of, again)
	}
	other := mustGrant(t, d, "b")
	if other.Port == g.Port {
		t.Error("two logins have one port")
	}
	gs := must[[]Grant](t)(d.Grants(ctx, 10))
	if len(gs) != 2 || gs[0].Port > gs[1].Port {
		t.Errorf("grants %+v", gs)
	}
	if gs := must[[]Grant](t)(d.Grants(ctx, 1)); len(gs) != 1 {
		t.Errorf("%d grants with limit 1", len(gs))
	}
	_, err = d.Grant(ctx, "")
	if err == nil {
		t.Error("an empty login was granted a port")
	}
}

func testLease(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Grant: 900 * time.Millisecond}})
	g := mustGrant(t, d, "a")
	time.Sleep(600 * time.Millisecond)
	mustGrant(t, d, "a")
	time.Sleep(600 * time.Millisecond)
	must[string](t)(d.Resolve(ctx, testHost, g.Port)) // renewed
	time.Sleep(600 * time.Millisecond)
	_, err := d.Resolve(ctx, testHost, g.Port)
	wantErr(t, err, ErrUnknown)
	_, err = d.GrantOf(ctx, "a")
	wantErr(t, err, ErrUnknown)
	if gs := must[[]Grant](t)(d.Grants(ctx, 10)); len(gs) != 0 {
		t.Errorf("expired grant listed: %+v", gs)
	}
	if again := mustGrant(t, d, "a"); again.Port != g.Port {
		t.Errorf("port %d after the lease, want %d again", again.Port, g.Port)
	}
}

// fill grants every port of a narrow range and returns the grants.
func fill(t *testing.T, d Directory, n int) []Grant {
	t.Helper()
	var gs []Grant
	ports := make(map[int]bool)
	for i := range n {
		g := mustGrant(t, d, fmt.Sprint("u", i))
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
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(3)})
	gs := fill(t, d, 3)
	mustGrant(t, d, "u0") // u1 is now the one idle for longest
	time.Sleep(2 * time.Millisecond)
	g := mustGrant(t, d, "late")
	if g.Port != gs[1].Port {
		t.Errorf("took port %d, want %d of the one idle for longest", g.Port, gs[1].Port)
	}
	_, err := d.GrantOf(ctx, "u1")
	wantErr(t, err, ErrUnknown)
	if login := must[string](t)(d.Resolve(ctx, testHost, g.Port)); login != "late" {
		t.Errorf("port %d is %q's, want late's", g.Port, login)
	}
	wantErr(t, d.Hold(ctx, gs[1]), ErrUnknown)
}

func testBadPorts(t *testing.T, w world) {
	d := w(t, testOptions{Range: Range{6664, 6670}}) // 6665 to 6669 are bad
	gs := fill(t, d, 2)
	ports := []int{gs[0].Port, gs[1].Port}
	slices.Sort(ports)
	if !slices.Equal(ports, []int{6664, 6670}) {
		t.Errorf("ports %v, want 6664 and 6670", ports)
	}
	ok(t, d.Hold(t.Context(), gs[0]))
	ok(t, d.Hold(t.Context(), gs[1]))
	_, err := d.Grant(t.Context(), "c")
	wantErr(t, err, ErrNoPort)
}

func testRestart(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(40)})
	gs := fill(t, d, 40)
	ok(t, d.Hold(ctx, gs[0]))
	// As after SIGKILL: the old directory is not closed.
	crashed := w(t, testOptions{Range: narrow(40)})
	for _, g := range gs {
		if again := mustGrant(t, crashed, g.Login); again.Port != g.Port {
			t.Fatalf("%s has port %d after a crash, want %d", g.Login, again.Port, g.Port)
		}
	}
	ok(t, crashed.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.1"), Source: Agent}))
	ok(t, crashed.Close())
	ok(t, d.Close())
	closed := w(t, testOptions{Range: narrow(40)})
	must[Address](t)(closed.Lookup(ctx, "a"))
	for _, g := range gs {
		if login := must[string](t)(closed.Resolve(ctx, testHost, g.Port)); login != g.Login {
			t.Fatalf("port %d is %s's after a restart, want %s's", g.Port, login, g.Login)
		}
	}
}

func testRangeMoved(t *testing.T, w world) {
	d := w(t, testOptions{Range: Range{20000, 20003}})
	fill(t, d, 4)
	ok(t, d.Close())
	moved := w(t, testOptions{Range: Range{20002, 20005}})
	time.Sleep(50 * time.Millisecond) // the host is announced
	for i := range 4 {
		if g := mustGrant(t, moved, fmt.Sprint("u", i)); g.Port < 20002 || g.Port > 20005 {
			t.Errorf("port %d is outside the new range", g.Port)
		}
	}
	if gs := must[[]Grant](t)(moved.Grants(t.Context(), 10)); len(gs) != 4 {
		t.Errorf("%d grants, want 4: %+v", len(gs), gs)
	}
}

func testConcurrency(t *testing.T, w world) {
	const n, room = 100, 30
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(room)})
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
			case errors.Is(err, ErrNoPort), errors.Is(err, ErrUnknown): // taken over before it was held
				refused++
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
	gs := must[[]Grant](t)(d.Grants(ctx, n))
	logins := make(map[string]bool)
	for _, g := range gs {
		if logins[g.Login] {
			t.Errorf("%s has two ports", g.Login)
		}
		logins[g.Login] = true
	}
	// The same login at once.
	for port := range holder {
		ok(t, d.Release(ctx, Grant{Login: holder[port], Host: testHost, Port: port}))
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
