// SPDX-License-Identifier: GPL-3.0-or-later

// Package sqldb brings a database's schema up to date, in SQLite and PostgreSQL.
package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Dialects of Migrate.
const (
	SQLite   = goose.DialectSQLite3
	Postgres = goose.DialectPostgres
)

// Provider reads the migrations of a folder. In PostgreSQL they run under a lock,
// since several programs may start at once. table is where goose keeps what has
// run; empty: its usual one.
func Provider(db *sql.DB, dialect goose.Dialect, folder fs.FS, table string) (*goose.Provider, error) {
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if table != "" {
		opts = append(opts, goose.WithTableName(table))
	}
	if dialect == Postgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, db, folder, opts...)
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	return p, nil
}

// Migrate runs the migrations that have not run yet. It refuses the database of a
// newer program, which this one could damage.
func Migrate(ctx context.Context, p *goose.Provider) error {
	found, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if found > newest {
		return fmt.Errorf("it was written by a newer program: its schema has version %d,"+
			" and this program knows versions up to %d;"+
			" start the newer program, or restore a backup of this one's", found, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bringing the schema up to date: %w", err)
	}
	return nil
}
