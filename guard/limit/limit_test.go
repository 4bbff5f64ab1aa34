// SPDX-License-Identifier: GPL-3.0-or-later

package limit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestTableForgetsTheOldest(t *testing.T) {
	t.Parallel()
	tab := NewTable[int](3)
	for _, key := range []string{"a", "b", "c", "a", "d"} {
		tab.Change(key, func(n *int) { *n++ })
	}
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if tab.Has(key) != want {
			t.Errorf("%s known: %v", key, !want)
		}
	}
	tab.Change("a", func(n *int) {
		if *n != 2 {
			t.Errorf("a is %d", *n)
		}
	})
}

func TestBucketsAreOnesOwn(t *testing.T) {
	t.Parallel()
	b := NewBuckets(Rate{Every: 0.001, Burst: 2}, 100)
	for i := range 3 {
		for _, key := range []string{"one", "two"} {
			if wait := b.Wait(key); (wait > 0) != (i == 2) {
				t.Errorf("token %d of %s: wait %v", i, key, wait)
			}
		}
	}
	if first := b.Wait("one"); b.Wait("one") > first { // what is refused costs nothing
		t.Error("waiting got longer by asking")
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8::1": "2001:db8::/64", "2001:db8:0:0:1::1": "2001:db8::/64",
		"::ffff:192.0.2.7": "192.0.2.7/32", "fe80::1%eth0": "fe80::/64", "127.0.0.1": "127.0.0.1/32",
	} {
		if got := fmt.Sprint(Prefix(netip.MustParseAddr(ip))); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
	if p := Prefix(netip.Addr{}); p.IsValid() {
		t.Errorf("no address: %s", p)
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{"127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"} {
		if p := Remote(netip.MustParseAddr(ip)); p.IsValid() {
			t.Errorf("%s is of this machine, and is limited as %s", ip, p)
		}
	}
	if p := Remote(netip.Addr{}); p.IsValid() {
		t.Errorf("no address: %s", p)
	}
	for _, ip := range []string{"192.0.2.7", "2001:db8::1"} {
		if a := netip.MustParseAddr(ip); Remote(a) != Prefix(a) {
			t.Errorf("%s is limited as %s", ip, Remote(a))
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r, now := NewRefusals(time.Second, 4*time.Second, time.Minute, 100), time.Now()
	for i, want := range []time.Duration{1, 2, 4, 4} {
		if got := r.Add(now, "mina"); got != want*time.Second {
			t.Errorf("refusal %d takes %v, want %d s", i+1, got, want)
		}
	}
	if got := r.Add(now, "joon", "mina"); got != 4*time.Second {
		t.Errorf("of two keys the one with more refusals counts: %v", got)
	}
	if got := r.Add(now.Add(2*time.Minute), "mina"); got != time.Second {
		t.Errorf("after a while: %v", got)
	}
	r.Forget("joon")
	if got := r.Add(now, "joon"); got != time.Second {
		t.Errorf("after the right password: %v", got)
	}
	for i := range 1000 {
		r.Add(now, fmt.Sprint(i))
	}
	if n := r.of.Len(); n != 100 {
		t.Errorf("%d keys are remembered, want 100", n)
	}
}
