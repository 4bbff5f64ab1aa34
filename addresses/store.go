// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/chmail/chmail/internal/sqldb"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	conns = 8 // to the database
	// domainsFor is how long the list of domains is taken from memory. Another host that
	// shares the database may have changed it.
	domainsFor = 5 * time.Second
)

// Options of a store.
type Options struct {
	DSN string // sqlite:PATH or postgres://…
	// Domains are those of the configuration, which are always served. The first has the
	// postmaster of those that have none.
	Domains []string
	// Delimiter begins a tag of an address: kim+shop@mall.example is kim's. Empty: there
	// are no tags.
	Delimiter string
	// Exists says whether a login has an account.
	Exists func(ctx context.Context, login string) (bool, error)
	// First is a login for the postmaster's mail where nothing is set; empty: there is none.
	First func(ctx context.Context, domain string) (string, error)
	Log   *slog.Logger // nil: nothing is logged
}

// Store keeps addresses. Its methods may be called at the same time.
type Store struct {
	o   Options
	db  *bun.DB
	key []byte // of SRS

	mu      sync.Mutex
	domains map[string]bool
	read    time.Time // when domains was; zero: to be read anew
}

// Domain is one that is served.
type Domain struct {
	Name string `json:"name"`
	// Configured: the configuration names it, so that it is not removed by a command.
	Configured bool `json:"configured"`
}

// Alias is an address and whose mail it is.
type Alias struct {
	Addr    string   `json:"address"` // "@mall.example": every address of the domain that is nobody's
	Members []string `json:"members"`
}

// Person is what is set for a login.
type Person struct {
	Disabled bool   `json:"disabled"`
	Reason   string `json:"reason,omitempty"` // why, for its owner
	Quota    *int64 `json:"quota,omitempty"`  // octets; 0: no bound; nil: as the configuration says
	Rules    Rules  `json:"rules"`
}

// Open opens the database and brings its schema up to date.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for i, d := range o.Domains {
		o.Domains[i] = Fold(d)
	}
	s := &Store{o: o}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the addresses: %w", errors.Join(err, s.Close()))
		}
	}()
	var db *sql.DB
	switch path, lite := strings.CutPrefix(o.DSN, "sqlite:"); {
	case lite && path != "":
		if err = sqldb.MakeSQLite(path); err == nil {
			db, err = sqldb.OpenSQLite(path, sqldb.Writes, conns)
		}
		if err == nil {
			s.db = bun.NewDB(db, sqlitedialect.New())
		}
	case strings.HasPrefix(o.DSN, "postgres://"), strings.HasPrefix(o.DSN, "postgresql://"):
		if db, err = sql.Open("pgx", o.DSN); err == nil {
			db.SetMaxOpenConns(conns)
			s.db = bun.NewDB(db, pgdialect.New())
		}
	default:
		err = errors.New("the database is neither sqlite:PATH nor postgres://…")
	}
	if err == nil {
		err = s.migrate(ctx)
	}
	if err == nil {
		s.key, err = s.secret(ctx)
	}
	return s, err
}

// migrate brings the schema up to date. The rooms may be in the same database, so the
// versions are in a table of their own.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	kind := sqldb.SQLite
	if s.db.Dialect().Name() == dialect.PG {
		kind = sqldb.Postgres
	}
	p, err := sqldb.Provider(s.db.DB, kind, files, "addresses_versions")
	if err != nil {
		return err
	}
	return sqldb.Migrate(ctx, p)
}

// secret is the key that senders of forwarded mail are made with, made when missing.
func (s *Store) secret(ctx context.Context) ([]byte, error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // it never fails
	if _, err := s.db.ExecContext(ctx, "INSERT INTO secrets (name, value) VALUES ('srs', ?) ON CONFLICT DO NOTHING",
		hex.EncodeToString(fresh)); err != nil {
		return nil, err
	}
	var value string
	if err := s.db.QueryRowContext(ctx, "SELECT value FROM secrets WHERE name = 'srs'").Scan(&value); err != nil {
		return nil, err
	}
	return hex.DecodeString(value)
}

// Close closes the database.
func (s *Store) Close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// served are the domains, from memory where they have just been read.
func (s *Store) served(ctx context.Context) (map[string]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.read.IsZero() && time.Since(s.read) < domainsFor {
		return s.domains, nil
	}
	names, err := texts(ctx, s.db, "SELECT name FROM domains")
	if err != nil && s.domains != nil { // mail must not be refused for good meanwhile
		s.o.Log.Error("reading the domains: those of before are taken", "err", err)
		s.read = time.Now()
		return s.domains, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the domains: %w", err)
	}
	domains := make(map[string]bool, len(names)+len(s.o.Domains))
	for _, name := range append(names, s.o.Domains...) {
		domains[name] = true
	}
	s.domains, s.read = domains, time.Now()
	return domains, nil
}

// changed: the domains are read anew.
func (s *Store) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domains, s.read = nil, time.Time{}
}

// Serves says whether mail to a domain is for this server.
func (s *Store) Serves(ctx context.Context, domain string) (bool, error) {
	domains, err := s.served(ctx)
	return domains[Fold(domain)], err
}

// Domains lists the domains: those of the configuration in their order, then the others.
func (s *Store) Domains(ctx context.Context) ([]Domain, error) {
	domains, err := s.served(ctx)
	if err != nil {
		return nil, err
	}
	var list, others []Domain
	for _, name := range s.o.Domains {
		list = append(list, Domain{Name: name, Configured: true})
	}
	for name := range domains {
		if !slices.Contains(s.o.Domains, name) {
			others = append(others, Domain{Name: name})
		}
	}
	slices.SortFunc(others, func(a, b Domain) int { return strings.Compare(a.Name, b.Name) })
	return append(list, others...), nil
}

// AddDomain serves a domain from now on.
func (s *Store) AddDomain(ctx context.Context, name string) error {
	name = Fold(name)
	if err := CheckDomain(name); err != nil {
		return err
	}
	domains, err := s.served(ctx)
	switch {
	case err != nil:
		return err
	case domains[name]:
		return unfit("%s is served already", name)
	case len(domains) >= maxDomains:
		return ErrFull
	}
	defer s.changed()
	_, err = s.db.ExecContext(ctx, "INSERT INTO domains (name) VALUES (?) ON CONFLICT DO NOTHING", name)
	return err
}

// RemoveDomain serves a domain no longer, and removes its aliases.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	name = Fold(name)
	if slices.Contains(s.o.Domains, name) {
		return unfit("%s is named in the configuration: remove it there", name)
	}
	if ok, err := s.Serves(ctx, name); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%s: %w", name, ErrDomain))
	}
	defer s.changed()
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM aliases WHERE addr LIKE ? ESCAPE '!'", "%@"+escape(name))
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM domains WHERE name = ?", name)
		}
		return err
	})
}

// escape takes the meaning from what LIKE knows.
func escape(s string) string { return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s) }

// texts reads one column.
func texts(ctx context.Context, db bun.IDB, query string, args ...any) (list []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

// Aliases lists all aliases, by address.
func (s *Store) Aliases(ctx context.Context) (list []Alias, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT addr, member FROM aliases ORDER BY addr, member")
	if err != nil {
		return nil, fmt.Errorf("reading the aliases: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var addr, member string
		if err := rows.Scan(&addr, &member); err != nil {
			return nil, err
		}
		if n := len(list); n == 0 || list[n-1].Addr != addr {
			list = append(list, Alias{Addr: addr})
		}
		last := &list[len(list)-1]
		last.Members = append(last.Members, member)
	}
	return list, rows.Err()
}

// members are those of an alias; none: it is no alias.
func (s *Store) members(ctx context.Context, addr string) ([]string, error) {
	list, err := texts(ctx, s.db, "SELECT member FROM aliases WHERE addr = ? ORDER BY member", addr)
	if err != nil {
		err = fmt.Errorf("reading the alias %s: %w", addr, err)
	}
	return list, err
}

// AddAlias adds members to an alias, which is made when it is not there. addr is
// "@mall.example" for every address of the domain that is nobody's.
func (s *Store) AddAlias(ctx context.Context, addr string, members ...string) error {
	addr = Fold(addr)
	if local, domain, _ := strings.Cut(addr, "@"); local != "" || domain == "" {
		if err := CheckAddr(addr); err != nil {
			return err
		}
	}
	if err := s.MustServe(ctx, addr); err != nil {
		return err
	}
	if len(members) == 0 {
		return unfit("%s has no members: name one or more addresses", addr)
	}
	there, err := s.members(ctx, addr)
	if err != nil {
		return err
	}
	for _, m := range members {
		m = Fold(m)
		if err := s.mayBecome(ctx, addr, m); err != nil {
			return err
		}
		if !slices.Contains(there, m) {
			there = append(there, m)
		}
	}
	if len(there) > maxMembers {
		return fmt.Errorf("an alias has at most %d members: %w", maxMembers, ErrFull)
	}
	var all int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM aliases").Scan(&all); err != nil {
		return err
	}
	if all+len(members) > maxAliases {
		return fmt.Errorf("all aliases together have at most %d members: %w", maxAliases, ErrFull)
	}
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, m := range there {
			if _, err := tx.ExecContext(ctx, "INSERT INTO aliases (addr, member) VALUES (?, ?) ON CONFLICT DO NOTHING",
				addr, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// MustServe says that the domain of an address is not served, and which are.
func (s *Store) MustServe(ctx context.Context, addr string) error {
	list, err := s.Domains(ctx)
	if err != nil {
		return err
	}
	domain := DomainOf(addr)
	var names []string
	for _, d := range list {
		if d.Name == domain {
			return nil
		}
		names = append(names, d.Name)
	}
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	return fmt.Errorf("%s is %w, which serves %s: `chmaild domain add %s` adds it", domain, ErrDomain,
		strings.Join(names, ", "), domain)
}

// mayBecome says why an address cannot be a member of an alias.
func (s *Store) mayBecome(ctx context.Context, addr, member string) error {
	if err := CheckAddr(member); err != nil {
		return err
	}
	if member == addr {
		if there, err := s.o.Exists(ctx, member); err != nil || !there {
			return errors.Join(err, fmt.Errorf("%s is its own member, but no account: %w", addr, ErrLoop))
		}
		return nil
	}
	way, err := s.Resolve(ctx, member, false)
	switch {
	case errors.Is(err, ErrUnknown):
		return fmt.Errorf("%w: `chmaild user list` and `chmaild alias list` show those that there are", err)
	case err != nil && !errors.Is(err, ErrDisabled):
		return err
	case slices.Contains(way.Through, addr):
		return fmt.Errorf("%s already leads to %s: %w", member, addr, ErrLoop)
	}
	return nil
}

// RemoveAlias takes members out of an alias, or removes all of it where none is named.
func (s *Store) RemoveAlias(ctx context.Context, addr string, members ...string) error {
	addr = Fold(addr)
	there, err := s.members(ctx, addr)
	if err != nil {
		return err
	}
	if len(there) == 0 {
		return fmt.Errorf("%s is no alias: %w: `chmaild alias list` shows them", addr, ErrUnknown)
	}
	if len(members) == 0 {
		members = there
	}
	for i, m := range members {
		if members[i] = Fold(m); !slices.Contains(there, members[i]) {
			return fmt.Errorf("%s is no member of %s: %w", m, addr, ErrUnknown)
		}
	}
	_, err = s.db.ExecContext(ctx, "DELETE FROM aliases WHERE addr = ? AND member IN (?)", addr, bun.List(members))
	return err
}

// columns of a Person.
const columns = "disabled, reason, quota, rules"

func scanPerson(scan func(...any) error, first ...any) (p Person, err error) {
	var rules string
	var quota sql.NullInt64
	if err = scan(append(first, &p.Disabled, &p.Reason, &quota, &rules)...); err != nil {
		return p, err
	}
	if quota.Valid {
		p.Quota = &quota.Int64
	}
	if rules != "" {
		err = json.Unmarshal([]byte(rules), &p.Rules)
	}
	return p, err
}

// Person is what is set for a login.
func (s *Store) Person(ctx context.Context, login string) (Person, error) {
	p, err := scanPerson(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM people WHERE login = ?", Fold(login)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Person{}, nil
	}
	if err != nil {
		err = fmt.Errorf("reading what is set for %s: %w", login, err)
	}
	return p, err
}

// People are all for whom something is set, by login.
func (s *Store) People(ctx context.Context) (map[string]Person, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT login, "+columns+" FROM people")
	if err != nil {
		return nil, fmt.Errorf("reading what is set for people: %w", err)
	}
	defer rows.Close()
	all := make(map[string]Person)
	for rows.Next() {
		var login string
		p, err := scanPerson(rows.Scan, &login)
		if err != nil {
			return nil, err
		}
		all[login] = p
	}
	return all, rows.Err()
}

// set writes one column of a login.
func (s *Store) set(ctx context.Context, login, column string, value any) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO people (login, ?) VALUES (?, ?)"+
		" ON CONFLICT (login) DO UPDATE SET ? = ?", bun.Ident(column), Fold(login), value, bun.Ident(column), value)
	if err != nil {
		err = fmt.Errorf("setting the %s of %s: %w", column, login, err)
	}
	return err
}

// maxReason is the characters of why an account is disabled.
const maxReason = 200

// Disable keeps a login out and refuses its mail, or ends that. reason is for its owner.
func (s *Store) Disable(ctx context.Context, login string, disabled bool, reason string) error {
	if len([]rune(reason)) > maxReason || strings.ContainsAny(reason, "\r\n") {
		return unfit("a reason is one line of up to %d characters", maxReason)
	}
	if err := s.set(ctx, login, "disabled", disabled); err != nil {
		return err
	}
	return s.set(ctx, login, "reason", reason)
}

// SetQuota bounds the octets that a login keeps; 0: no bound; nil: as the configuration says.
func (s *Store) SetQuota(ctx context.Context, login string, octets *int64) error {
	if octets != nil && *octets < 0 {
		return unfit("a quota of %d octets", *octets)
	}
	return s.set(ctx, login, "quota", octets)
}

// SetRules sets what becomes of a login's mail.
func (s *Store) SetRules(ctx context.Context, login string, r Rules) error {
	login = Fold(login)
	r, err := r.checked()
	if err != nil {
		return err
	}
	for _, to := range r.Forward {
		if to == login {
			return fmt.Errorf("%s cannot be forwarded to itself: %w", login, ErrLoop)
		}
		way, err := s.Resolve(ctx, to, true)
		switch {
		case err != nil && !errors.Is(err, ErrDisabled):
			return err
		case slices.Contains(way.Through, login):
			return fmt.Errorf("%s already leads to %s: %w", to, login, ErrLoop)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.set(ctx, login, "rules", string(text))
}

// Forget removes all that is known of a login whose account is gone: nobody who gets the
// name later has its mail, nor does mail to an alias go nowhere.
func (s *Store) Forget(ctx context.Context, login string) error {
	login = Fold(login)
	return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, query := range []string{"DELETE FROM people WHERE login = ?", "DELETE FROM answered WHERE login = ?",
			"DELETE FROM aliases WHERE member = ?"} {
			if _, err := tx.ExecContext(ctx, query, login); err != nil {
				return fmt.Errorf("forgetting %s: %w", login, err)
			}
		}
		return nil
	})
}

// Answer notes that a login's notice answers a sender, and says whether it may: not where
// it did within AnswerAgain.
func (s *Store) Answer(ctx context.Context, login, sender string, now time.Time) (may bool, err error) {
	login, sender = Fold(login), Fold(sender)
	err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		old := now.Add(-AnswerAgain).UnixMicro()
		if _, err := tx.ExecContext(ctx, "DELETE FROM answered WHERE at <= ?", old); err != nil {
			return err
		}
		var n int
		err := tx.QueryRowContext(ctx, "SELECT count(*) FROM answered WHERE login = ?", login).Scan(&n)
		if err != nil || n >= maxAnswered {
			return err
		}
		res, err := tx.ExecContext(ctx, "INSERT INTO answered (login, sender, at) VALUES (?, ?, ?)"+
			" ON CONFLICT DO NOTHING", login, sender, now.UnixMicro())
		if err != nil {
			return err
		}
		inserted, err := res.RowsAffected()
		may = inserted == 1
		return err
	})
	return may, err
}

// ForgetAnswers lets a login's notice answer everybody again: it is another one.
func (s *Store) ForgetAnswers(ctx context.Context, login string) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM answered WHERE login = ?", Fold(login))
	return err
}
