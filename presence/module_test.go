// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"os"
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
	m, err = initModule(t, "presence.redis", "url "+startRedis(t).url()+"\nprefix x\nhost Relay.mall.example\ntimeout 1s\npath "+path+"2")
	ok(t, err)
	if g := mustGrant(t, m, "a"); g.Host != "relay.mall.example" {
		t.Errorf("grant %+v", g)
	}
}

func TestModuleHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := initModule(t, "presence.local", "ports 21000-21001\nports 21000-21001 second.example\npath "+filepath.Join(dir, "local.db"))
	ok(t, err)
	for i, want := range []string{"chat.mall.example", "chat.mall.example", "second.example"} {
		if g := mustGrant(t, m, fmt.Sprint("u", i)); g.Host != want {
			t.Errorf("grant %d on %s, want %s", i, g.Host, want)
		}
	}
	if m.Bus() != nil {
		t.Error("one machine has a bus")
	}
	info := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, "presence.id")))
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of presence.id: %v", info.Mode())
	}
	id := must[string](t)(identity(filepath.Join(dir, "presence.id")))
	if hs := must[[]Host](t)(m.Hosts(t.Context())); len(hs) != 2 || hs[0].ID != id || len(id) != 32 {
		t.Errorf("hosts %+v, id %q", hs, id)
	}
	ok(t, os.WriteFile(filepath.Join(dir, "bad.id"), []byte("x"), 0o600))
	if _, err := identity(filepath.Join(dir, "bad.id")); err == nil {
		t.Error("a damaged id was taken")
	}
}

// Two machines with one name and one Redis: the second does not start.
func TestModuleNameTaken(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	block := func(extra string) string {
		return "url " + s.url() + "\ntimeout 1s\npath " + filepath.Join(t.TempDir(), "presence.db") + "\n" + extra
	}
	first, err := initModule(t, "presence.redis", block(""))
	ok(t, err)
	if first.Bus() == nil {
		t.Error("no bus")
	}
	_, err = initModule(t, "presence.redis", block(""))
	if err == nil || !strings.Contains(err.Error(), ErrNameTaken.Error()) || !strings.Contains(err.Error(), "chat.mall.example") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q, want one line with the name", err)
	}
	other, err := initModule(t, "presence.redis", block("host chat.mall.example 127.0.0.2"))
	ok(t, err)
	if got := other.RelayHost(); got != "127.0.0.2" {
		t.Errorf("the other machine is %s", got)
	}
}

func TestModuleErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, block, want string }{
		{"presence.local", "ports 5-4", "maddy.conf:2"},
		{"presence.local", "path /nonexistent/presence.db", "/nonexistent/presence."},
		{"presence.local", "max_logins 0", "max_logins"},
		{"presence.local", "host a b", "host"},
		{"presence.local", "ports 20000-20001 chat.mall.example", "two ranges"},
		{"presence.local", "ports 20000-20001 a b", "maddy.conf:2"},
		{"presence.local", "url redis://h", "url"},
		{"presence.redis", "", "url"},
		{"presence.redis", "url http://h", "redis://"},
		{"presence.redis", "url redis://h\ntimeout 0s", "timeout"},
		{"presence.redis", "url redis://h\nprefix a/b\npath " + filepath.Join(t.TempDir(), "p.db"), "prefix"},
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
