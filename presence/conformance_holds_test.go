// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func testHeld(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(3)})
	gs := fill(t, d, 3)
	ok(t, d.Hold(ctx, gs[0]))
	ok(t, d.Hold(ctx, gs[1]))
	if g := must[Grant](t)(d.GrantOf(ctx, "u0")); !g.Held {
		t.Error("a held grant does not say so")
	}
	if g := mustGrant(t, d, "u0"); !g.Held || g.Port != gs[0].Port {
		t.Errorf("renewed while held: %+v", g)
	}
	for i := range 3 {
		time.Sleep(2 * time.Millisecond)
		if g := mustGrant(t, d, fmt.Sprint("late", i)); g.Port != gs[2].Port {
			t.Fatalf("took port %d, want %d which is not held", g.Port, gs[2].Port)
		}
	}
	last := must[Grant](t)(d.GrantOf(ctx, "late2"))
	ok(t, d.Hold(ctx, last))
	_, err := d.Grant(ctx, "nobody")
	wantErr(t, err, ErrNoPort)
	ok(t, d.Release(ctx, gs[1]))
	if g := mustGrant(t, d, "nobody"); g.Port != gs[1].Port {
		t.Errorf("took port %d, want %d which was released", g.Port, gs[1].Port)
	}
	wantErr(t, d.Release(ctx, gs[1]), ErrUnknown)
}

func testHoldExpiry(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(1), TTL: TTLs{Hold: 900 * time.Millisecond}})
	g := mustGrant(t, d, "a")
	for range 4 {
		ok(t, d.Hold(ctx, g))
		time.Sleep(300 * time.Millisecond)
	}
	_, err := d.Grant(ctx, "b")
	wantErr(t, err, ErrNoPort)
	time.Sleep(900 * time.Millisecond) // the relay is gone
	if g := must[Grant](t)(d.GrantOf(ctx, "a")); g.Held {
		t.Error("held without a heartbeat")
	}
	if got := mustGrant(t, d, "b"); got.Port != g.Port {
		t.Errorf("port %d, want %d", got.Port, g.Port)
	}
}

func testBlock(t *testing.T, w world) {
	var logs logBook
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(2), TTL: TTLs{Blocked: 900 * time.Millisecond}, Log: logs.add})
	g := mustGrant(t, d, "a")
	ok(t, d.Block(ctx, g))
	wantErr(t, d.Block(ctx, g), ErrUnknown)
	_, err := d.Resolve(ctx, testHost, g.Port)
	wantErr(t, err, ErrUnknown)
	next := mustGrant(t, d, "a")
	if next.Port == g.Port {
		t.Fatalf("blocked port %d granted again", g.Port)
	}
	ok(t, d.Hold(ctx, next))
	_, err = d.Grant(ctx, "b")
	wantErr(t, err, ErrNoPort)
	time.Sleep(950 * time.Millisecond)
	if g2 := mustGrant(t, d, "b"); g2.Port != g.Port {
		t.Errorf("port %d, want %d whose block has ended", g2.Port, g.Port)
	}
	if n := logs.count("port cannot be had"); n != 1 {
		t.Errorf("blocked port reported %d times, want once", n)
	}
}

func testProbe(t *testing.T, w world) {
	var mu sync.Mutex
	probed := make(map[int]int)
	var taken []int
	var logs logBook
	d := w(t, testOptions{Range: narrow(8), Log: logs.add, Probe: func(_ string, port int) error {
		mu.Lock()
		defer mu.Unlock()
		probed[port]++
		if slices.Contains(taken, port) {
			return errors.New("address already in use")
		}
		return nil
	}})
	first := narrow(8).first("a")
	taken = []int{first, 20000 + (first-20000+1)%8}
	g := mustGrant(t, d, "a")
	if want := 20000 + (first-20000+2)%8; g.Port != want {
		t.Errorf("port %d, want %d, the next that is free", g.Port, want)
	}
	mustGrant(t, d, "a")
	if probed[g.Port] != 1 || probed[first] != 1 {
		t.Errorf("probed %v, want each port once and none on renewal", probed)
	}
	if n := logs.count("port cannot be had"); n != 2 {
		t.Errorf("%d ports reported, want 2", n)
	}
	mu.Lock()
	taken = []int{20000, 20001, 20002, 20003, 20004, 20005, 20006, 20007}
	mu.Unlock()
	_, err := d.Grant(t.Context(), "b")
	wantErr(t, err, ErrNoPort)
}
