// SPDX-License-Identifier: GPL-3.0-or-later

// Package presencetest is the suite that every presence.Directory passes.
package presencetest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/presence"
)

// Suite says how the directories of an implementation are opened and timed.
type Suite struct {
	// New makes an empty state, which its result opens directories on, the
	// second and later ones like a process that was started again.
	New func(t *testing.T) Open
	// TTL is the lifetime of entries whose end the tests wait for.
	TTL time.Duration
	// FakeClock runs each test in a bubble of testing/synctest, where waiting
	// takes no time.
	FakeClock bool
}

// Open opens a directory that is closed with the test.
type Open func(t *testing.T, o Options) presence.Directory

// Options are what directories of tests differ in.
type Options struct {
	Range presence.Range
	More  presence.HostRanges // further hosts
	Probe func(string, int) error
	TTL   presence.TTLs
	Log   *slog.Logger
}

// Ranges are the ranges of TestHost and the further hosts.
func (o Options) Ranges() presence.HostRanges {
	return append(presence.HostRanges{{Host: TestHost, Range: o.Range}}, o.More...)
}

const (
	TestHost  = "relay.mall.example"
	OtherHost = "second.mall.example"
)

// Narrow has room for few.
func Narrow(n int) presence.Range { return presence.Range{Lo: 20000, Hi: 20000 + n - 1} }

// world is the state that one test works on.
type world struct {
	open Open
	ttl  time.Duration
}

// tests are what every Directory does.
var tests = map[string]func(*testing.T, world){
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
}

// Run runs the suite, each test on a state of its own.
func (s Suite) Run(t *testing.T) {
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(t *testing.T) { f(t, world{s.New(t), s.TTL}) }
			if s.FakeClock {
				synctest.Test(t, run)
			} else {
				run(t)
			}
		})
	}
}

// Must returns a value, or ends the test with its error.
func Must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// OK ends the test with an error.
func OK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WantErr ends the test unless the error is the one that is wanted.
func WantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// MustGrant grants a port.
func MustGrant(t testing.TB, d presence.Directory, login string) presence.Grant {
	t.Helper()
	return Must[presence.Grant](t)(d.Grant(t.Context(), login))
}

// IP reads an address.
func IP(s string) netip.Addr { return netip.MustParseAddr(s) }

// Eventually waits until f has no error.
func Eventually(t testing.TB, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
	}
}

func testOddLogins(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	for _, login := range []string{"with space@x", "{brace}@x", "}{", "*?[a]@x", "ü@mañana.example",
		`"q\"uote"@x`, "new\nline", "7"} {
		g := MustGrant(t, d, login)
		if got := Must[string](t)(d.Resolve(ctx, TestHost, g.Port)); got != login {
			t.Errorf("%q resolves to %q", login, got)
		}
		OK(t, d.Renew(ctx, presence.Address{Login: login, IP: IP("192.0.2.1"), Source: presence.IMAP}))
		OK(t, d.Connect(ctx, presence.Device{ID: "a b\n" + login, Login: login, Source: presence.Desk,
			Name: `"\u0000` + login}))
		if ds := Must[[]presence.Device](t)(d.Devices(ctx, login)); len(ds) != 1 || ds[0].ID != "a b\n"+login {
			t.Errorf("%q: devices %+v", login, ds)
		}
	}
	as := Must[[]presence.Address](t)(d.Addresses(ctx, 100))
	if len(as) != 8 || !slices.ContainsFunc(as, func(a presence.Address) bool { return a.Login == "{brace}@x" }) {
		t.Errorf("addresses %+v", as)
	}
}

func testContext(t *testing.T, w world) {
	d := w.open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Grant(ctx, "a")
	WantErr(t, err, context.Canceled)
	_, err = d.Lookup(ctx, "a")
	WantErr(t, err, context.Canceled)
	OK(t, d.Close())
	OK(t, d.Close())
	_, err = d.Grant(t.Context(), "a")
	WantErr(t, err, presence.ErrUnavailable)
}

// LogBook keeps what was logged.
type LogBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Logger returns a logger that writes to l.
func (l *LogBook) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *LogBook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *LogBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how many lines have a text.
func (l *LogBook) Count(part string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
