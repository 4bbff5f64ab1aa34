// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func ip(text string) netip.Addr { return netip.MustParseAddr(text) }

// many counts a fault n times.
func many(t *Table, n int, addr string, f Fault) {
	for range n {
		t.Fault(ip(addr), f)
	}
}

func TestFaultsRaiseAndTimeLowers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var banned netip.Prefix
		var until time.Time
		tab := New(Options{}, func(p netip.Prefix, end time.Time) { banned, until = p, end })
		for i, want := range []Level{Fine, Slow, Work, Work, Refused, Refused, Refused, Refused, Banned} {
			if got := tab.Level(ip("192.0.2.7")); got != want {
				t.Errorf("after %d probes: %v, want %v", i, got, want)
			}
			tab.Fault(ip("192.0.2.7"), Probe)
		}
		if banned.String() != "192.0.2.7/32" || time.Until(until).Round(time.Minute) != DefaultBan {
			t.Errorf("told of a ban of %v until %v", banned, until)
		}
		if got := tab.Level(ip("192.0.2.8")); got != Fine {
			t.Errorf("the neighbour: %v", got)
		}
		time.Sleep(DefaultBan + time.Second)
		if got := tab.Level(ip("192.0.2.7")); got != Work { // 90 halved twice
			t.Errorf("after the ban: %v", got)
		}
		many(tab, 10, "192.0.2.7", Probe)
		time.Sleep(DefaultBan + time.Second)
		if got := tab.Level(ip("192.0.2.7")); got != Banned {
			t.Errorf("the second ban is not longer: %v", got)
		}
		time.Sleep(8 * time.Hour)
		if got := tab.Level(ip("192.0.2.7")); got != Fine {
			t.Errorf("after hours: %v", got)
		}
	})
}

func TestTrust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{}, nil)
		for range 40 {
			tab.Good(ip("192.0.2.7"))
		}
		many(tab, 30, "192.0.2.8", WrongPassword) // a stranger
		many(tab, 10, "192.0.2.7", WrongPassword)
		if got := tab.Level(ip("192.0.2.7")); got != Fine {
			t.Errorf("who is trusted: %v", got)
		}
		if got := tab.Level(ip("192.0.2.8")); got != Banned {
			t.Errorf("the stranger: %v", got)
		}
		many(tab, 200, "192.0.2.7", WrongPassword) // the machine was taken over
		if got := tab.Level(ip("192.0.2.7")); got != Banned {
			t.Errorf("trust without an end: %v", got)
		}
	})
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{}, nil)
		if n := tab.Level(ip("2001:db8:1:ffff::1")); n != Fine {
			t.Fatal(n)
		}
		addr := ip("2001:db8:1::1").As16()
		for i := range 100 { // each of its own /64, none of which does much
			addr[7] = byte(i)
			for range 3 {
				tab.Fault(netip.AddrFrom16(addr), WrongPassword)
			}
		}
		if n := tab.Level(ip("2001:db8:1:ffff::1")); n != Banned {
			t.Errorf("one of the /48 that was quiet: %v", n)
		}
		if n := tab.Level(ip("2001:db8:2::1")); n != Fine {
			t.Errorf("another /48: %v", n)
		}
		if all := tab.Why(ip("2001:db8:1:2::1")); len(all) != 2 || all[1].Prefix.String() != "2001:db8:1::/48" ||
			all[1].Level != Banned || all[0].Faults["wrong passwords"] != 3 {
			t.Errorf("why: %+v", all)
		}
		many(tab, 1000, "::ffff:192.0.2.9", Probe)
		if n := tab.Level(ip("192.0.2.9")); n != Banned {
			t.Errorf("an IPv4 address in IPv6 form: %v", n)
		}
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tab := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}, nil)
		many(tab, 1000, "203.0.113.5", Probe)
		many(tab, 1000, "127.0.0.1", Probe)
		many(tab, 1000, "192.0.2.7", Probe)
		rule := func(prefix string, allow bool, length time.Duration) Rule {
			r := Rule{Prefix: netip.MustParsePrefix(prefix), Allow: allow}
			if length > 0 {
				r.Until = time.Now().Add(length)
			}
			return r
		}
		tab.SetRules([]Rule{
			rule("192.0.2.7/32", true, time.Hour), rule("198.51.100.0/24", false, 0), rule("198.51.100.7/32", true, 0),
			rule("2001:db8::/32", false, 0), rule("203.0.113.0/24", false, 0),
		})
		for addr, want := range map[string]Level{
			"203.0.113.5": Fine, "127.0.0.1": Fine, "::1": Fine, "192.0.2.7": Fine, "198.51.100.1": Banned,
			"198.51.100.7": Fine, "2001:db8:ffff::1": Banned, "2001:db9::1": Fine,
		} {
			if got := tab.Level(ip(addr)); got != want {
				t.Errorf("%s: %v, want %v", addr, got, want)
			}
		}
		if n := len(tab.Rules()); n != 5 {
			t.Errorf("%d rules", n)
		}
		time.Sleep(time.Hour)
		if got := tab.Level(ip("192.0.2.7")); got != Banned { // what it did is not forgotten
			t.Errorf("after the rule: %v", got)
		}
		if n := len(tab.Rules()); n != 4 {
			t.Errorf("%d rules after one has ended", n)
		}
		tab.Forgive(netip.MustParsePrefix("192.0.2.0/24"))
		if got := tab.Level(ip("192.0.2.7")); got != Fine {
			t.Errorf("forgiven: %v", got)
		}
	})
}

func TestRulesAreBounded(t *testing.T) {
	t.Parallel()
	tab := New(Options{}, nil)
	var all []Rule
	for i := range MaxRules + 50 {
		a := [4]byte{10}
		binary.BigEndian.PutUint16(a[2:], uint16(i))
		all = append(all, Rule{Prefix: netip.PrefixFrom(netip.AddrFrom4(a), 32), Own: true,
			Until: time.Now().Add(time.Hour + time.Duration(i)*time.Second)})
	}
	kept := Rule{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Until: time.Now().Add(time.Minute)}
	tab.SetRules(append(all, kept))
	if n := len(tab.Rules()); n != MaxRules {
		t.Errorf("%d rules", n)
	}
	if tab.Level(ip("192.0.2.1")) != Banned || tab.Level(ip("10.0.0.0")) != Fine {
		t.Error("an administrator's rule went before those of scores, or the wrong one of those did")
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	tab := New(Options{DryRun: true}, func(netip.Prefix, time.Time) { t.Error("banned") })
	many(tab, 100, "192.0.2.7", Probe)
	if got := tab.Level(ip("192.0.2.7")); got != Fine {
		t.Errorf("met as %v", got)
	}
	if all := tab.List(Slow, 10); len(all) != 1 || all[0].Level != Banned {
		t.Errorf("listed: %+v", all)
	}
}

func TestNobodyKnowsNothing(t *testing.T) {
	t.Parallel()
	var tab *Table
	tab.Fault(ip("192.0.2.7"), Probe)
	tab.Good(ip("192.0.2.7"))
	if tab.Level(ip("192.0.2.7")) != Fine || tab.Bars(ip("192.0.2.7")) {
		t.Error("a table that is not there says something")
	}
}

// TestBound fills a table beyond its bound: who is banned stays, strangers go.
func TestBound(t *testing.T) {
	t.Parallel()
	tab := New(Options{Max: 64 * 16}, nil)
	many(tab, 20, "192.0.2.7", Probe)
	many(tab, 1000, "192.0.2.8", NoRecipient)
	if got := tab.Level(ip("192.0.2.8")); got != Work {
		t.Errorf("whose senders know no address: %v", got)
	}
	for i := range 10_000 {
		tab.Fault(nth(i), NoRecipient)
	}
	n := 0
	for i := range tab.parts {
		n += len(tab.parts[i].of)
	}
	if n > 64*16 {
		t.Errorf("%d addresses are remembered", n)
	}
	if got := tab.Level(ip("192.0.2.7")); got != Banned {
		t.Errorf("who was banned: %v", got)
	}
}

func nth(i int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(i)*7)
	return netip.AddrFrom4(a)
}

func TestParsePrefix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "192.0.2.7/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::/64",
		"2001:db8::1/48": "2001:db8::/48", "::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7/120": "192.0.2.0/24",
	} {
		if p, err := ParsePrefix(text); err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "example.org", "192.0.2.7/33", "192.0.2"} {
		if p, err := ParsePrefix(text); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
}

// BenchmarkLevel decides among a million addresses that are known, with a thousand
// rules. It also tells the octets that an address takes.
func BenchmarkLevel(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const known = 1_000_000
	tab := New(Options{Max: 2 * known}, nil)
	for i := range known {
		tab.Fault(nth(i), NoRecipient)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	var some []Rule
	for i := range 1000 {
		some = append(some, Rule{Prefix: netip.PrefixFrom(ip("172.16.0.0"), 12+i%20), Own: true})
	}
	tab.SetRules(some)
	addrs := make([]netip.Addr, 1<<16)
	for i := range addrs {
		addrs[i] = nth(i * 13)
	}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			tab.Level(addrs[i%len(addrs)])
		}
	})
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB")
	runtime.KeepAlive(tab)
}
