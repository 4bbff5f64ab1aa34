// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"net"
	"slices"
	"testing"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Range{"20000-29999": {20000, 29999}, " 1024 - 65535": {1024, 65535},
		"8000": {8000, 8000}} {
		if r := must[Range](t)(ParseRange(s)); r != want {
			t.Errorf("%q is %v, want %v", s, r, want)
		}
	}
	for _, s := range []string{"", "a-b", "0-10", "20000-", "-5", "5-4", "1-65536", "6665-6669", "1-2-3"} {
		if r, err := ParseRange(s); err == nil {
			t.Errorf("%q was taken as %v", s, r)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"20000-29999", "1-65535", "-", "10080"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			return
		}
		if first := r.First(s); first < r.Lo || first > r.Hi || len(r.Bad()) >= r.Span() {
			t.Errorf("%q: %v has first %d", s, r, first)
		}
		if again, err := ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%v reads as %v, %v", r, again, err)
		}
	})
}

func TestBadPorts(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted(badPorts) {
		t.Error("the list is not in order")
	}
	for _, p := range []int{1, 25, 587, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6669, 6679, 6697, 10080} {
		if !BadPort(p) || (Range{1, 65535}).Contains(p) {
			t.Errorf("port %d passes", p)
		}
	}
	if got := (Range{6600, 6700}).Bad(); len(got) != 7 {
		t.Errorf("bad ports of 6600-6700: %v", got)
	}
	if got := DefaultRange.Bad(); len(got) != 0 {
		t.Errorf("bad ports of the default range: %v", got)
	}
}

func TestProbeUDP(t *testing.T) {
	t.Parallel()
	c := must[net.PacketConn](t)(net.ListenPacket("udp", "127.0.0.1:0"))
	port := c.LocalAddr().(*net.UDPAddr).Port
	probe := ProbeUDP(LocalAddresses(t.Context(), []string{"127.0.0.1"}))
	if probe("127.0.0.1", port) == nil {
		t.Errorf("port %d is taken", port)
	}
	c.Close()
	if err := probe("127.0.0.1", port); err != nil {
		t.Error(err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
