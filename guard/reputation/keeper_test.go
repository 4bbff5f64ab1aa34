// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeeper(t *testing.T) {
	t.Parallel()
	file := File(filepath.Join(t.TempDir(), "guard.json"))
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		gateway, admin := ip("10.0.0.1"), ip("203.0.113.9")
		k := Open(Options{}, file, []netip.Addr{gateway})
		many(k.Table, 100, "192.0.2.7", Probe)
		many(k.Table, 100, "10.0.0.1", Probe)
		ban := func(text string) error {
			p, err := ParsePrefix(text)
			if err != nil {
				t.Fatal(err)
			}
			return k.Add(ctx, Rule{Prefix: p, Why: "test"}, admin)
		}
		if err := ban("198.51.100.0/24"); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"10.0.0.0/8", "203.0.113.0/24", "127.0.0.1", "::1", "0.0.0.0/0", "::/0"} {
			if err := ban(own); !errors.Is(err, ErrOwn) {
				t.Errorf("%s: %v", own, err)
			}
		}
		for range 2 { // before a restart, and after it
			for addr, want := range map[string]Level{"192.0.2.7": Banned, "10.0.0.1": Fine, "198.51.100.7": Banned} {
				if got := k.Level(ip(addr)); got != want {
					t.Errorf("%s: %v, want %v", addr, got, want)
				}
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			k = Open(Options{}, file, []netip.Addr{gateway})
		}
		other := Open(Options{}, file, nil) // of another host, were the store shared
		many(other.Table, 100, "198.51.100.200", Probe)
		time.Sleep(2*readEvery + time.Second) // its ban is known here, too
		if got := k.Level(ip("198.51.100.200")); got != Banned {
			t.Errorf("whom the other has banned: %v", got)
		}
		if n, err := k.Remove(ctx, netip.MustParsePrefix("198.51.0.0/16")); err != nil || n != 2 {
			t.Errorf("removed %d: %v", n, err)
		}
		if got := k.Level(ip("198.51.100.7")); got != Fine {
			t.Errorf("at once: %v", got)
		}
		time.Sleep(readEvery + time.Second)
		for _, addr := range []string{"198.51.100.7", "198.51.100.200"} {
			if got := other.Level(ip(addr)); got != Fine {
				t.Errorf("%s at the other: %v", addr, got)
			}
		}
		time.Sleep(DefaultBan)
		if all, err := file.Rules(ctx); err != nil || len(all) != 0 {
			t.Errorf("of bans that are over, the file has %v, %v", all, err)
		}
		other.Close()
		k.Close()
	})
}
