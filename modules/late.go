// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/module"
	"github.com/jackc/pgx/v5/pgconn"
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

// late is a database that may come after the start: while PostgreSQL cannot be
// reached, the server starts without it. Who needs it says with when what is to be
// done then.
type late[T any] struct {
	awaited[T]
	name, waits string // for the log: "the rooms' database", "chats wait"
	log         *slog.Logger
	cancel      context.CancelFunc
	owned       sync.WaitGroup // the goroutine that goes on trying
}

// begin opens the database at a DSN, or goes on trying while it cannot be reached. Other
// errors of the first try are returned.
func (l *late[T]) begin(dsn string, open func(context.Context) (T, error)) error {
	engine, _, _ := strings.Cut(dsn, ":") // the rest may hold a password
	if engine != "sqlite" && asksNobody {
		return nil
	}
	persist := engine != "sqlite" && !module.NoRun
	var patience <-chan time.Time
	if persist {
		patience = time.After(startPatience)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	first := make(chan error, 1)
	l.owned.Go(func() { l.open(ctx, open, persist, first) })
	select {
	case err := <-first:
		if err != nil && !(persist && unreachable(err)) {
			return err
		}
	case <-patience:
		l.log.Error(l.name + " does not answer: mail goes on, " + l.waits + " until it does")
	}
	return nil
}

// open opens the database and starts what waits for it. first gets the first
// try's error. When the database cannot be reached and persist is true, it goes
// on trying.
func (l *late[T]) open(ctx context.Context, open func(context.Context) (T, error), persist bool, first chan<- error) {
	var value T
	var said time.Time
	opened := false
	for try := 1; ; try++ {
		var err error
		if !opened {
			within, cancel := context.WithTimeout(ctx, openTimeout)
			value, err = open(within)
			cancel()
			opened = err == nil
		}
		if opened {
			err = l.set(value)
		}
		if try == 1 {
			first <- err
			if !opened && !(persist && unreachable(err)) {
				return
			}
		}
		if err == nil {
			if try > 1 {
				l.log.Info(l.name + " is open")
			}
			return
		}
		if time.Since(said) >= openLogEvery {
			l.log.Error("mail goes on, "+l.waits+" for "+l.name, "err", err)
			said = time.Now()
		}
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return
		}
	}
}

// end ends the tries to open it.
func (l *late[T]) end() {
	if l.cancel != nil {
		l.cancel()
		l.owned.Wait()
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
