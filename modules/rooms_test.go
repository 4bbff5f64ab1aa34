// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"os"
	"strings"
	"testing"

	"github.com/foxcpp/maddy/framework/config"
)

func TestRooms(t *testing.T) { // not parallel: the state directory is a global of maddy's
	config.StateDirectory = t.TempDir()
	if _, err := initModule(t, "chat.rooms", "local_domains here.test other.test\ninvite_ttl 24h"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config.StateDirectory + "/rooms.db"); err != nil {
		t.Error(err)
	}
	login := loginIn([]string{"here.test", "Other.test"}, nil, "+")
	for addr, want := range map[string]string{"A@Other.Test": "a@other.test",
		"a+shop@here.test": "a@here.test", "+a@here.test": "+a@here.test", "a@else.test": "",
		"here.test": "", "@here.test": ""} {
		if got := login(addr); got != want {
			t.Errorf("login of %q is %q, want %q", addr, got, want)
		}
	}
	for _, bad := range []string{"database mysql:x", "invite_ttl 0s", "colour red", "delimiter plus"} {
		if _, err := initModule(t, "chat.rooms", bad); err == nil || !strings.Contains(err.Error(), "test.conf:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
