// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

func initModule(t *testing.T, name, block string) (*Module, error) {
	t.Helper()
	nodes := must[[]parser.Node](t)(parser.Read(strings.NewReader("presence.test {\n"+block+"\n}\n"), "maddy.conf"))
	m := must[module.Module](t)(module.Get(name)(name, "presence", nil, nil)).(*Module)
	t.Cleanup(func() { m.Close() })
	return m, m.Init(config.NewMap(map[string]interface{}{"hostname": "chat.mall.example"}, nodes[0]))
}

func TestModule(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	m, err := initModule(t, "presence.local", "ports 21000-21009\npath "+path+"\nmax_logins 10\ndebug yes")
	ok(t, err)
	if g := mustGrant(t, m, "a"); g.Host != "chat.mall.example" || !(Range{21000, 21009}).Contains(g.Port) {
		t.Errorf("grant %+v", g)
	}
	m, err = initModule(t, "presence.redis", "url "+startRedis(t).url()+"\nprefix x\nhost Relay.mall.example\ntimeout 1s")
	ok(t, err)
	if g := mustGrant(t, m, "a"); g.Host != "relay.mall.example" {
		t.Errorf("grant %+v", g)
	}
}

func TestModuleErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, block, want string }{
		{"presence.local", "ports 5-4", "maddy.conf:2"},
		{"presence.local", "path /nonexistent/presence.db", "/nonexistent/presence.db"},
		{"presence.local", "max_logins 0", "max_logins"},
		{"presence.local", "url redis://h", "url"},
		{"presence.redis", "", "url"},
		{"presence.redis", "url http://h", "redis://"},
		{"presence.redis", "url redis://h\ntimeout 0s", "timeout"},
		{"presence.redis", "url redis://h\nprefix a/b", "prefix"},
	} {
		_, err := initModule(t, c.name, c.block)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: error %v, want one that names %q", c.name, c.block, err, c.want)
		}
	}
	if _, err := newModule("presence.local", "x", nil, []string{"arg"}); err == nil {
		t.Error("an argument was taken")
	}
}
