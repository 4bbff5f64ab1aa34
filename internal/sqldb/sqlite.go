// SPDX-License-Identifier: GPL-3.0-or-later

package sqldb

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "github.com/mattn/go-sqlite3" // driver "sqlite3"
)

// Parameters of OpenSQLite.
const (
	// Writes queues writers at the begin of their transactions, each of which is on the
	// disk when it has ended.
	Writes = "_journal_mode=WAL&_synchronous=FULL&_txlock=immediate"
	// Reads refuses to write.
	Reads = "_query_only=1"
)

// BusyTimeout is how long SQLite waits for another program that writes.
const BusyTimeout = 5 * time.Second

// MakeSQLite makes the file of a database, if it is not there: SQLite would make one
// that everybody can read. Its write-ahead log takes the file's mode.
func MakeSQLite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// OpenSQLite opens a database that keeps its foreign keys, with parameters of the driver
// and that many connections.
func OpenSQLite(path, params string, conns int) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", fmt.Sprintf("file:%s?_foreign_keys=1&_busy_timeout=%d&%s",
		(&url.URL{Path: path}).EscapedPath(), BusyTimeout.Milliseconds(), params))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}
