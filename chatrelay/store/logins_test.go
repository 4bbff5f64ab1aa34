// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

func TestSignOut(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		if at := must(s.SignedOut(ctx, alice.Login))(t); !at.IsZero() {
			t.Fatalf("signed out at %v before anybody did so", at)
		}
		start := time.Now().Truncate(time.Microsecond)
		ok(t, s.SignOut(ctx, " Alice@Here.test"))
		first := must(s.SignedOut(ctx, alice.Login))(t)
		if first.Before(start) || first.After(time.Now()) {
			t.Fatalf("signed out at %v, which is not between %v and now", first, start)
		}
		if of := must(s.Settings(ctx, alice.Login))(t)[alice.Login]; of.Availability != chat.DefaultSettings().Availability {
			t.Fatalf("settings %+v are not the defaults", of)
		}
		must(s.ChangeSettings(ctx, alice.Login, func(set *chat.Settings) error { set.Stamp = false; return nil }))(t)
		if at := must(s.SignedOut(ctx, alice.Login))(t); !at.Equal(first) {
			t.Fatalf("new settings moved %v to %v", first, at)
		}
		ok(t, s.SignOut(ctx, alice.Login))
		second := must(s.SignedOut(ctx, alice.Login))(t)
		if second.Before(first) || must(s.Settings(ctx, alice.Login))(t)[alice.Login].Stamp {
			t.Fatalf("signed out at %v, then at %v; or the settings are lost", first, second)
		}
		// Who comes to the same login later must not find the sessions of before.
		must(s.Erase(ctx, alice.Login))(t)
		if at := must(s.SignedOut(ctx, alice.Login))(t); !at.Equal(second) {
			t.Fatalf("after erasing: signed out at %v, not at %v", at, second)
		}
		if !must(s.Settings(ctx, alice.Login))(t)[alice.Login].Stamp {
			t.Fatal("erasing left the settings")
		}
		if at := must(s.SignedOut(ctx, "bob@here.test"))(t); !at.IsZero() {
			t.Fatalf("another login was signed out at %v", at)
		}
	})
}
