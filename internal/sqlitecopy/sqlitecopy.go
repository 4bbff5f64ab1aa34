// SPDX-License-Identifier: GPL-3.0-or-later

// Package sqlitecopy copies SQLite databases that are in use.
package sqlitecopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "github.com/mattn/go-sqlite3" // driver "sqlite3"
)

// busyTimeout is how long, in ms, a lock of another connection is waited for.
const busyTimeout = "30000"

// Copy writes the database at from, as it is at one moment, into a new file.
// With a write-ahead log neither readers nor writers wait for it; without one,
// writers wait until it is done.
func Copy(ctx context.Context, from, to string) error {
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: from}).EscapedPath()+"?mode=ro&_busy_timeout="+busyTimeout)
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}
