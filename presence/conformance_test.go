// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// world is the state one test works on: it opens directories on it, the second
// and later ones like a process that was started again.
type world func(t *testing.T, o testOptions) Directory

type testOptions struct {
	Range Range
	More  []HostRange // further hosts
	Probe func(string, int) error
	TTL   TTLs
	Log   Logger
}

// ranges are the test host's and the further ones.
func (o testOptions) ranges() []HostRange {
	return append([]HostRange{{testHost, o.Range}}, o.More...)
}

const testHost = "relay.mall.example"

// narrow has room for few.
func narrow(n int) Range { return Range{20000, 20000 + n - 1} }

// testDirectory is what every Directory does.
func testDirectory(t *testing.T, newWorld func(t *testing.T) world) {
	for name, f := range map[string]func(*testing.T, world){
		"addresses":      testAddresses,
		"newest wins":    testNewestWins,
		"address expiry": testAddressExpiry,
		"devices":        testDevices,
		"heartbeats":     testHeartbeats,
		"many devices":   testManyDevices,
		"all devices":    testAllDevices,
		"grant":          testGrant,
		"lease":          testLease,
		"takeover":       testTakeover,
		"held":           testHeld,
		"hold expiry":    testHoldExpiry,
		"block":          testBlock,
		"probe":          testProbe,
		"bad ports":      testBadPorts,
		"restart":        testRestart,
		"hosts":          testHosts,
		"several ranges": testSeveralRanges,
		"ranges restart": testRangesRestart,
		"leave":          testLeave,
		"range moved":    testRangeMoved,
		"concurrency":    testConcurrency,
		"odd logins":     testOddLogins,
		"context":        testContext,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, newWorld(t))
		})
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

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func mustGrant(t testing.TB, d Directory, login string) Grant {
	t.Helper()
	return must[Grant](t)(d.Grant(t.Context(), login))
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func testOddLogins(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	for _, login := range []string{"with space@x", "{brace}@x", "}{", "*?[a]@x", "ü@mañana.example", `"q\"uote"@x`, "new\nline", "7"} {
		g := mustGrant(t, d, login)
		if got := must[string](t)(d.Resolve(ctx, testHost, g.Port)); got != login {
			t.Errorf("%q resolves to %q", login, got)
		}
		ok(t, d.Renew(ctx, Address{Login: login, IP: ip("192.0.2.1"), Source: IMAP}))
		ok(t, d.Connect(ctx, Device{ID: "a b\n" + login, Login: login, Source: Desk, Name: `"\u0000` + login}))
		if ds := must[[]Device](t)(d.Devices(ctx, login)); len(ds) != 1 || ds[0].ID != "a b\n"+login {
			t.Errorf("%q: devices %+v", login, ds)
		}
	}
	as := must[[]Address](t)(d.Addresses(ctx, 100))
	if len(as) != 8 || !slices.ContainsFunc(as, func(a Address) bool { return a.Login == "{brace}@x" }) {
		t.Errorf("addresses %+v", as)
	}
}

func testContext(t *testing.T, w world) {
	d := w(t, testOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Grant(ctx, "a")
	wantErr(t, err, context.Canceled)
	_, err = d.Lookup(ctx, "a")
	wantErr(t, err, context.Canceled)
	ok(t, d.Close())
	ok(t, d.Close())
	_, err = d.Grant(t.Context(), "a")
	wantErr(t, err, ErrUnavailable)
}

// logBook keeps what was logged.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBook) add(msg string, fields ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintln(append([]any{msg}, fields...)...))
}

func (l *logBook) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
