// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

func initPresence(t *testing.T, name, block string) (*Presence, error) {
	t.Helper()
	m, err := initModule(t, name, block)
	return m.(*Presence), err
}

func TestPresence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.db")
	m, err := initPresence(t, "presence.local", "ports 21000-21009\npath "+path+"\nmax_logins 10\ndebug yes")
	pt.OK(t, err)
	if g := pt.MustGrant(t, m, "a"); g.Host != "mx.example" || !(presence.Range{Lo: 21000,
		Hi: 21009}).Contains(g.Port) {
		t.Errorf("grant %+v", g)
	}
	m, err = initPresence(t, "presence.redis", "url "+testpart.Redis(t).URL()+"\nprefix x\nhost Relay.mall.example\n"+
		"timeout 1s\npath "+path+"2")
	pt.OK(t, err)
	if g := pt.MustGrant(t, m, "a"); g.Host != "relay.mall.example" {
		t.Errorf("grant %+v", g)
	}
}

func TestPresenceHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := initPresence(t, "presence.local", "ports 21000-21001\n"+
		"ports 21000-21001 second.example\npath "+filepath.Join(dir, "local.db"))
	pt.OK(t, err)
	for i, want := range []string{"mx.example", "mx.example", "second.example"} {
		if g := pt.MustGrant(t, m, fmt.Sprint("u", i)); g.Host != want {
			t.Errorf("grant %d on %s, want %s", i, g.Host, want)
		}
	}
	if m.Bus() != nil {
		t.Error("one machine has a bus")
	}
	id := pt.Must[string](t)(presence.Identity(filepath.Join(dir, "presence.id")))
	if hs := pt.Must[[]presence.Host](t)(m.Hosts(t.Context())); len(hs) != 2 || hs[0].ID != id {
		t.Errorf("hosts %+v, id %q", hs, id)
	}
}

// Two machines with one name and one Redis: the second does not start.
func TestPresenceNameTaken(t *testing.T) {
	t.Parallel()
	s := testpart.Redis(t)
	block := func(extra string) string {
		return "url " + s.URL() + "\ntimeout 1s\npath " + filepath.Join(t.TempDir(), "presence.db") + "\n" + extra
	}
	first, err := initPresence(t, "presence.redis", block(""))
	pt.OK(t, err)
	if first.Bus() == nil {
		t.Error("no bus")
	}
	_, err = initPresence(t, "presence.redis", block(""))
	if text := fmt.Sprint(err); !strings.Contains(text, presence.ErrNameTaken.Error()) ||
		!strings.Contains(text, "mx.example") || strings.Contains(text, "\n") {
		t.Errorf("error %q, want one line with the name", err)
	}
	other, err := initPresence(t, "presence.redis", block("host mx.example 127.0.0.2"))
	pt.OK(t, err)
	if got := other.RelayHost(); got != "127.0.0.2" {
		t.Errorf("the other machine is %s", got)
	}
}

func TestPresenceErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, block, want string }{
		{"presence.local", "ports 5-4", "test.conf:2"},
		{"presence.local", "path /nonexistent/presence.db", "/nonexistent/presence."},
		{"presence.local", "max_logins 0", "max_logins"},
		{"presence.local", "host a b", "host"},
		{"presence.local", "ports 20000-20001 mx.example", "two ranges"},
		{"presence.local", "ports 20000-20001 a b", "test.conf:2"},
		{"presence.local", "url redis://h", "url"},
		{"presence.redis", "", "url"},
		{"presence.redis", "url http://h", "redis://"},
		{"presence.redis", "url redis://h\ntimeout 0s", "timeout"},
		{"presence.redis", "url redis://h\nprefix a/b\npath " + filepath.Join(t.TempDir(), "p.db"), "prefix"},
	} {
		_, err := initPresence(t, c.name, c.block)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: error %v, want one that names %q", c.name, c.block, err, c.want)
		}
	}
}
