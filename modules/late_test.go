// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/foxcpp/maddy/framework/exterrors"

	"github.com/chmail/chmail/mall/store"
)

// TestLate: the server starts while PostgreSQL is away, what waits for the database is done
// when it has come, and an address that may be a shop's is not refused meanwhile. What is
// no matter of reaching it ends the start.
func TestLate(t *testing.T) { // not parallel: the mall's database is a global
	t.Cleanup(func() { shops.Store(nil) })
	synctest.Test(t, func(t *testing.T) {
		away := error(&net.OpError{Op: "dial", Err: errors.New("connection refused")})
		began := time.Now()
		l := &late[*store.Store]{name: "the mall's database", waits: "the mall waits",
			log: slog.New(slog.DiscardHandler)}
		shops.Store(l)
		var table MallTable
		err := l.begin("postgres://mall.example/mall", func(context.Context) (*store.Store, error) {
			if time.Since(began) < 10*time.Second {
				return nil, away
			}
			return &store.Store{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		opened := false
		if err := l.when(func(*store.Store) error { opened = true; return nil }); err != nil || opened {
			t.Errorf("opened %t, %v", opened, err)
		}
		_, err = table.LookupMulti(t.Context(), "lamps@mall.example")
		if !exterrors.IsTemporary(err) {
			t.Errorf("while the database is away: %v", err)
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if !opened || l.get() == nil {
			t.Error("the database has come, and nothing was done")
		}
		l.end()

		wrong := &late[*store.Store]{log: slog.New(slog.DiscardHandler)}
		err = wrong.begin("postgres://mall.example/mall", func(context.Context) (*store.Store, error) {
			return nil, errors.New("written by a newer program")
		})
		if err == nil {
			t.Error("a database that cannot be used is waited for")
		}
		wrong.end()
	})
}
