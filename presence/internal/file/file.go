// SPDX-License-Identifier: GPL-3.0-or-later

// Package file is the SQLite file that presence keeps over a restart: whose each
// granted port is, and where each login was seen last.
package file

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	_ "github.com/mattn/go-sqlite3" // driver "sqlite3"

	"github.com/chmail/chmail/presence"
)

// version of the file. Version 2 had devices and hosts too, for commands that
// read it beside the server; version 1 had one host.
const version = 3

// schema makes the file. Times are milliseconds since 1970.
const schema = `
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE addresses (
	login  TEXT PRIMARY KEY,
	ip     TEXT NOT NULL,
	host   TEXT NOT NULL,
	source TEXT NOT NULL,
	seen   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX addresses_seen ON addresses (seen);` + grants

// grants is the second database: a port has at most one login and a login at
// most one port.
const grants = `
CREATE TABLE grants (
	host    TEXT NOT NULL,
	port    INTEGER NOT NULL,
	login   TEXT NOT NULL UNIQUE,
	granted INTEGER NOT NULL,
	renewed INTEGER NOT NULL,
	held    INTEGER NOT NULL,
	PRIMARY KEY (host, port)
) WITHOUT ROWID;
PRAGMA user_version = 3;`

// upgrades are the statements that make the current version of an older one.
var upgrades = map[int]string{
	0: schema,
	1: `
DROP TABLE devices;
ALTER TABLE grants RENAME TO grants1;` + grants + `
INSERT INTO grants SELECT value, port, login, granted, renewed, held_until > 0
	FROM grants1, settings WHERE name = 'host';
DROP TABLE grants1;`,
	2: `
DROP TABLE devices;
DROP TABLE hosts;
ALTER TABLE grants RENAME COLUMN held_until TO held;
UPDATE grants SET held = held > 0;
PRAGMA user_version = 3;`,
}

// File is an open file. It has one connection.
type File struct {
	db   *sql.DB
	path string
}

// Grant is a granted port.
type Grant struct {
	Host    string
	Port    int
	Login   string // empty: nobody's any more
	Granted time.Time
	Used    time.Time // last mail or conversation
	Held    bool      // a conversation was on it
}

// Change is written in one transaction.
type Change struct {
	Primary   string // name of the primary relay host; empty leaves the one that is there
	Grants    []Grant
	Addresses []presence.Address
	Forgotten []string // logins without an address
}

// Open opens the file for its owner, and makes it when it is missing. Every
// commit is on the disk before it returns. Errors name the file.
func Open(path string) (*File, error) {
	f, err := open(path, "_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if err := f.upgrade(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), f.Close())
	}
	return f, nil
}

// OpenReadOnly opens the file of a process that does not run. Errors name the
// file.
func OpenReadOnly(path string) (*File, error) {
	f, err := open(path, "mode=ro&_query_only=1&_busy_timeout=5000")
	if err != nil {
		return nil, err
	}
	v, err := f.version()
	if err == nil && v != version {
		err = fmt.Errorf("its version is %d, this program reads %d", v, version)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
	}
	return f, nil
}

func open(path, query string) (*File, error) {
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	return &File{db, path}, nil
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", f.path, err)
	}
	return nil
}

func (f *File) version() (v int, err error) {
	err = f.db.QueryRow("PRAGMA user_version").Scan(&v)
	return v, err
}

func (f *File) upgrade() error {
	v, err := f.version()
	if err != nil || v == version {
		return err
	}
	statements, known := upgrades[v]
	if !known {
		return fmt.Errorf("its version is %d, this program knows %d: it is of a newer program", v, version)
	}
	return f.transact(func(tx *sql.Tx) error {
		_, err := tx.Exec(statements)
		return err
	})
}

func (f *File) transact(do func(*sql.Tx) error) error {
	tx, err := f.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Write commits a change.
func (f *File) Write(c Change) error {
	if err := f.transact(c.apply); err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	return nil
}

func (c Change) apply(tx *sql.Tx) error {
	if c.Primary != "" {
		if _, err := tx.Exec(`REPLACE INTO settings VALUES ('host', ?)`, c.Primary); err != nil {
			return err
		}
	}
	var freed, granted []Grant
	for _, g := range c.Grants {
		if g.Login == "" {
			freed = append(freed, g)
		} else {
			granted = append(granted, g)
		}
	}
	return errors.Join(
		each(tx, `DELETE FROM grants WHERE host = ? AND port = ?`, freed, func(g Grant) []any {
			return []any{g.Host, g.Port}
		}),
		// REPLACE also drops the port that the login had before.
		each(tx, `REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)`, granted, func(g Grant) []any {
			return []any{g.Host, g.Port, g.Login, g.Granted.UnixMilli(), g.Used.UnixMilli(), g.Held}
		}),
		each(tx, `REPLACE INTO addresses VALUES (?, ?, ?, ?, ?)`, c.Addresses, func(a presence.Address) []any {
			return []any{a.Login, ipText(a.IP), a.Host, string(a.Source), a.Seen.UnixMilli()}
		}),
		each(tx, `DELETE FROM addresses WHERE login = ?`, c.Forgotten, func(login string) []any {
			return []any{login}
		}),
	)
}

// each runs one statement for every row.
func each[T any](tx *sql.Tx, query string, rows []T, args func(T) []any) error {
	if len(rows) == 0 {
		return nil
	}
	stmt, err := tx.Prepare(query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, row := range rows {
		if _, err := stmt.Exec(args(row)...); err != nil {
			return err
		}
	}
	return nil
}

// ipText is empty for an unknown address.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// Primary is the primary name of the last run, empty when there was none.
func (f *File) Primary() (name string, err error) {
	err = f.db.QueryRow(`SELECT value FROM settings WHERE name = 'host'`).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading %s: %w", f.path, err)
	}
	return name, nil
}

// Grants calls do with every grant, the one idle for longest first.
func (f *File) Grants(do func(Grant)) error {
	const query = `SELECT host, port, login, granted, renewed, held FROM grants ORDER BY renewed`
	return f.rows(query, func(rs *sql.Rows) error {
		var g Grant
		var granted, used int64
		err := rs.Scan(&g.Host, &g.Port, &g.Login, &granted, &used, &g.Held)
		g.Granted, g.Used = time.UnixMilli(granted), time.UnixMilli(used)
		if err == nil {
			do(g)
		}
		return err
	})
}

// Addresses calls do with every address, the oldest first.
func (f *File) Addresses(do func(presence.Address)) error {
	const query = `SELECT login, ip, host, source, seen FROM addresses ORDER BY seen`
	return f.rows(query, func(rs *sql.Rows) error {
		var a presence.Address
		var ip string
		var seen int64
		err := rs.Scan(&a.Login, &ip, &a.Host, &a.Source, &seen)
		a.IP, _ = netip.ParseAddr(ip)
		a.Seen = time.UnixMilli(seen)
		if err == nil {
			do(a)
		}
		return err
	})
}

// rows calls scan for every row of a query.
func (f *File) rows(query string, scan func(*sql.Rows) error) error {
	rs, err := f.db.Query(query)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs); err != nil {
			return fmt.Errorf("reading %s: %w", f.path, err)
		}
	}
	if err := rs.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	return nil
}
