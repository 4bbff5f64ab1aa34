// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	_ "github.com/mattn/go-sqlite3" // driver "sqlite3"
)

// schema is version 2 of the file. Times are milliseconds since 1970. A port
// has at most one login and a login at most one port.
const schema = `
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE addresses (
	login  TEXT PRIMARY KEY,
	ip     TEXT NOT NULL,
	host   TEXT NOT NULL,
	source TEXT NOT NULL,
	seen   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX addresses_seen ON addresses (seen);` + version2

// version2 is what version 1 had otherwise.
const version2 = `
CREATE TABLE grants (
	host       TEXT NOT NULL,
	port       INTEGER NOT NULL,
	login      TEXT NOT NULL UNIQUE,
	granted    INTEGER NOT NULL,
	renewed    INTEGER NOT NULL,
	held_until INTEGER NOT NULL,
	PRIMARY KEY (host, port)
) WITHOUT ROWID;
CREATE TABLE devices (
	login     TEXT NOT NULL,
	id        TEXT NOT NULL,
	source    TEXT NOT NULL,
	ip        TEXT NOT NULL,
	host      TEXT NOT NULL,
	name      TEXT NOT NULL,
	relay     TEXT NOT NULL,
	away      INTEGER NOT NULL,
	connected INTEGER NOT NULL,
	heartbeat INTEGER NOT NULL,
	PRIMARY KEY (login, id)
) WITHOUT ROWID;
CREATE TABLE hosts (
	name      TEXT PRIMARY KEY,
	id        TEXT NOT NULL,
	ports     TEXT NOT NULL,
	started   INTEGER NOT NULL,
	heartbeat INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 2;`

// upgrade1 makes version 2 of version 1, which had one host.
const upgrade1 = `
DROP TABLE devices;
ALTER TABLE grants RENAME TO grants1;` + version2 + `
INSERT INTO grants SELECT value, port, login, granted, renewed, held_until
	FROM grants1, settings WHERE name = 'host';
DROP TABLE grants1;`

const schemaVersion = 2

// store is the file of a Local. It has one connection and one user, the writer.
type store struct{ *sql.DB }

// change is what one transaction writes. An entry without its value is deleted.
type change struct {
	grants  []grantRow
	logins  []Address
	gone    []string // logins
	devices []Device
	left    []deviceKey
	beats   bool // hosts is all of them
	hosts   []Host
}

type grantRow struct {
	host                string
	port                int
	login               string // empty: nobody's
	granted, used, held int64
}

func fileURL(path, query string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query
}

func openStore(path string) (*store, error) {
	// Every commit is on the disk before it returns (synchronous=FULL); readers
	// of other processes are not in its way (WAL).
	db, err := sql.Open("sqlite3", fileURL(path,
		"_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_txlock=immediate"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s := &store{db}
	if err := s.migrate(); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) migrate() error {
	var version int
	if err := s.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	statements := schema
	switch version {
	case schemaVersion:
		return nil
	case 0:
	case 1:
		statements = upgrade1
	default:
		return fmt.Errorf("its version is %d, this program knows %d", version, schemaVersion)
	}
	tx, err := s.Begin()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(statements); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// write commits a change.
func (s *store) write(c change) error {
	tx, err := s.Begin()
	if err != nil {
		return err
	}
	if err := c.apply(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (c change) apply(tx *sql.Tx) error {
	var free, taken []grantRow
	for _, g := range c.grants {
		if g.login == "" {
			free = append(free, g)
		} else {
			taken = append(taken, g)
		}
	}
	if err := each(tx, free, `DELETE FROM grants WHERE host = ? AND port = ?`, func(g grantRow) []any {
		return []any{g.host, g.port}
	}); err != nil {
		return err
	}
	// REPLACE also drops the port that the login had before.
	if err := each(tx, taken, `REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)`, func(g grantRow) []any {
		return []any{g.host, g.port, g.login, g.granted, g.used, g.held}
	}); err != nil {
		return err
	}
	if err := each(tx, c.logins, `REPLACE INTO addresses VALUES (?, ?, ?, ?, ?)`, func(a Address) []any {
		return []any{a.Login, ipText(a.IP), a.Host, string(a.Source), a.Seen.UnixMilli()}
	}); err != nil {
		return err
	}
	if err := each(tx, c.gone, `DELETE FROM addresses WHERE login = ?`, func(login string) []any {
		return []any{login}
	}); err != nil {
		return err
	}
	if err := each(tx, c.devices, `REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, func(d Device) []any {
		return []any{d.Login, d.ID, string(d.Source), ipText(d.IP), d.Host, d.Name, d.Relay, d.Away,
			d.Connected.UnixMilli(), d.Heartbeat.UnixMilli()}
	}); err != nil {
		return err
	}
	if err := each(tx, c.left, `DELETE FROM devices WHERE login = ? AND id = ?`, func(k deviceKey) []any {
		return []any{k.login, k.id}
	}); err != nil {
		return err
	}
	if !c.beats {
		return nil
	}
	if _, err := tx.Exec(`DELETE FROM hosts`); err != nil {
		return err
	}
	return each(tx, c.hosts, `INSERT INTO hosts VALUES (?, ?, ?, ?, ?)`, func(h Host) []any {
		return []any{h.Name, h.ID, h.Ports, h.Started.UnixMilli(), h.Heartbeat.UnixMilli()}
	})
}

// primary is the primary host name of the last run, empty when there was none.
func (s *store) primary() (name string, err error) {
	err = s.QueryRow(`SELECT value FROM settings WHERE name = 'host'`).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return name, err
}

// each runs one statement for every row.
func each[T any](tx *sql.Tx, rows []T, query string, args func(T) []any) error {
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

// queryer is a database or a transaction.
type queryer interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

// rows calls scan for every row of a query.
func rows(q queryer, scan func(*sql.Rows) error, query string, args ...any) error {
	rs, err := q.Query(query, args...)
	if err != nil {
		return err
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs); err != nil {
			return err
		}
	}
	return rs.Err()
}

// readGrants calls f with every grant of the file, the one idle for longest first.
func readGrants(q queryer, f func(grantRow)) error {
	return rows(q, func(rs *sql.Rows) error {
		var g grantRow
		if err := rs.Scan(&g.host, &g.port, &g.login, &g.granted, &g.used, &g.held); err != nil {
			return err
		}
		f(g)
		return nil
	}, "SELECT host, port, login, granted, renewed, held_until FROM grants ORDER BY renewed")
}

const addressColumns = "login, ip, host, source, seen"

func scanAddress(rs *sql.Rows) (Address, error) {
	var a Address
	var ip string
	var seen int64
	if err := rs.Scan(&a.Login, &ip, &a.Host, &a.Source, &seen); err != nil {
		return a, err
	}
	a.IP, _ = netip.ParseAddr(ip)
	a.Seen = time.UnixMilli(seen)
	return a, nil
}
