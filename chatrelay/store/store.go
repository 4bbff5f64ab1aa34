// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/sqldb"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "github.com/mattn/go-sqlite3"    // driver "sqlite3"
	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrationFiles embed.FS

// ErrClosed: the store was closed.
var ErrClosed = errors.New("room: the store is closed")

// Options are what Open needs.
type Options struct {
	DSN       string                   // "sqlite:PATH" or "postgres://…"
	InviteTTL time.Duration            // how long a link works; 90 days if not positive
	LoginOf   func(addr string) string // login of an address of this server, else empty; may be nil
	Log       *slog.Logger             // nil: nowhere
}

// Store keeps the rooms in one database. Its methods may be called at the
// same time, and several stores may share one PostgreSQL.
//
// SQL statements are the same for both engines; parameters are numbered in
// the order of their first appearance, because SQLite counts them so.
type Store struct {
	opts        Options
	write       *sql.DB // SQLite: one connection, so writers queue here and not at the file's lock
	read        *sql.DB // PostgreSQL: the same as write
	checkpoints *sql.DB // SQLite only
	prepared    map[string]*sql.Stmt
	commits     atomic.Int64
	forUpdate   string // row lock of the engine
	clock       string // its clock, in microseconds
	mailed      func(roomID string)

	accessChanged func(roomID string) // people or links of the room, or what these may read

	queue   chan *entry     // of the writer
	senders sync.RWMutex    // held for reading while an entry is queued
	open    context.Context // ends when Close begins
	shut    context.CancelFunc
	work    context.Context // of the writer; ends when Close has waited for long enough
	abort   context.CancelFunc
	written chan struct{}  // closed when the writer has ended
	owned   sync.WaitGroup // the other goroutines

	closing  sync.Once
	closeErr error
}

// Open opens the database, brings its schema up to date and starts the
// store's goroutines, which Close ends.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if opts.InviteTTL <= 0 {
		opts.InviteTTL = defaultTTL
	}
	if opts.LoginOf == nil {
		opts.LoginOf = func(string) string { return "" }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		opts:   opts,
		mailed: func(string) {},

		accessChanged: func(string) {},
		queue:         make(chan *entry, queueLength),
		written:       make(chan struct{}),
	}
	s.open, s.shut = context.WithCancel(context.Background())
	s.work, s.abort = context.WithCancel(context.Background())
	var err error
	switch path, lite := strings.CutPrefix(opts.DSN, "sqlite:"); {
	case lite && path != "":
		err = s.openSQLite(ctx, path)
	case strings.HasPrefix(opts.DSN, "postgres://"), strings.HasPrefix(opts.DSN, "postgresql://"):
		err = s.openPostgres(ctx)
	default:
		err = errors.New("the address is neither sqlite:PATH nor postgres://…")
	}
	if err == nil {
		err = s.beginEpochs(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the rooms' database: %w", errors.Join(err, s.closeDB()))
	}
	go s.writer()
	s.owned.Go(s.sweeper)
	if s.checkpoints != nil {
		s.owned.Go(s.checkpointer)
	}
	return s, nil
}

func (s *Store) openSQLite(ctx context.Context, path string) (err error) {
	if err := sqldb.MakeSQLite(path); err != nil {
		return err
	}
	s.clock = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
	if s.write, err = sqldb.OpenSQLite(path, sqldb.Writes+"&_secure_delete=fast&_cache_size="+cacheSize, 1); err != nil {
		return err
	}
	if err := takeOldJournal(ctx, s.write, path); err != nil {
		return err
	}
	if err := migrate(ctx, s.write, sqldb.SQLite, "migrations/sqlite"); err != nil {
		return err
	}
	if _, err := s.write.ExecContext(ctx, "PRAGMA wal_autocheckpoint = 0"); err != nil {
		return err
	}
	s.prepared = map[string]*sql.Stmt{}
	for _, query := range []string{nextOffset, raiseOffset, raiseTalked, insertMessage,
		settingsOf, findRooms, insertRoom, setOwner, insertMail, insertParticipant, insertInvite} {
		if s.prepared[query], err = s.write.PrepareContext(ctx, query); err != nil {
			return err
		}
	}
	if s.read, err = sqldb.OpenSQLite(path, sqldb.Reads, readers); err != nil {
		return err
	}
	s.checkpoints, err = sqldb.OpenSQLite(path, "_synchronous=FULL", 1)
	return err
}

func (s *Store) openPostgres(ctx context.Context) (err error) {
	if s.write, err = sql.Open("pgx", s.opts.DSN); err != nil {
		return err
	}
	s.read = s.write
	s.write.SetMaxOpenConns(pgConns)
	s.write.SetMaxIdleConns(pgConns)
	s.forUpdate = " FOR UPDATE"
	s.clock = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT"
	return migrate(ctx, s.write, sqldb.Postgres, "migrations/postgres")
}

// migrations are those of one engine.
func migrations(db *sql.DB, dialect goose.Dialect, dir string) (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, dir)
	if err != nil {
		return nil, err
	}
	return sqldb.Provider(db, dialect, files, "")
}

func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, dir string) error {
	p, err := migrations(db, dialect, dir)
	if err != nil {
		return err
	}
	return sqldb.Migrate(ctx, p)
}

// Close commits what was queued, ends the store's goroutines and closes the
// database. Calls that begin later fail with ErrClosed or an error of
// database/sql. When the database does not answer, queued entries fail with
// ErrClosed after closeTimeout. Closing again is harmless.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.shut()
		s.senders.Lock() // nobody queues an entry from now on
		close(s.queue)
		s.senders.Unlock()
		late := time.AfterFunc(closeTimeout, s.abort)
		defer late.Stop()
		select {
		case <-s.written:
			s.owned.Wait()
		case <-time.After(closeTimeout + sqldb.BusyTimeout):
			s.closeErr = errors.New("closing the rooms' database: it does not answer")
		}
		s.abort()
		s.closeErr = errors.Join(s.closeErr, s.closeDB())
	})
	return s.closeErr
}

func (s *Store) closeDB() error {
	var errs []error
	for _, db := range []*sql.DB{s.checkpoints, s.read, s.write} { // closing PostgreSQL's twice is harmless
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// querier is a database or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// quickTx is a transaction of SQLite that has the statements of put and enter prepared.
// The driver of PostgreSQL keeps prepared statements by itself.
type quickTx struct {
	*sql.Tx
	prepared map[string]*sql.Stmt
}

func (t quickTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if stmt := t.prepared[query]; stmt != nil {
		return t.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

func (t quickTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := t.prepared[query]; stmt != nil {
		return t.StmtContext(ctx, stmt).QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

func (t quickTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := t.prepared[query]; stmt != nil {
		return t.StmtContext(ctx, stmt).QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// tx runs do in a transaction and commits it if do returns nil. It runs do
// again when PostgreSQL chose the transaction as a deadlock's victim or
// another store won the race for a unique key.
func (s *Store) tx(ctx context.Context, do func(tx querier) error) error {
	for try := 1; ; try++ {
		err := s.tryTx(ctx, do)
		var pg *pgconn.PgError
		if err == nil || try == txTries || !errors.As(err, &pg) {
			return err
		}
		switch pg.Code {
		case "40001", "40P01", "23505": // serialization_failure, deadlock_detected, unique_violation
		default:
			return err
		}
	}
}

func (s *Store) tryTx(ctx context.Context, do func(tx querier) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := do(quickTx{tx, s.prepared}); err != nil {
		return err
	}
	s.commits.Add(1)
	return tx.Commit()
}

// Setting returns the value stored under key. If there is none, it stores
// what make returns; of several stores that do so at once one wins, and all
// get its value.
func (s *Store) Setting(ctx context.Context, key string, make func() ([]byte, error)) ([]byte, error) {
	value, err := setting(ctx, s.read, key)
	if !errors.Is(err, sql.ErrNoRows) {
		return value, err
	}
	fresh, err := make()
	if err != nil {
		return nil, fmt.Errorf("making the setting %q: %w", key, err)
	}
	if len(key) > maxName || len(fresh) > maxSetting {
		return nil, fmt.Errorf("storing the setting %q: %w", key, chat.ErrFull)
	}
	if fresh == nil {
		fresh = []byte{}
	}
	if _, err := s.write.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		key, fresh); err != nil {
		return nil, fmt.Errorf("storing the setting %q: %w", key, err)
	}
	return setting(ctx, s.write, key)
}

func setting(ctx context.Context, q querier, key string) (value []byte, err error) {
	err = q.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = $1", key).Scan(&value)
	if err != nil {
		err = fmt.Errorf("reading the setting %q: %w", key, err)
	}
	return value, err
}

// Sweep deletes invites that expired more than 30 days ago, with their
// claims, codes too old to count, and ended sessions that would have ended by
// themselves. The store calls it every hour.
func (s *Store) Sweep(ctx context.Context) error {
	now := time.Now()
	err := s.tx(ctx, func(tx querier) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM codes WHERE made < $1", micros(now.Add(-time.Hour))); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM ended_sessions WHERE expires < $1", micros(now)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM used_codes WHERE expires < $1", micros(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM invites WHERE expires < $1", micros(now.Add(-inviteRest)))
		return err
	})
	if err != nil {
		return fmt.Errorf("sweeping what is too old: %w", err)
	}
	return nil
}

func (s *Store) sweeper() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.Sweep(s.open); err != nil && s.open.Err() == nil {
				s.opts.Log.Error("sweeping the rooms' database", "err", err)
			}
		case <-s.open.Done():
			return
		}
	}
}

// secret returns n random bytes in base64url.
func secret(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// hash is what is stored of a secret.
func hash(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return sum[:]
}
