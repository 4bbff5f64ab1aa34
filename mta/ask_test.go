// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"path/filepath"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
)

// Who does not want links in their mails gets none, in the store's own words.
func TestNoStampWished(t *testing.T) {
	t.Parallel()
	rooms, err := store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	for _, wanted := range []bool{true, false, true} {
		_, err := rooms.ChangeSettings(t.Context(), "host@mall.example",
			func(s *chat.Settings) error { s.Stamp = wanted; return nil })
		if err != nil {
			t.Fatal(err)
		}
		s := &sink{}
		target, _ := target(s)
		target.Rooms = rooms
		if err := send(target, "", "host@mall.example", "host@mall.example", "customer@mall.example"); err != nil {
			t.Fatal(err)
		}
		if got := s.mails[0].header.Has("CHmail-Chat"); got != wanted {
			t.Errorf("stamped: %v, wanted: %v", got, wanted)
		}
	}
}
