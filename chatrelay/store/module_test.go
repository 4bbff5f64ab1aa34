// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"strings"
	"testing"

	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

func load(t *testing.T, block string) (*Module, error) {
	t.Helper()
	nodes := must(parser.Read(strings.NewReader(block), "test.conf"))(t)
	m := must(module.Get(moduleName)(moduleName, "rooms", nil, nil))(t).(*Module)
	t.Cleanup(func() { ok(t, m.Close()) })
	return m, m.Init(config.NewMap(nil, nodes[0]))
}

func TestModule(t *testing.T) { // not parallel: the state directory is a global of maddy's
	config.StateDirectory = t.TempDir()
	m, err := load(t, "chat.rooms rooms {\n local_domains here.test other.test\n invite_ttl 24h\n}\n")
	ok(t, err)
	if m.opts.DSN != "sqlite:"+config.StateDirectory+"/rooms.db" || m.opts.InviteTTL.Hours() != 24 {
		t.Errorf("options %+v", m.opts)
	}
	for addr, login := range map[string]string{"A@Other.Test": "a@other.test", "a@else.test": "", "here.test": "", "@here.test": ""} {
		if got := m.opts.LoginOf(addr); got != login {
			t.Errorf("login of %q is %q, want %q", addr, got, login)
		}
	}

	module.RegisterInstance(m, config.NewMap(nil, config.Node{}))
	module.Initialized[m.InstanceName()] = true
	var store *Store
	user := must(parser.Read(strings.NewReader("user {\n rooms &rooms\n}\n"), "test.conf"))(t)
	cfg := config.NewMap(nil, user[0])
	cfg.Custom("rooms", false, true, nil, Directive, &store)
	if _, err := cfg.Process(); err != nil || store != m.Store {
		t.Errorf("directive: %v, %v", store, err)
	}

	for _, bad := range []string{"database mysql:x", "invite_ttl 0s", "colour red"} {
		if _, err := load(t, "chat.rooms rooms {\n "+bad+"\n}\n"); err == nil || !strings.Contains(err.Error(), "test.conf:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
