// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

func TestPrograms(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		begin := func(login, device string) chat.Session {
			return chat.Session{Login: login, ID: secret(16), Began: time.Now(), Device: device}
		}
		list := func(want ...string) []chat.Program {
			t.Helper()
			all := must(s.Programs(ctx, alice.Login))(t)
			if len(all) != len(want) {
				t.Fatalf("%+v, want %v", all, want)
			}
			for i, p := range all {
				if p.Name != want[i] || p.Made.IsZero() || p.Seen.Before(p.Made.Add(-time.Second)) {
					t.Fatalf("%+v, want %v", all, want)
				}
			}
			return all
		}
		list()
		laptop, phone := begin(alice.Login, "laptop"), begin(alice.Login, "phone")
		ok(t, s.SawProgram(ctx, laptop, "192.0.2.1"))
		ok(t, s.SawProgram(ctx, phone, "192.0.2.2"))
		ok(t, s.SawProgram(ctx, begin("bob@here.test", "bob's"), "192.0.2.3"))
		ok(t, s.SawProgram(ctx, laptop, "192.0.2.4"))
		if all := list("laptop", "phone"); all[0].Addr != "192.0.2.4" || all[0].ID != laptop.ID {
			t.Fatalf("%+v", all)
		}
		ok(t, s.EndSession(ctx, laptop, time.Now().Add(time.Hour)))
		ok(t, s.SawProgram(ctx, laptop, "192.0.2.4")) // as a late note would
		list("phone")
		ok(t, s.SignOut(ctx, alice.Login))
		list()
		for range maxPrograms + 1 {
			ok(t, s.SawProgram(ctx, begin(alice.Login, "many"), ""))
		}
		if all := must(s.Programs(ctx, alice.Login))(t); len(all) != maxPrograms {
			t.Fatalf("%d programs", len(all))
		}
	})
}

func TestUseCode(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		id := secret(16)
		use := func(expires time.Time, want bool) {
			t.Helper()
			if must(s.UseCode(ctx, id, expires))(t) != want {
				t.Fatalf("the code was used: %v", want)
			}
		}
		use(time.Now().Add(time.Hour), true)
		use(time.Now().Add(time.Hour), false)
		ok(t, s.ReturnCode(ctx, id))
		use(time.Now().Add(-time.Hour), true)
		ok(t, s.Sweep(ctx)) // it has ended by itself, so that nobody need remember it
		use(time.Now().Add(time.Hour), true)
	})
}
