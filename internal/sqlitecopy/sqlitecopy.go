// SPDX-License-Identifier: GPL-3.0-or-later

// Package sqlitecopy copies SQLite databases that other processes use, all as
// they are at one moment.
package sqlitecopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // driver "sqlite3"
)

// busyTimeout is how long, in ms, a writer of another process is waited for.
const busyTimeout = "30000"

// Frozen is databases that nobody can write to; readers go on. Writers wait,
// as long as their own patience lasts.
type Frozen struct {
	paths []string
	locks []*sql.DB
}

// Freeze takes the write locks of databases. End it with Release.
func Freeze(ctx context.Context, paths []string) (*Frozen, error) {
	f := &Frozen{paths: paths}
	for _, path := range paths {
		db, err := open(path, "mode=rw&_txlock=immediate")
		if err == nil {
			f.locks = append(f.locks, db)
			db.SetMaxOpenConns(1)
			// The transaction ends with its connection, in Release.
			_, err = db.ExecContext(ctx, "BEGIN IMMEDIATE")
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Release())
		}
	}
	return f, nil
}

func open(path, query string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query + "&_busy_timeout=" + busyTimeout}
	return sql.Open("sqlite3", u.String())
}

// CopyTo writes the databases into a folder, under their own names, synced.
func (f *Frozen) CopyTo(ctx context.Context, dir string) error {
	for _, path := range f.paths {
		if err := vacuumInto(ctx, path, filepath.Join(dir, filepath.Base(path))); err != nil {
			return fmt.Errorf("copying %s: %w", path, err)
		}
	}
	return nil
}

func vacuumInto(ctx context.Context, from, to string) error {
	db, err := open(from, "mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}

// Copy writes the database at from, as it is at one moment, into a new file.
// With a write-ahead log neither readers nor writers wait for it; without one,
// writers wait until it is done.
func Copy(ctx context.Context, from, to string) error {
	if err := vacuumInto(ctx, from, to); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

// Release lets writers go on.
func (f *Frozen) Release() error {
	var errs []error
	for _, db := range f.locks {
		_, err := db.Exec("ROLLBACK")
		errs = append(errs, err, db.Close())
	}
	f.locks = nil
	return errors.Join(errs...)
}
