// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
)

func testHeld(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(3)})
	gs := Fill(t, d, 3)
	OK(t, d.Hold(ctx, gs[0]))
	OK(t, d.Hold(ctx, gs[1]))
	if g := Must[presence.Grant](t)(d.GrantOf(ctx, "u0")); !g.Held {
		t.Error("a held grant does not say so")
	}
	if g := MustGrant(t, d, "u0"); !g.Held || g.Port != gs[0].Port {
		t.Errorf("renewed while held: %+v", g)
	}
	for i := range 3 {
		time.Sleep(2 * time.Millisecond)
		if g := MustGrant(t, d, fmt.Sprint("late", i)); g.Port != gs[2].Port {
			t.Fatalf("took port %d, want %d which is not held", g.Port, gs[2].Port)
		}
	}
	last := Must[presence.Grant](t)(d.GrantOf(ctx, "late2"))
	OK(t, d.Hold(ctx, last))
	_, err := d.Grant(ctx, "nobody")
	WantErr(t, err, presence.ErrNoPort)
	OK(t, d.Release(ctx, gs[1]))
	if g := MustGrant(t, d, "nobody"); g.Port != gs[1].Port {
		t.Errorf("took port %d, want %d which was released", g.Port, gs[1].Port)
	}
	WantErr(t, d.Release(ctx, gs[1]), presence.ErrUnknown)
}

func testHoldExpiry(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(1), TTL: presence.TTLs{Hold: w.ttl}})
	g := MustGrant(t, d, "a")
	for range 4 {
		OK(t, d.Hold(ctx, g))
		time.Sleep(w.ttl * 3 / 10)
	}
	_, err := d.Grant(ctx, "b")
	WantErr(t, err, presence.ErrNoPort)
	time.Sleep(w.ttl * 8 / 10) // the relay is gone
	if g := Must[presence.Grant](t)(d.GrantOf(ctx, "a")); g.Held {
		t.Error("held without a heartbeat")
	}
	if got := MustGrant(t, d, "b"); got.Port != g.Port {
		t.Errorf("port %d, want %d", got.Port, g.Port)
	}
}

func testBlock(t *testing.T, w world) {
	var logs LogBook
	ctx, d := t.Context(), w.open(t, Options{Range: Narrow(2), TTL: presence.TTLs{Blocked: w.ttl},
		Log: logs.Logger()})
	g := MustGrant(t, d, "a")
	OK(t, d.Block(ctx, g))
	WantErr(t, d.Block(ctx, g), presence.ErrUnknown)
	_, err := d.Resolve(ctx, TestHost, g.Port)
	WantErr(t, err, presence.ErrUnknown)
	next := MustGrant(t, d, "a")
	if next.Port == g.Port {
		t.Fatalf("blocked port %d granted again", g.Port)
	}
	OK(t, d.Hold(ctx, next))
	_, err = d.Grant(ctx, "b")
	WantErr(t, err, presence.ErrNoPort)
	time.Sleep(w.ttl * 11 / 10)
	if g2 := MustGrant(t, d, "b"); g2.Port != g.Port {
		t.Errorf("port %d, want %d whose block has ended", g2.Port, g.Port)
	}
	if n := logs.Count("port cannot be had"); n != 1 {
		t.Errorf("blocked port reported %d times, want once", n)
	}
}

func testProbe(t *testing.T, w world) {
	var mu sync.Mutex
	probed := make(map[int]int)
	var taken []int
	var logs LogBook
	d := w.open(t, Options{Range: Narrow(8), Log: logs.Logger(), Probe: func(_ string, port int) error {
		mu.Lock()
		defer mu.Unlock()
		probed[port]++
		if slices.Contains(taken, port) {
			return errors.New("address already in use")
		}
		return nil
	}})
	first := Narrow(8).First("a")
	taken = []int{first, 20000 + (first-20000+1)%8}
	g := MustGrant(t, d, "a")
	if want := 20000 + (first-20000+2)%8; g.Port != want {
		t.Errorf("port %d, want %d, the next that is free", g.Port, want)
	}
	MustGrant(t, d, "a")
	if probed[g.Port] != 1 || probed[first] != 1 {
		t.Errorf("probed %v, want each port once and none on renewal", probed)
	}
	if n := logs.Count("port cannot be had"); n != 2 {
		t.Errorf("%d ports reported, want 2", n)
	}
	mu.Lock()
	taken = []int{20000, 20001, 20002, 20003, 20004, 20005, 20006, 20007}
	mu.Unlock()
	_, err := d.Grant(t.Context(), "b")
	WantErr(t, err, presence.ErrNoPort)
}
