// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/chmail/chmail/internal/sqlitecopy"
	"github.com/mattn/go-sqlite3"
)

// backupMark is the setting by which a copy of the database says that it is
// one. Whoever restores a backup made with PostgreSQL's pg_dump sets it by
// hand: INSERT INTO settings VALUES ('backup', ”).
const backupMark = "backup"

// BackupTo writes the database, with everything that was acknowledged until
// now, into a folder, and returns the file's name there. Nobody waits for it.
// The name is empty when the rooms are in PostgreSQL: there pg_dump makes the
// backup.
func (s *Store) BackupTo(ctx context.Context, dir string) (name string, err error) {
	path, lite := strings.CutPrefix(s.opts.DSN, "sqlite:")
	if !lite {
		return "", nil
	}
	name = filepath.Base(path)
	to := filepath.Join(dir, name)
	if err := sqlitecopy.Copy(ctx, path, to); err != nil {
		return "", fmt.Errorf("backing the rooms up: %w", err)
	}
	copied, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: to}).EscapedPath()+
		"?mode=rw&_journal_mode=DELETE&_synchronous=FULL")
	if err == nil {
		_, err = copied.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES ($1, '')"+
			" ON CONFLICT DO NOTHING", backupMark)
		err = errors.Join(err, copied.Close())
	}
	if err != nil {
		return "", fmt.Errorf("marking the backup of the rooms: %w", err)
	}
	return name, nil
}

// beginEpochs gives every room of a restored backup a new epoch, once: clients
// may have messages that came after the backup, at offsets that are given anew.
func (s *Store) beginEpochs(ctx context.Context) error {
	fresh := "lower(hex(randomblob(8)))"
	if s.Shared() {
		fresh = "replace(gen_random_uuid()::text, '-', '')"
	}
	var rooms int64
	err := s.tx(ctx, func(tx querier) error {
		done, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE name = $1", backupMark)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		if done, err = tx.ExecContext(ctx, "UPDATE rooms SET epoch = "+fresh); err == nil {
			rooms, err = done.RowsAffected()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("beginning new epochs after a restore: %w", err)
	}
	if rooms > 0 {
		s.opts.Log.Info("a backup was restored: every room has a new epoch", "rooms", rooms)
	}
	return nil
}

// Check reads the whole database and returns what is wrong with it. It does so
// for SQLite; PostgreSQL has pg_amcheck.
func (s *Store) Check(ctx context.Context) error {
	if s.Shared() {
		return nil
	}
	found, err := collect(ctx, s.read, func(rows *sql.Rows) (text string, err error) {
		err = rows.Scan(&text)
		return text, err
	}, "PRAGMA integrity_check(20)")
	var lite sqlite3.Error
	if errors.As(err, &lite) && (lite.Code == sqlite3.ErrCorrupt || lite.Code == sqlite3.ErrNotADB) {
		found, err = append(found, lite.Error()), nil // too much to go on
	}
	if err != nil {
		return fmt.Errorf("checking the rooms' database: %w", err)
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("the rooms' database is damaged; restore a backup: %s", strings.Join(found, "; "))
	}
	return nil
}
