// SPDX-License-Identifier: GPL-3.0-or-later

// Package store keeps the mall in SQLite or PostgreSQL: shops and their goods,
// members, orders, publicity, advertisements.
//
// A file a subject has its nouns, which are rows, and the queries of them. Every
// query of what is a shop's own has the shop in its condition and its key, so that
// one shop cannot name another's rows; in PostgreSQL a policy of each such table is
// a second wall (migrations/postgres).
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	sqlite3 "github.com/mattn/go-sqlite3"
	"github.com/oklog/ulid/v2"
	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/chmail/chmail/internal/sqldb"
)

//go:embed migrations/*.sql migrations/postgres/*.sql
var migrationFiles embed.FS

// Errors of this package, to be tested with errors.Is.
var (
	ErrUnknown = errors.New("there is no such thing in the mall")
	ErrTaken   = errors.New("it is taken already")
	// ErrState: not in the state that this needs, or no longer.
	ErrState = errors.New("it is in another state by now")
)

const (
	readers = 8  // connections of SQLite that read
	pgConns = 16 // connections of PostgreSQL
	txTries = 5
)

// Store is the mall's database. Its methods may be called at the same time.
type Store struct {
	db  *bun.DB // that writes; SQLite: one connection, so that writers queue here
	rd  *bun.DB // that reads; PostgreSQL: the same
	log *slog.Logger
}

// Open opens a database, "sqlite:PATH" or "postgres://…", and brings its schema up
// to date. log may be nil.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: log}
	var err error
	switch path, lite := strings.CutPrefix(dsn, "sqlite:"); {
	case lite && path != "":
		err = s.openSQLite(ctx, path)
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		err = s.openPostgres(ctx, dsn)
	default:
		err = errors.New("the address is neither sqlite:PATH nor postgres://…")
	}
	if err == nil {
		err = s.foldAll(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the mall's database: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) openSQLite(ctx context.Context, path string) error {
	if err := sqldb.MakeSQLite(path); err != nil {
		return err
	}
	db, err := sqldb.OpenSQLite(path, sqldb.Writes+"&_secure_delete=1", 1)
	if err != nil {
		return err
	}
	s.db = bun.NewDB(db, sqlitedialect.New())
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	if db, err = sqldb.OpenSQLite(path, sqldb.Reads, readers); err != nil {
		return err
	}
	s.rd = bun.NewDB(db, sqlitedialect.New())
	return nil
}

func (s *Store) openPostgres(ctx context.Context, dsn string) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(pgConns)
	db.SetMaxIdleConns(pgConns)
	s.db = bun.NewDB(db, pgdialect.New())
	s.rd = s.db
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	var passes bool
	err = s.db.QueryRowContext(ctx, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user").Scan(&passes)
	if passes {
		s.log.Warn("the mall's role in PostgreSQL passes row policies: give it one that is no superuser")
	}
	return err
}

// migrate brings the schema up to date. The mall may share its database with the
// rooms, so its versions are in a table of their own.
func migrate(ctx context.Context, db *bun.DB) error {
	up := func(dialect goose.Dialect, folder, versions string) error {
		files, err := fs.Sub(migrationFiles, folder)
		if err != nil {
			return err
		}
		p, err := sqldb.Provider(db.DB, dialect, files, versions)
		if err != nil {
			return err
		}
		return sqldb.Migrate(ctx, p)
	}
	if db.Dialect().Name() != dialect.PG {
		return up(sqldb.SQLite, "migrations", "mall_versions")
	}
	if err := up(sqldb.Postgres, "migrations", "mall_versions"); err != nil {
		return err
	}
	return up(sqldb.Postgres, "migrations/postgres", "mall_walls_versions")
}

// Close closes the database.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*bun.DB{s.rd, s.db} { // closing PostgreSQL's twice is harmless
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// tx runs do in a transaction and commits it if do returns nil. It runs do again
// when PostgreSQL chose the transaction as a deadlock's victim.
func (s *Store) tx(ctx context.Context, do func(tx bun.Tx) error) error {
	for try := 1; ; try++ {
		err := s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return do(tx) })
		var pg *pgconn.PgError
		if err == nil || try == txTries || !errors.As(err, &pg) || pg.Code != "40001" && pg.Code != "40P01" {
			return err
		}
	}
}

// known turns "no rows" into ErrUnknown.
func known(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

// taken turns a broken unique key into ErrTaken.
func taken(err error) error {
	var pg *pgconn.PgError
	var lite sqlite3.Error
	switch {
	case errors.As(err, &pg) && pg.Code == "23505",
		errors.As(err, &lite) && (lite.ExtendedCode == sqlite3.ErrConstraintUnique ||
			lite.ExtendedCode == sqlite3.ErrConstraintPrimaryKey):
		return ErrTaken
	}
	return err
}

// changed returns otherwise unless the statement changed exactly one row.
func changed(res sql.Result, err, otherwise error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, otherwise)
	}
	return nil
}

// NewID returns an id that sorts by time.
func NewID() string { return ulid.MustNew(ulid.Now(), rand.Reader).String() }

// Micros is a time as the database keeps it; Time reads it back, the zero Time from 0.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is the time of Micros.
func Time(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
