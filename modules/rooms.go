// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/mta"
)

const (
	// openTimeout bounds how long the database may take to be opened.
	openTimeout = 30 * time.Second
	// startPatience is how long the server's start waits for a database that
	// does not answer. Mail does not need it.
	startPatience = 5 * time.Second
	// openPause is waited between two tries to open the database.
	openPause = time.Second
	// openLogEvery is how often the log says that it still cannot be opened.
	openLogEvery = time.Minute
)

// errRoomsAway: the rooms' database could not be reached since the start.
var errRoomsAway = errors.New("the rooms' database cannot be reached yet")

// Rooms is chat.rooms, the rooms' database. Its block, with the defaults:
//
//	chat.rooms rooms {
//	    # sqlite:PATH, relative to the state directory, or postgres://…
//	    database sqlite:rooms.db
//	    # how long a link in a mail works
//	    invite_ttl 2160h
//	    # an address of these domains is the login of the same name; default: none
//	    local_domains
//	    # such an address with a tag is the same login (kim+shop@mall.example); none: it is not
//	    delimiter +
//	    debug no
//	}
//
// Other modules refer to it as `rooms &rooms`. While PostgreSQL cannot be
// reached, the server starts without it: mail goes on, chats and pages wait.
type Rooms struct {
	base
	rooms  awaited[*store.Store]
	cancel context.CancelFunc
	owned  sync.WaitGroup // the goroutine that goes on trying to open the database
}

var (
	_ module.Module   = (*Rooms)(nil)
	_ io.Closer       = (*Rooms)(nil)
	_ mta.Rooms       = (*Rooms)(nil)
	_ chatrelay.Store = (*store.Store)(nil)
)

func init() {
	register("chat.rooms", func(b base) module.Module { return &Rooms{base: b} })
}

// Init reads the block and opens the database.
func (m *Rooms) Init(cfg *config.Map) error {
	var dsn, tag string
	var ttl time.Duration
	var domains []string
	cfg.String("database", false, false, "sqlite:rooms.db", &dsn)
	cfg.Duration("invite_ttl", false, false, 90*24*time.Hour, &ttl)
	cfg.Custom("delimiter", false, false, plus, delimiter, &tag)
	cfg.StringList("local_domains", false, false, nil, &domains)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if ttl <= 0 {
		return config.NodeErr(cfg.Block, "invite_ttl must be more than 0")
	}
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite && path != "" && !filepath.IsAbs(path) {
		dsn = "sqlite:" + filepath.Join(config.StateDirectory, path)
	}
	if opensNothing {
		return nil
	}
	open := func(ctx context.Context) (*store.Store, error) {
		ctx, cancel := context.WithTimeout(ctx, openTimeout)
		defer cancel()
		return store.Open(ctx, store.Options{DSN: dsn, InviteTTL: ttl, LoginOf: loginIn(domains, tag), Log: m.log()})
	}
	engine, _, _ := strings.Cut(dsn, ":") // the rest may hold a password
	persist := engine != "sqlite" && !module.NoRun
	var late <-chan time.Time
	if persist {
		late = time.After(startPatience)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	first := make(chan error, 1)
	m.owned.Go(func() { m.open(ctx, open, persist, first) })
	select {
	case err := <-first:
		if err != nil && !(persist && unreachable(err)) {
			return config.NodeErr(cfg.Block, "%v", err)
		}
	case <-late:
		m.log().Error("the rooms' database does not answer: mail goes on, chats wait until it does")
	}
	return nil
}

// open opens the database and starts what waits for it. first gets the first
// try's error. When the database cannot be reached and persist is true, it goes
// on trying.
func (m *Rooms) open(
	ctx context.Context, open func(context.Context) (*store.Store, error), persist bool, first chan<- error,
) {
	var rooms *store.Store
	var said time.Time
	for try := 1; ; try++ {
		var err error
		if rooms == nil {
			rooms, err = open(ctx)
		}
		opened := err == nil
		if opened {
			err = m.rooms.set(rooms)
		}
		if try == 1 {
			first <- err
			if !opened && !(persist && unreachable(err)) {
				return
			}
		}
		if err == nil {
			if try > 1 {
				m.log().Info("the rooms' database is open: chats go on")
			}
			return
		}
		if time.Since(said) >= openLogEvery {
			m.log().Error("mail goes on, chats wait for the rooms' database", "err", err)
			said = time.Now()
		}
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return
		}
	}
}

// unreachable says whether PostgreSQL cannot be reached now, but perhaps later:
// it does not answer, refuses connections, starts or has no connection left.
func unreachable(err error) bool {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "53300": // shutdown, crash shutdown, cannot_connect_now, too_many_connections
			return true
		}
		return strings.HasPrefix(pg.Code, "08") // connection exceptions
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Store is the open store; nil while there is none.
func (m *Rooms) Store() *store.Store { return m.rooms.get() }

// whenOpen does something with the store: at once, or when it is open.
func (m *Rooms) whenOpen(do func(*store.Store) error) error { return m.rooms.when(do) }

// OpenFromMail implements mta.Rooms.
func (m *Rooms) OpenFromMail(ctx context.Context, mail chat.Mail) (chat.Opened, error) {
	rooms := m.Store()
	if rooms == nil {
		return chat.Opened{}, errRoomsAway
	}
	return rooms.OpenFromMail(ctx, mail)
}

// SignOut implements admin.Sessions.
func (m *Rooms) SignOut(ctx context.Context, login string) error {
	rooms := m.Store()
	if rooms == nil {
		return errRoomsAway
	}
	return rooms.SignOut(ctx, login)
}

// Close implements io.Closer.
func (m *Rooms) Close() error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	m.owned.Wait()
	if rooms := m.Store(); rooms != nil {
		return rooms.Close()
	}
	return nil
}

// loginIn returns the rule that an address of one of domains is its own login,
// but for a tag.
func loginIn(domains []string, delimiter string) func(string) string {
	local := make(map[string]bool, len(domains))
	for _, d := range domains {
		local[strings.ToLower(d)] = true
	}
	return func(addr string) string {
		if at := strings.LastIndexByte(addr, '@'); at > 0 && local[strings.ToLower(addr[at+1:])] {
			return untagged(strings.ToLower(addr), delimiter)
		}
		return ""
	}
}
