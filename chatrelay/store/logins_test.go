// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

func TestSignOut(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		begin := func(login string) chat.Session {
			return chat.Session{Login: login, ID: secret(16), Began: time.Now()}
		}
		good := func(want bool, of ...chat.Session) {
			t.Helper()
			for i, session := range of {
				if must(s.SignedIn(ctx, session))(t) != want {
					t.Fatalf("session %d of %s is good: %v", i, session.Login, !want)
				}
			}
		}
		early := []chat.Session{begin(alice.Login), begin(alice.Login)}
		other := begin("bob@here.test")
		good(true, early...)
		ok(t, s.PutSubscription(ctx, alice.Login, chat.Subscription{Endpoint: "e1", P256dh: "k", Auth: "a"}, 3))
		ok(t, s.PutSubscription(ctx, other.Login, chat.Subscription{Endpoint: "e2", P256dh: "k", Auth: "a"}, 3))
		ok(t, s.SignOut(ctx, " Alice@Here.test"))
		if list := must(s.Subscriptions(ctx, alice.Login))(t); len(list) != 0 {
			t.Fatalf("browsers that are still notified: %v", list)
		}
		if list := must(s.Subscriptions(ctx, other.Login))(t); len(list) != 1 {
			t.Fatalf("browsers of another login: %v", list)
		}
		if of := must(s.Settings(ctx, alice.Login))(t)[alice.Login]; of.Availability !=
			chat.DefaultSettings().Availability {
			t.Fatalf("settings %+v are not the defaults", of)
		}
		again := begin(alice.Login)
		must(s.ChangeSettings(ctx, alice.Login, func(set *chat.Settings) error { set.Stamp = false; return nil }))(t)
		good(false, early...)
		good(true, again, other)
		ok(t, s.SignOut(ctx, alice.Login))
		good(false, again)
		if must(s.Settings(ctx, alice.Login))(t)[alice.Login].Stamp {
			t.Fatal("the settings are lost")
		}
		// The sessions from before must not be good for a later owner of the login.
		must(s.Erase(ctx, alice.Login))(t)
		good(false, append(early, again)...)
		good(true, begin(alice.Login), other)
		if !must(s.Settings(ctx, alice.Login))(t)[alice.Login].Stamp {
			t.Fatal("erasing left the settings")
		}
	})
}

func TestEndSession(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		session := func(id string) chat.Session {
			return chat.Session{Login: alice.Login, ID: id, Began: time.Now()}
		}
		good := func(session chat.Session, want bool) {
			t.Helper()
			if must(s.SignedIn(ctx, session))(t) != want {
				t.Fatalf("session %s is good: %v", session.ID, !want)
			}
		}
		one, two := session("one"), session("two")
		hour := time.Now().Add(time.Hour)
		ok(t, s.EndSession(ctx, one, hour))
		ok(t, s.EndSession(ctx, one, hour)) // again is harmless
		good(one, false)
		good(two, true)
		ok(t, s.Close())
		s = open(t, dsn) // a restart
		good(one, false)
		ok(t, s.Sweep(ctx))
		good(one, false)
		ok(t, s.EndSession(ctx, session("old"), time.Now().Add(-time.Second)))
		ok(t, s.Sweep(ctx))
		good(session("old"), true) // by its own time it has ended

		// What is remembered of a login is bounded; nothing that ended is good again.
		ok(t, s.tx(ctx, func(tx querier) error {
			for i := range maxEnded - 1 {
				_, err := tx.ExecContext(ctx, "INSERT INTO ended_sessions (id, login, expires) VALUES ($1, $2, $3)",
					fmt.Sprint("many", i), alice.Login, micros(hour))
				if err != nil {
					return err
				}
			}
			return nil
		}))
		good(two, true)
		last, others := session("last"), chat.Session{Login: "bob@here.test", ID: "his", Began: time.Now()}
		ok(t, s.EndSession(ctx, last, hour))
		good(one, false)
		good(two, false)
		good(last, false)
		good(others, true)
		good(session("next"), true)
		var rows int
		ok(t, s.read.QueryRowContext(ctx, "SELECT count(*) FROM ended_sessions").Scan(&rows))
		if rows != 0 {
			t.Fatalf("%d ended sessions are remembered", rows)
		}
	})
}

func BenchmarkSignedIn(b *testing.B) {
	s, err := Open(ctx, Options{DSN: "sqlite:" + b.TempDir() + "/rooms.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	session := chat.Session{Login: alice.Login, ID: "one", Began: time.Now()}
	for b.Loop() {
		if good, err := s.SignedIn(ctx, session); err != nil || !good {
			b.Fatal(good, err)
		}
	}
}
