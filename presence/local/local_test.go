// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

func openLocal(t testing.TB, o Options) *Directory {
	t.Helper()
	if o.Ranges == nil {
		o.Ranges = pt.Options{}.Ranges()
	}
	d := pt.Must[*Directory](t)(Open(o))
	t.Cleanup(func() { d.Close() })
	return d
}

func TestLocal(t *testing.T) {
	t.Parallel()
	pt.Suite{TTL: time.Minute, FakeClock: true, New: func(t *testing.T) pt.Open {
		path := filepath.Join(t.TempDir(), "presence?#%.db")
		return func(t *testing.T, o pt.Options) presence.Directory {
			return openLocal(t, Options{Path: path, Ranges: o.Ranges(), ID: "test", Probe: o.Probe, TTL: o.TTL,
				Log: o.Log})
		}
	}}.Run(t)
}

func TestInMemory(t *testing.T) {
	t.Parallel()
	l := openLocal(t, Options{})
	if g := pt.MustGrant(t, l, "a"); g.Port != pt.MustGrant(t, l, "a").Port {
		t.Error("port changed")
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{},
		{Ranges: presence.HostRanges{{Host: "a b"}}},
		{Ranges: presence.HostRanges{{Host: "h", Range: presence.Range{Lo: 5, Hi: 2}}}},
		{Ranges: presence.HostRanges{{Host: "h", Range: presence.Range{Lo: 6665, Hi: 6669}}}},
		{Ranges: presence.HostRanges{{Host: "h", Range: presence.Range{Lo: 1, Hi: 2}},
			{Host: "H", Range: presence.Range{Lo: 3, Hi: 4}}}},
		{Ranges: presence.HostRanges{{Host: "h"}}, Path: filepath.Join(t.TempDir(), "missing", "presence.db")},
	} {
		if l, err := Open(o); err == nil {
			l.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}

// What a process left is listed when none runs: grants and addresses.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	if _, err := Open(Options{Path: path, ReadOnly: true, Ranges: pt.Options{}.Ranges()}); err == nil {
		t.Fatal("a missing file was read")
	}
	ctx, l := t.Context(), openLocal(t, Options{Path: path})
	g := pt.MustGrant(t, l, "a")
	pt.OK(t, l.Connect(ctx, presence.Device{ID: "1", Login: "a", Source: presence.Desk, IP: pt.IP("192.0.2.1")}))
	pt.OK(t, l.Hold(ctx, g))
	pt.OK(t, l.Close())
	before := pt.Must[[]byte](t)(os.ReadFile(path))

	for range 2 { // reading does not stand in the way of reading
		r := openLocal(t, Options{Path: path, ReadOnly: true})
		if login := pt.Must[string](t)(r.Resolve(ctx, pt.TestHost, g.Port)); login != "a" {
			t.Errorf("port %d is %q's", g.Port, login)
		}
		if of := pt.Must[presence.Grant](t)(r.GrantOf(ctx, "a")); !of.Held || of.Port != g.Port {
			t.Errorf("grant %+v, want %+v, held", of, g)
		}
		a := pt.Must[presence.Address](t)(r.Lookup(ctx, "a"))
		if a.Source != presence.Desk || a.IP != pt.IP("192.0.2.1") {
			t.Errorf("address %+v", a)
		}
		if as := pt.Must[[]presence.Address](t)(r.Addresses(ctx, 5)); len(as) != 1 {
			t.Errorf("addresses %+v", as)
		}
		if gs := pt.Must[[]presence.Grant](t)(r.Grants(ctx, 5)); len(gs) != 1 || gs[0].Port != g.Port {
			t.Errorf("grants %+v", gs)
		}
		if ds := pt.Must[[]presence.Device](t)(r.AllDevices(ctx, 5)); len(ds) != 0 {
			t.Errorf("devices of a process that is gone: %+v", ds)
		}
		if hs := pt.Must[[]presence.Host](t)(r.Hosts(ctx)); len(hs) != 0 {
			t.Errorf("hosts of a process that is gone: %+v", hs)
		}
		_, err := r.Grant(ctx, "b")
		pt.WantErr(t, err, presence.ErrUnavailable)
		pt.OK(t, r.Renew(ctx, presence.Address{Login: "b", Source: presence.POP3}))
	}
	if after := pt.Must[[]byte](t)(os.ReadFile(path)); !bytes.Equal(before, after) {
		t.Error("reading wrote to the file")
	}
}

// A kill loses at most what was written behind: the new grants are there at
// once, addresses and conversations within half a second.
func TestKilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "presence.db")
		ctx, l := t.Context(), openLocal(t, Options{Path: path})
		g := pt.MustGrant(t, l, "a")
		pt.OK(t, l.Renew(ctx, presence.Address{Login: "a", Source: presence.POP3}))
		pt.OK(t, l.Hold(ctx, g))
		time.Sleep(flushEvery + time.Millisecond)
		synctest.Wait()
		after := openLocal(t, Options{Path: path, ReadOnly: true}) // the first does not close
		pt.Must[presence.Address](t)(after.Lookup(ctx, "a"))
		if of := pt.Must[presence.Grant](t)(after.GrantOf(ctx, "a")); !of.Held || of.Port != g.Port {
			t.Errorf("grant %+v, want %+v, held", of, g)
		}
	})
}

// A panic under a call is its error, and the directory goes on.
func TestPanic(t *testing.T) {
	t.Parallel()
	var logs pt.LogBook
	bug := true
	l := openLocal(t, Options{Log: logs.Logger(), Probe: func(string, int) error {
		if bug {
			panic("a bug")
		}
		return nil
	}})
	_, err := l.Grant(t.Context(), "a")
	pt.WantErr(t, err, presence.ErrUnavailable)
	if logs.Count("a bug") != 1 {
		t.Errorf("log: %s", &logs)
	}
	bug = false
	pt.MustGrant(t, l, "a")
}

func TestMaxLogins(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	ctx, l := t.Context(), openLocal(t, Options{Path: path, MaxLogins: 3})
	for i := range 5 {
		pt.OK(t, l.Renew(ctx, presence.Address{Login: fmt.Sprint("u", i), Source: presence.POP3}))
	}
	check := func(l *Directory) {
		t.Helper()
		if as := pt.Must[[]presence.Address](t)(l.Addresses(ctx, 10)); len(as) != 3 || as[0].Login != "u4" {
			t.Errorf("addresses %+v", as)
		}
		_, err := l.Lookup(ctx, "u1")
		pt.WantErr(t, err, presence.ErrUnknown)
	}
	check(l)
	pt.OK(t, l.Close())
	check(openLocal(t, Options{Path: path, MaxLogins: 3}))
}

// A clock that was wrong at the last run ends no lease and frees no held port.
func TestClockJumped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	o := Options{Path: path, Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(2)}}}
	ctx, l := t.Context(), openLocal(t, o)
	a, b := pt.MustGrant(t, l, "a"), pt.MustGrant(t, l, "b")
	pt.OK(t, l.Hold(ctx, a))
	pt.OK(t, l.Close())
	db := pt.Must[*sql.DB](t)(sql.Open("sqlite3", path))
	for _, q := range []string{
		`UPDATE grants SET granted = granted + 1000000000000, renewed = renewed + 1000000000000, held = 1
			WHERE login = 'a'`,
		`UPDATE grants SET granted = 0, renewed = 0 WHERE login = 'b'`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	pt.OK(t, db.Close())
	l = openLocal(t, o)
	g := pt.Must[presence.Grant](t)(l.GrantOf(ctx, "a"))
	if g.Port != a.Port || g.Renewed.After(time.Now()) || !g.Held {
		t.Errorf("grant %+v, want port %d, held, renewed by now", g, a.Port)
	}
	if c := pt.MustGrant(t, l, "c"); c.Port != b.Port {
		t.Errorf("port %d, want %d which is not held", c.Port, b.Port)
	}
}

// A file that cannot be written refuses new grants and leaves the old ones.
func TestFileGone(t *testing.T) {
	t.Parallel()
	var logs pt.LogBook
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "presence.db")
	l := openLocal(t, Options{Path: path, Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(1)}},
		Log: logs.Logger()})
	g := pt.MustGrant(t, l, "a")
	db := pt.Must[*sql.DB](t)(sql.Open("sqlite3", path))
	defer db.Close()
	const full = `CREATE TRIGGER full BEFORE INSERT ON grants BEGIN SELECT RAISE(FAIL, 'disk full'); END`
	if _, err := db.Exec(full); err != nil {
		t.Fatal(err)
	}
	_, err := l.Grant(ctx, "b")
	pt.WantErr(t, err, presence.ErrUnavailable)
	if again := pt.Must[presence.Grant](t)(l.GrantOf(ctx, "a")); again.Port != g.Port {
		t.Errorf("grant %+v, want %+v", again, g)
	}
	if _, err := db.Exec(`DROP TRIGGER full`); err != nil {
		t.Fatal(err)
	}
	if b := pt.MustGrant(t, l, "b"); b.Port != g.Port {
		t.Errorf("grant %+v", b)
	}
}

// Many logins and takeovers cost what few do.
func TestManyLogins(t *testing.T) {
	t.Parallel()
	const logins, ports = 20_000, 2000
	ctx, l := t.Context(), openLocal(t, Options{MaxLogins: logins,
		Ranges: presence.HostRanges{{Host: "h", Range: pt.Narrow(ports)}}})
	began := time.Now()
	for i := range logins + 1 {
		pt.OK(t, l.Renew(ctx, presence.Address{Login: fmt.Sprint("user", i, "@mall.example"),
			IP: pt.IP("192.0.2.1"), Source: presence.POP3}))
	}
	_, err := l.Lookup(ctx, "user0@mall.example")
	pt.WantErr(t, err, presence.ErrUnknown)
	pt.Must[presence.Address](t)(l.Lookup(ctx, "user1@mall.example"))
	for i := range 2 * ports { // half of them take over
		pt.MustGrant(t, l, fmt.Sprint("user", i))
	}
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

// oldFile makes a file of an older program. $NOW in the statements is the time.
func oldFile(t *testing.T, statements ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "presence.db")
	db := pt.Must[*sql.DB](t)(sql.Open("sqlite3", path))
	for _, q := range append([]string{
		`CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE addresses (login TEXT PRIMARY KEY, ip TEXT NOT NULL, host TEXT NOT NULL, source TEXT NOT NULL,
			seen INTEGER NOT NULL) WITHOUT ROWID`,
		`INSERT INTO settings VALUES ('host', 'relay.mall.example')`,
	}, statements...) {
		if _, err := db.Exec(strings.ReplaceAll(q, "$NOW", fmt.Sprint(time.Now().UnixMilli()))); err != nil {
			t.Fatal(err)
		}
	}
	pt.OK(t, db.Close())
	return path
}

// A file of version 1, which had one host, is read with its ports.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	path := oldFile(t,
		`CREATE TABLE grants (port INTEGER PRIMARY KEY, login TEXT NOT NULL UNIQUE, granted INTEGER NOT NULL,
			renewed INTEGER NOT NULL, held_until INTEGER NOT NULL)`,
		`CREATE TABLE devices (login TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (login, id)) WITHOUT ROWID`,
		`INSERT INTO grants VALUES (20777, 'a', $NOW, $NOW, 0)`,
		`PRAGMA user_version = 1`)
	if f, err := Open(Options{Path: path, ReadOnly: true, Ranges: pt.Options{}.Ranges()}); err == nil {
		f.Close()
		t.Error("the old version was read as the new one")
	}
	l := openLocal(t, Options{Path: path})
	if g := pt.MustGrant(t, l, "a"); g.Port != 20777 {
		t.Errorf("port %d after the upgrade, want 20777", g.Port)
	}
	pt.OK(t, l.Close())
	// The machine is renamed: its ports stay.
	l = openLocal(t, Options{Path: path, Ranges: presence.HostRanges{{Host: "renamed.example"}}})
	if g := pt.MustGrant(t, l, "a"); g.Port != 20777 || g.Host != "renamed.example" {
		t.Errorf("grant %+v after it was renamed, want port 20777", g)
	}
}

// Version 2 had devices and hosts, which die with their process.
func TestUpgrade2(t *testing.T) {
	t.Parallel()
	path := oldFile(t,
		`CREATE TABLE grants (host TEXT NOT NULL, port INTEGER NOT NULL, login TEXT NOT NULL UNIQUE,
			granted INTEGER NOT NULL, renewed INTEGER NOT NULL, held_until INTEGER NOT NULL,
			PRIMARY KEY (host, port)) WITHOUT ROWID`,
		`CREATE TABLE devices (login TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (login, id)) WITHOUT ROWID`,
		`CREATE TABLE hosts (name TEXT PRIMARY KEY) WITHOUT ROWID`,
		`INSERT INTO grants VALUES ('relay.mall.example', 20777, 'a', $NOW, $NOW, $NOW)`,
		`INSERT INTO grants VALUES ('relay.mall.example', 20778, 'b', $NOW, $NOW, 0)`,
		`INSERT INTO addresses VALUES ('a', '192.0.2.1', '', 'pop3', $NOW)`,
		`PRAGMA user_version = 2`)
	ctx, l := t.Context(), openLocal(t, Options{Path: path})
	a, b := pt.MustGrant(t, l, "a"), pt.MustGrant(t, l, "b")
	if a.Port != 20777 || !a.Held || b.Port != 20778 || b.Held {
		t.Errorf("after the upgrade %+v and %+v", a, b)
	}
	pt.Must[presence.Address](t)(l.Lookup(ctx, "a"))
	pt.OK(t, l.Close())
	db := pt.Must[*sql.DB](t)(sql.Open("sqlite3", path))
	defer db.Close()
	if _, err := db.Exec(`PRAGMA user_version = 4`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Path: path, Ranges: pt.Options{}.Ranges()})
	if err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("the file of a newer program: error %v", err)
	}
}

func BenchmarkLocal(b *testing.B) {
	pt.Benchmark(b, openLocal(b, Options{Path: filepath.Join(b.TempDir(), "presence.db")}),
		func() float64 { return 0 })
}
