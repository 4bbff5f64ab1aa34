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
	"time"
)

// world is the state one test works on: it opens directories on it, the second
// and later ones like a process that was started again.
type world func(t *testing.T, o testOptions) Directory

type testOptions struct {
	Range Range
	Probe func(int) error
	TTL   TTLs
	Log   Logger
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
		"grant":          testGrant,
		"lease":          testLease,
		"takeover":       testTakeover,
		"held":           testHeld,
		"hold expiry":    testHoldExpiry,
		"block":          testBlock,
		"probe":          testProbe,
		"bad ports":      testBadPorts,
		"restart":        testRestart,
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

func testAddresses(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	_, err := d.Lookup(ctx, "host@mall.example")
	wantErr(t, err, ErrUnknown)
	before := time.Now()
	ok(t, d.Renew(ctx, Address{Login: "host@mall.example", IP: ip("192.0.2.7"), Host: "pc.example", Source: POP3}))
	a := must[Address](t)(d.Lookup(ctx, "host@mall.example"))
	if a.IP != ip("192.0.2.7") || a.Host != "pc.example" || a.Source != POP3 || a.Login != "host@mall.example" {
		t.Errorf("address %+v", a)
	}
	if a.Seen.Before(before.Add(-time.Second)) || a.Seen.After(time.Now().Add(time.Second)) {
		t.Errorf("seen %v, want about %v", a.Seen, before)
	}
	for i := range 5 {
		ok(t, d.Renew(ctx, Address{Login: fmt.Sprint("u", i), IP: ip("2001:db8::1"), Source: Desk,
			Seen: time.Now().Add(-time.Duration(10-i) * time.Minute)}))
	}
	var names []string
	for _, a := range must[[]Address](t)(d.Addresses(ctx, 3)) {
		names = append(names, a.Login)
	}
	if want := []string{"host@mall.example", "u4", "u3"}; !slices.Equal(names, want) {
		t.Errorf("newest first: %v, want %v", names, want)
	}
	if as := must[[]Address](t)(d.Addresses(ctx, 100)); len(as) != 6 {
		t.Errorf("%d addresses, want 6", len(as))
	}
	if as := must[[]Address](t)(d.Addresses(ctx, 0)); len(as) != 0 {
		t.Errorf("%d addresses with limit 0", len(as))
	}
	if err := d.Renew(ctx, Address{}); err == nil {
		t.Error("an empty login was taken")
	}
	if err := d.Renew(ctx, Address{Login: strings.Repeat("x", 400)}); err == nil {
		t.Error("a login of 400 bytes was taken")
	}
}

func testNewestWins(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	now := time.Now()
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.1"), Source: Submission, Seen: now}))
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.2"), Source: POP3, Seen: now.Add(-time.Minute)}))
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Submission {
		t.Errorf("an older sighting won: %+v", a)
	}
	// A host whose clock is ahead does not outlive others.
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.3"), Source: POP3, Seen: now.Add(time.Hour)}))
	time.Sleep(5 * time.Millisecond)
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.4"), Source: Desk}))
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Desk {
		t.Errorf("a sighting in the future won: %+v", a)
	}
}

func testAddressExpiry(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Address: 100 * time.Millisecond}})
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.1"), Source: Agent}))
	must[Address](t)(d.Lookup(ctx, "a"))
	time.Sleep(150 * time.Millisecond)
	_, err := d.Lookup(ctx, "a")
	wantErr(t, err, ErrUnknown)
	if as := must[[]Address](t)(d.Addresses(ctx, 10)); len(as) != 0 {
		t.Errorf("expired address listed: %v", as)
	}
}

func testDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 0 {
		t.Fatalf("devices of nobody: %v", ds)
	}
	desk := Device{ID: "1", Login: "a", Source: Desk, IP: ip("192.0.2.1"), Host: "h", Name: "Chromium on Linux",
		Connected: time.Now().Add(-time.Hour)}
	agent := Device{ID: "2", Login: "a", Source: Agent, IP: ip("2001:db8::2")}
	ok(t, d.Connect(ctx, agent))
	ok(t, d.Connect(ctx, desk))
	ds := must[[]Device](t)(d.Devices(ctx, "a"))
	if len(ds) != 2 || ds[0].ID != "1" || ds[1].ID != "2" {
		t.Fatalf("devices %+v", ds)
	}
	if got := ds[0]; got.Name != desk.Name || got.Host != "h" || got.IP != desk.IP || got.Source != Desk || got.Login != "a" ||
		got.Connected.Sub(desk.Connected).Abs() > time.Second || time.Since(got.Heartbeat) > time.Second {
		t.Errorf("device %+v, want %+v", got, desk)
	}
	first := ds[1].Connected
	time.Sleep(20 * time.Millisecond)
	ok(t, d.Connect(ctx, agent)) // a heartbeat
	if ds = must[[]Device](t)(d.Devices(ctx, "a")); !ds[1].Connected.Equal(first) || !ds[1].Heartbeat.After(first) {
		t.Errorf("after a heartbeat: connected %v, heartbeat %v, want %v and later", ds[1].Connected, ds[1].Heartbeat, first)
	}
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Agent || a.IP != agent.IP {
		t.Errorf("connecting did not renew the address: %+v", a)
	}
	ok(t, d.Disconnect(ctx, "a", "1"))
	ok(t, d.Disconnect(ctx, "a", "1")) // twice does no harm
	ok(t, d.Disconnect(ctx, "nobody", "1"))
	if ds = must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 1 || ds[0].ID != "2" {
		t.Errorf("after a disconnection: %+v", ds)
	}
	if err := d.Connect(ctx, Device{Login: "a"}); err == nil {
		t.Error("a device without an id was taken")
	}
}

func testHeartbeats(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Device: 200 * time.Millisecond}})
	for range 3 {
		ok(t, d.Connect(ctx, Device{ID: "beats", Login: "a", Source: Desk}))
		if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) == 0 {
			t.Fatal("a device with heartbeats was lost")
		}
		time.Sleep(80 * time.Millisecond)
	}
	ok(t, d.Connect(ctx, Device{ID: "still", Login: "a", Source: Desk}))
	time.Sleep(150 * time.Millisecond)
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 1 || ds[0].ID != "still" {
		t.Errorf("devices %+v, want only the one whose heartbeat is recent", ds)
	}
	time.Sleep(100 * time.Millisecond)
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 0 {
		t.Errorf("devices %+v, want none", ds)
	}
	must[Address](t)(d.Lookup(ctx, "a"))
}

func testManyDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	for i := range maxDevices + 3 {
		ok(t, d.Connect(ctx, Device{ID: fmt.Sprint(i), Login: "a", Source: Desk}))
		time.Sleep(2 * time.Millisecond)
	}
	ds := must[[]Device](t)(d.Devices(ctx, "a"))
	if len(ds) != maxDevices {
		t.Errorf("%d devices, want %d", len(ds), maxDevices)
	}
	if slices.ContainsFunc(ds, func(d Device) bool { return d.ID == "0" }) {
		t.Error("the oldest device was kept")
	}
}

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
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Grant: 300 * time.Millisecond}})
	g := mustGrant(t, d, "a")
	time.Sleep(200 * time.Millisecond)
	mustGrant(t, d, "a")
	time.Sleep(200 * time.Millisecond)
	must[string](t)(d.Resolve(ctx, testHost, g.Port)) // renewed
	time.Sleep(200 * time.Millisecond)
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
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(1), TTL: TTLs{Hold: 300 * time.Millisecond}})
	g := mustGrant(t, d, "a")
	for range 4 {
		ok(t, d.Hold(ctx, g))
		time.Sleep(100 * time.Millisecond)
	}
	_, err := d.Grant(ctx, "b")
	wantErr(t, err, ErrNoPort)
	time.Sleep(300 * time.Millisecond) // the relay is gone
	if g := must[Grant](t)(d.GrantOf(ctx, "a")); g.Held {
		t.Error("held without a heartbeat")
	}
	if got := mustGrant(t, d, "b"); got.Port != g.Port {
		t.Errorf("port %d, want %d", got.Port, g.Port)
	}
}

func testBlock(t *testing.T, w world) {
	var logs logBook
	ctx, d := t.Context(), w(t, testOptions{Range: narrow(2), TTL: TTLs{Blocked: 300 * time.Millisecond}, Log: logs.add})
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
	time.Sleep(350 * time.Millisecond)
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
	d := w(t, testOptions{Range: narrow(8), Log: logs.add, Probe: func(port int) error {
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
