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
	AllDevices(ctx context.Context, limit int) ([]Device, error)
	GrantOf(ctx context.Context, login string) (Grant, error)
	Resolve(ctx context.Context, host string, port int) (string, error)
	Grants(ctx context.Context, limit int) ([]Grant, error)
	Hosts(ctx context.Context) ([]Host, error)
	Close() error
}

// File reads the file of a Local of another process, which is at most a second
// behind it.
type File struct {
	db   *sql.DB
	path string
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
	var version int
	err = db.QueryRow(`PRAGMA user_version`).Scan(&version)
	if err == nil && version != schemaVersion {
		err = fmt.Errorf("its version is %d, this program knows %d", version, schemaVersion)
	}
	if err != nil {
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
func (f *File) Devices(ctx context.Context, login string) ([]Device, error) {
	return f.devices(ctx, "AND login = ? ORDER BY connected, id", login)
}

// AllDevices lists the devices whose heartbeat is recent, newest first.
func (f *File) AllDevices(ctx context.Context, limit int) ([]Device, error) {
	return f.devices(ctx, "ORDER BY connected DESC, login, id LIMIT ?", max(0, limit))
}

func (f *File) devices(ctx context.Context, tail string, args ...any) (ds []Device, err error) {
	err = f.rows(ctx, func(rs *sql.Rows) error {
		var d Device
		var ip string
		var connected, heartbeat int64
		if err := rs.Scan(&d.Login, &d.ID, &d.Source, &ip, &d.Host, &d.Name, &d.Relay, &d.Away, &connected, &heartbeat); err != nil {
			return err
		}
		d.IP, _ = netip.ParseAddr(ip)
		d.Connected, d.Heartbeat = time.UnixMilli(connected), time.UnixMilli(heartbeat)
		ds = append(ds, d)
		return nil
	}, `SELECT login, id, source, ip, host, name, relay, away, connected, heartbeat FROM devices
		WHERE heartbeat >= ? `+tail, append([]any{since(DeviceTTL)}, args...)...)
	return ds, err
}

// Hosts lists the relay hosts of the process, empty when it does not run.
func (f *File) Hosts(ctx context.Context) (hs []Host, err error) {
	err = f.rows(ctx, func(rs *sql.Rows) error {
		var h Host
		var started, heartbeat int64
		if err := rs.Scan(&h.Name, &h.ID, &h.Ports, &started, &heartbeat); err != nil {
			return err
		}
		h.Started, h.Heartbeat = time.UnixMilli(started), time.UnixMilli(heartbeat)
		hs = append(hs, h)
		return nil
	}, `SELECT name, id, ports, started, heartbeat FROM hosts WHERE heartbeat >= ? ORDER BY name`, since(DeviceTTL))
	return hs, err
}

// Grants lists the second database by port.
func (f *File) Grants(ctx context.Context, limit int) ([]Grant, error) {
	return f.grants(ctx, "ORDER BY port, host LIMIT ?", max(0, limit))
}

func (f *File) grants(ctx context.Context, tail string, args ...any) (gs []Grant, err error) {
	now := time.Now().UnixMilli()
	err = f.rows(ctx, func(rs *sql.Rows) error {
		var g Grant
		var granted, renewed, held int64
		if err := rs.Scan(&g.Host, &g.Port, &g.Login, &granted, &renewed, &held); err != nil {
			return err
		}
		g.Granted, g.Renewed, g.Held = time.UnixMilli(granted), time.UnixMilli(renewed), held > now
		gs = append(gs, g)
		return nil
	}, `SELECT host, port, login, granted, renewed, held_until FROM grants
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
	gs, err := f.grants(ctx, "AND host = ? AND port = ?", strings.ToLower(host), port)
	if err != nil {
		return "", err
	}
	if len(gs) == 0 {
		return "", fmt.Errorf("resolving port %d of %s: %w", port, host, ErrUnknown)
	}
	return gs[0].Login, nil
}
