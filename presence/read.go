// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Reader is the part of a Directory that changes nothing.
type Reader interface {
	Lookup(ctx context.Context, login string) (Address, error)
	Addresses(ctx context.Context, limit int) ([]Address, error)
	Devices(ctx context.Context, login string) ([]Device, error)
	GrantOf(ctx context.Context, login string) (Grant, error)
	Resolve(ctx context.Context, host string, port int) (string, error)
	Grants(ctx context.Context, limit int) ([]Grant, error)
	Close() error
}

// File reads the file of a Local of another process, which is at most a second
// behind it.
type File struct {
	db   *sql.DB
	path string
	host string
}

var _ Reader = (*File)(nil)

// ReadLocal opens the file of a Local for reading, also while a server runs on
// it. An error names the file.
func ReadLocal(path string) (*File, error) {
	db, err := sql.Open("sqlite3", fileURL(path, "mode=ro&_query_only=1&_busy_timeout=5000"))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	f := &File{db: db, path: path}
	if err := db.QueryRow(`SELECT value FROM settings WHERE name = 'host'`).Scan(&f.host); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.db.Close() }

func (f *File) rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	if err := rows(ctxDB{ctx, f.db}, scan, query, args...); err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	return nil
}

type ctxDB struct {
	ctx context.Context
	db  *sql.DB
}

func (q ctxDB) Query(query string, args ...any) (*sql.Rows, error) {
	return q.db.QueryContext(q.ctx, query, args...)
}

func since(ttl time.Duration) int64 { return time.Now().Add(-ttl).UnixMilli() }

// Addresses lists the newest addresses, newest first.
func (f *File) Addresses(ctx context.Context, limit int) ([]Address, error) {
	return f.addresses(ctx, "WHERE seen >= ? ORDER BY seen DESC LIMIT ?", since(AddressTTL), max(0, limit))
}

func (f *File) addresses(ctx context.Context, where string, args ...any) (as []Address, err error) {
	err = f.rows(ctx, func(rs *sql.Rows) error {
		a, err := scanAddress(rs)
		as = append(as, a)
		return err
	}, "SELECT "+addressColumns+" FROM addresses "+where, args...)
	return as, err
}

// Lookup returns the newest address of a login, or ErrUnknown.
func (f *File) Lookup(ctx context.Context, login string) (Address, error) {
	as, err := f.addresses(ctx, "WHERE login = ? AND seen >= ?", login, since(AddressTTL))
	if err != nil {
		return Address{}, err
	}
	if len(as) == 0 {
		return Address{}, fmt.Errorf("looking up %s: %w", login, ErrUnknown)
	}
	return as[0], nil
}

// Devices lists the devices of a login whose heartbeat is recent.
func (f *File) Devices(ctx context.Context, login string) (ds []Device, err error) {
	err = f.rows(ctx, func(rs *sql.Rows) error {
		d := Device{Login: login}
		var ip string
		var connected, heartbeat int64
		if err := rs.Scan(&d.ID, &d.Source, &ip, &d.Host, &d.Name, &connected, &heartbeat); err != nil {
			return err
		}
		d.IP, _ = netip.ParseAddr(ip)
		d.Connected, d.Heartbeat = time.UnixMilli(connected), time.UnixMilli(heartbeat)
		ds = append(ds, d)
		return nil
	}, `SELECT id, source, ip, host, name, connected, heartbeat FROM devices
		WHERE login = ? AND heartbeat >= ? ORDER BY connected, id`, login, since(DeviceTTL))
	return ds, err
}

// Grants lists the second database by port.
func (f *File) Grants(ctx context.Context, limit int) ([]Grant, error) {
	return f.grants(ctx, "ORDER BY port LIMIT ?", max(0, limit))
}

func (f *File) grants(ctx context.Context, tail string, args ...any) (gs []Grant, err error) {
	now := time.Now().UnixMilli()
	err = f.rows(ctx, func(rs *sql.Rows) error {
		g := Grant{Host: f.host}
		var granted, renewed, held int64
		if err := rs.Scan(&g.Port, &g.Login, &granted, &renewed, &held); err != nil {
			return err
		}
		g.Granted, g.Renewed, g.Held = time.UnixMilli(granted), time.UnixMilli(renewed), held > now
		gs = append(gs, g)
		return nil
	}, `SELECT port, login, granted, renewed, held_until FROM grants
		WHERE (renewed >= ? OR held_until > ?) `+tail, append([]any{since(GrantTTL), now}, args...)...)
	return gs, err
}

// GrantOf returns a login's grant, or ErrUnknown.
func (f *File) GrantOf(ctx context.Context, login string) (Grant, error) {
	gs, err := f.grants(ctx, "AND login = ?", login)
	if err != nil {
		return Grant{}, err
	}
	if len(gs) == 0 {
		return Grant{}, fmt.Errorf("looking up the grant of %s: %w", login, ErrUnknown)
	}
	return gs[0], nil
}

// Resolve finds the login of a granted port, or ErrUnknown.
func (f *File) Resolve(ctx context.Context, host string, port int) (string, error) {
	gs, err := f.grants(ctx, "AND port = ?", port)
	if err != nil {
		return "", err
	}
	if len(gs) == 0 || !strings.EqualFold(host, f.host) {
		return "", fmt.Errorf("resolving port %d of %s: %w", port, host, ErrUnknown)
	}
	return gs[0].Login, nil
}
