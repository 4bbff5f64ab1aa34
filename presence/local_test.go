// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func localWorld(t *testing.T) world {
	path := filepath.Join(t.TempDir(), "presence?#%.db")
	return func(t *testing.T, o testOptions) Directory {
		return openLocal(t, LocalOptions{Path: path, Ranges: o.ranges(), ID: "test", Probe: o.Probe, TTL: o.TTL, Log: o.Log})
	}
}

func openLocal(t testing.TB, o LocalOptions) *Local {
	t.Helper()
	if o.Ranges == nil {
		o.Ranges = testOptions{}.ranges()
	}
	l := must[*Local](t)(OpenLocal(o))
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLocal(t *testing.T) {
	t.Parallel()
	testDirectory(t, localWorld)
}

func TestLocalInMemory(t *testing.T) {
	t.Parallel()
	l := openLocal(t, LocalOptions{})
	if g := mustGrant(t, l, "a"); g.Port != mustGrant(t, l, "a").Port {
		t.Error("port changed")
	}
}

func TestLocalErrors(t *testing.T) {
	t.Parallel()
	for _, o := range []LocalOptions{
		{},
		{Ranges: []HostRange{{Host: "a b"}}},
		{Ranges: []HostRange{{"h", Range{5, 2}}}},
		{Ranges: []HostRange{{"h", Range{6665, 6669}}}},
		{Ranges: []HostRange{{"h", Range{1, 2}}, {"H", Range{3, 4}}}},
		{Ranges: []HostRange{{Host: "h"}}, Path: filepath.Join(t.TempDir(), "missing", "presence.db")},
	} {
		if l, err := OpenLocal(o); err == nil {
			l.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestReadLocal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	if _, err := ReadLocal(path); err == nil {
		t.Fatal("a missing file was read")
	}
	ctx, l := t.Context(), openLocal(t, LocalOptions{Path: path})
	g := mustGrant(t, l, "a")
	ok(t, l.Connect(ctx, Device{ID: "1", Login: "a", Source: Desk, IP: ip("192.0.2.1"), Name: "Firefox"}))
	ok(t, l.Hold(ctx, g))
	f := must[*File](t)(ReadLocal(path)) // while the server runs
	defer f.Close()
	if login := must[string](t)(f.Resolve(ctx, testHost, g.Port)); login != "a" {
		t.Errorf("port %d is %q's", g.Port, login)
	}
	deadline := time.Now().Add(2 * time.Second)
	for {
		ds := must[[]Device](t)(f.Devices(ctx, "a"))
		of := must[Grant](t)(f.GrantOf(ctx, "a"))
		if len(ds) == 1 && ds[0].Name == "Firefox" && of.Held && of.Host == testHost {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 2 s the file has devices %+v, grant %+v", ds, of)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if a := must[Address](t)(f.Lookup(ctx, "a")); a.Source != Desk || a.IP != ip("192.0.2.1") {
		t.Errorf("address %+v", a)
	}
	if as := must[[]Address](t)(f.Addresses(ctx, 5)); len(as) != 1 {
		t.Errorf("addresses %+v", as)
	}
	if gs := must[[]Grant](t)(f.Grants(ctx, 5)); len(gs) != 1 || gs[0].Port != g.Port {
		t.Errorf("grants %+v", gs)
	}
	_, err := f.Lookup(ctx, "nobody")
	wantErr(t, err, ErrUnknown)
	_, err = f.GrantOf(ctx, "nobody")
	wantErr(t, err, ErrUnknown)
	_, err = f.Resolve(ctx, "elsewhere", g.Port)
	wantErr(t, err, ErrUnknown)
}

func TestLocalMaxLogins(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	ctx, l := t.Context(), openLocal(t, LocalOptions{Path: path, MaxLogins: 3})
	for i := range 5 {
		ok(t, l.Renew(ctx, Address{Login: fmt.Sprint("u", i), Source: POP3}))
	}
	check := func(l *Local) {
		t.Helper()
		if as := must[[]Address](t)(l.Addresses(ctx, 10)); len(as) != 3 || as[0].Login != "u4" {
			t.Errorf("addresses %+v", as)
		}
		_, err := l.Lookup(ctx, "u1")
		wantErr(t, err, ErrUnknown)
	}
	check(l)
	ok(t, l.Close())
	check(openLocal(t, LocalOptions{Path: path, MaxLogins: 3}))
}

// A clock that was wrong at the last run ends no lease and frees no held port.
func TestLocalClockJumped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	o := LocalOptions{Path: path, Ranges: []HostRange{{testHost, narrow(2)}}}
	ctx, l := t.Context(), openLocal(t, o)
	a, b := mustGrant(t, l, "a"), mustGrant(t, l, "b")
	ok(t, l.Hold(ctx, a))
	ok(t, l.Close())
	db := must[*sql.DB](t)(sql.Open("sqlite3", path))
	for _, q := range []string{
		`UPDATE grants SET granted = granted + 1000000000000, renewed = renewed + 1000000000000, held_until = held_until + 1000000000000 WHERE login = 'a'`,
		`UPDATE grants SET granted = 0, renewed = 0 WHERE login = 'b'`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, db.Close())
	l = openLocal(t, o)
	g := must[Grant](t)(l.GrantOf(ctx, "a"))
	if g.Port != a.Port || g.Renewed.After(time.Now()) || !g.Held {
		t.Errorf("grant %+v, want port %d, held, renewed by now", g, a.Port)
	}
	if c := mustGrant(t, l, "c"); c.Port != b.Port {
		t.Errorf("port %d, want %d which is not held", c.Port, b.Port)
	}
}

// A file that cannot be written refuses new grants and leaves the old ones.
func TestLocalFileGone(t *testing.T) {
	t.Parallel()
	var logs logBook
	ctx := t.Context()
	l := openLocal(t, LocalOptions{Path: filepath.Join(t.TempDir(), "presence.db"), Ranges: []HostRange{{testHost, narrow(1)}}, Log: logs.add})
	g := mustGrant(t, l, "a")
	if _, err := l.store.Exec(`CREATE TRIGGER full BEFORE INSERT ON grants BEGIN SELECT RAISE(FAIL, 'disk full'); END`); err != nil {
		t.Fatal(err)
	}
	_, err := l.Grant(ctx, "b")
	wantErr(t, err, ErrUnavailable)
	if again := must[Grant](t)(l.GrantOf(ctx, "a")); again.Port != g.Port {
		t.Errorf("grant %+v, want %+v", again, g)
	}
	if _, err := l.store.Exec(`DROP TRIGGER full`); err != nil {
		t.Fatal(err)
	}
	if b := mustGrant(t, l, "b"); b.Port != g.Port {
		t.Errorf("grant %+v", b)
	}
}

func TestLocalMillionLogins(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a million logins take a second or two")
	}
	ctx, l := t.Context(), openLocal(t, LocalOptions{})
	began := time.Now()
	for i := range 1_000_001 {
		ok(t, l.Renew(ctx, Address{Login: fmt.Sprint("user", i, "@mall.example"), IP: ip("192.0.2.1"), Source: POP3}))
	}
	_, err := l.Lookup(ctx, "user0@mall.example")
	wantErr(t, err, ErrUnknown)
	must[Address](t)(l.Lookup(ctx, "user1@mall.example"))
	for i := range 20_000 { // half of them take over
		mustGrant(t, l, fmt.Sprint("user", i))
	}
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

// A file of the version before is read, with its ports.
func TestLocalUpgrade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	db := must[*sql.DB](t)(sql.Open("sqlite3", path))
	for _, q := range []string{
		`CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE grants (port INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, granted INTEGER NOT NULL, renewed INTEGER NOT NULL, held_until INTEGER NOT NULL)`,
		`CREATE TABLE addresses (login TEXT PRIMARY KEY, ip TEXT NOT NULL, host TEXT NOT NULL, source TEXT NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE devices (login TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (login, id)) WITHOUT ROWID`,
		`INSERT INTO settings VALUES ('host', 'relay.mall.example')`,
		fmt.Sprintf(`INSERT INTO grants VALUES (20777, 'a', %[1]d, %[1]d, 0)`, time.Now().UnixMilli()),
		`PRAGMA user_version = 1`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := ReadLocal(path); err == nil {
		f.Close()
		t.Error("the old version was read as the new one")
	}
	ok(t, db.Close())
	l := openLocal(t, LocalOptions{Path: path})
	if g := mustGrant(t, l, "a"); g.Port != 20777 {
		t.Errorf("port %d after the upgrade, want 20777", g.Port)
	}
	ok(t, l.Close())
	// The machine is renamed: its ports stay.
	l = openLocal(t, LocalOptions{Path: path, Ranges: []HostRange{{Host: "renamed.example"}}})
	if g := mustGrant(t, l, "a"); g.Port != 20777 || g.Host != "renamed.example" {
		t.Errorf("grant %+v after it was renamed, want port 20777", g)
	}
}
