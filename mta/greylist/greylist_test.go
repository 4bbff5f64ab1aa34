// SPDX-License-Identifier: GPL-3.0-or-later

package greylist

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func from(addr, sender, proven string) Mail {
	return Mail{Addr: netip.MustParseAddr(addr), From: sender, Proven: proven}
}

// TestSeen: a new sender waits for five minutes and is then known, over a restart, for 36
// days; who proved a domain may come from anywhere; who was written to waits for nothing.
func TestSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "greylist.json")
		l, err := Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := func(wait time.Duration, m Mail) {
			t.Helper()
			if got := l.Seen(m); got != wait {
				t.Errorf("%+v: wait %v, want %v", m, got, wait)
			}
		}
		want(Wait, from("192.0.2.1", "a@far.example", ""))
		time.Sleep(time.Minute)
		want(4*time.Minute, from("192.0.2.99", "b@FAR.example", "")) // the same network and domain
		want(Wait, from("192.0.2.1", "a@other.example", ""))
		want(Wait, from("198.51.100.1", "a@far.example", ""))
		want(Wait, from("2001:db8::1", "a@far.example", ""))
		want(Wait, from("203.0.113.1", "a@big.example", "big.example"))
		time.Sleep(5 * time.Minute)
		want(0, from("192.0.2.1", "a@far.example", ""))
		want(0, from("2001:db8::2", "a@far.example", ""))
		want(0, from("233.252.0.1", "c@big.example", "big.example"))
		want(Wait, from("233.252.0.1", "c@big.example", "")) // without proof it is another
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(path, nil); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		time.Sleep(35 * 24 * time.Hour)
		want(0, from("192.0.2.1", "a@far.example", ""))
		time.Sleep(35 * 24 * time.Hour)
		want(0, from("192.0.2.1", "a@far.example", ""))
		want(Wait, from("2001:db8::2", "a@far.example", "")) // not seen for 70 days
		time.Sleep(49 * time.Hour)
		want(Wait, from("2001:db8::2", "a@far.example", "")) // came again too late
		l.Wrote("Lee@new.example")
		want(0, from("192.0.2.1", "lee@new.example", ""))
		want(Wait, from("192.0.2.1", "ann@new.example", ""))
		want(Wait, from("192.0.2.1", "", "")) // a report
	})
}

// TestBound: the table does not grow for ever, and keeps whom it has seen just now.
func TestBound(t *testing.T) {
	t.Parallel()
	l, err := Open(filepath.Join(t.TempDir(), "greylist.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range Max + 1000 {
		l.Wrote(fmt.Sprintf("u%d@far.example", i))
	}
	if n := len(l.of); n != Max {
		t.Errorf("the list has %d senders, want %d", n, Max)
	}
}
