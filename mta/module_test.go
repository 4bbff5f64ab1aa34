// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"strings"
	"testing"

	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// named makes the fakes modules, for a configuration to refer to.
type named struct {
	*sink
	*fakeRooms
	*fakePresence
}

func (named) Name() string           { return "test" }
func (named) InstanceName() string   { return "mta_test" }
func (named) Init(*config.Map) error { return nil }

func TestInit(t *testing.T) {
	t.Parallel()
	module.RegisterInstance(named{&sink{}, &fakeRooms{}, &fakePresence{}}, config.NewMap(nil, config.Node{}))
	const good = "deliver_to &mta_test\nrooms &mta_test\npresence &mta_test\n"
	for block, want := range map[string]string{
		good: "",
		good + "host chat.example\nlink https://chat.example/\nrequire_stamp yes\n": "",
		"deliver_to &mta_test\n":                     "rooms is required",
		"rooms &mta_test\n":                          "deliver_to",
		good + "host http://x\n":                     "not a host name",
		good + "link chat.example\n":                 "not an http or https address",
		good + "colour blue\n":                       "colour",
		"deliver_to &mta_test\nrooms &no_such_one\n": "no_such_one",
	} {
		nodes, err := parser.Read(strings.NewReader("target.chmail x {\n"+block+"}\n"), "maddy.conf")
		if err != nil {
			t.Fatal(err)
		}
		m, err := newModule(modName, "x", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Init(config.NewMap(map[string]any{"hostname": "mx.example"}, nodes[0]))
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", block, err)
		case want == "" && strings.HasSuffix(m.(*Module).Link, "/"):
			t.Errorf("link %s", m.(*Module).Link)
		}
	}
}
