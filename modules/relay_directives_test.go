// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/notify"
)

// readDirectives reads group and webhook directives as the module does.
func readDirectives(t *testing.T, text string) (groups map[string][]string, hooks []notify.Webhook, err error) {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	groups = map[string][]string{}
	m := config.NewMap(nil, config.Node{Children: nodes})
	m.Callback("group", func(_ *config.Map, node config.Node) error { return readGroup(groups, node) })
	m.Callback("webhook", func(m *config.Map, node config.Node) error { return readWebhook(&hooks, m, node) })
	if _, err = m.Process(); err == nil {
		err = checkGroups(groups, m.Block)
	}
	return groups, hooks, err
}

func TestDirectives(t *testing.T) {
	t.Parallel()
	groups, hooks, err := readDirectives(t, `
group Sales@mall.example {
    member Mina@mall.example joon@mall.example
    member ada@mall.example
}
webhook https://ntfy.example/x {
    format ntfy
    secret s
    for Mina@mall.example
}
webhook http://127.0.0.1:9/x
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := groups["sales@mall.example"]; !slices.Equal(got, []string{"mina@mall.example",
		"joon@mall.example", "ada@mall.example"}) {
		t.Errorf("groups %v", groups)
	}
	want := "[{https://ntfy.example/x ntfy s [mina@mall.example]} {http://127.0.0.1:9/x json  []}]"
	if got := fmt.Sprint(hooks); got != want {
		t.Errorf("webhooks %s, want %s", got, want)
	}
	for _, bad := range []string{
		"group sales@mall.example", "group sales {\nmember a@b\n}", "group a@b {\nmember A@b\n}",
		"group a@b {\nmembers c@b\n}",
		"group a@b {\nmember c@b\n}\ngroup A@B {\nmember d@b\n}",
		"group a@b {\nmember c@b\n}\ngroup c@b {\nmember d@b\n}",
		"webhook", "webhook http://far.example/x", "webhook https://x/ {\nformat xml\n}",
		"webhook https://x/ {\nformat mattermost\nsecret x\n}",
		strings.Repeat("webhook https://x/\n", maxHooks+1),
	} {
		if _, _, err := readDirectives(t, bad); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

// TestPushContact: a contact that Apple's push service refuses is found by `chmaild check`.
func TestPushContact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, push string
		good       bool
	}{
		{"postmaster@mall.example", "yes", true}, {"postmaster@localhost", "yes", false},
		{"postmaster@mail", "yes", false},
		{"postmaster@localhost", "no", true}, {"postmaster@localhost", "anywhere", true},
	} {
		b := relayBlock{from: c.from, push: c.push, carriers: []string{carrier.WebSocket},
			opt: chatrelay.Options{Rings: 3, Interval: time.Second, PortIdle: time.Second, LeftFor: time.Second,
				WebBase: "https://chat.mall.example"}}
		err := b.check(config.Node{Name: "chat.relay", File: "test", Line: 7})
		if (err == nil) != c.good || err != nil && !strings.Contains(err.Error(), "mail_from") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
