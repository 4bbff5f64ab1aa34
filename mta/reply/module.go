// SPDX-License-Identifier: GPL-3.0-or-later

package reply

import (
	"fmt"

	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
)

const modName = "target.chmail_reply"

// Module is target.chmail_reply: mail to the Reply-To of a transcript appears
// in its conversation. It stands behind a destination of its own, since the
// address is no account:
//
//	destination_in regexp "(?i)reply\+[a-z2-7]+@mall\.example" "reply" {
//	    deliver_to &replies
//	}
//
//	target.chmail_reply replies {
//	    relay &relay   # required: a chat.relay, whose `replies` is the addresses' domain
//	    debug no       # default: the global debug
//	}
type Module struct {
	Target
	instance string
}

var (
	_ module.Module         = (*Module)(nil)
	_ module.DeliveryTarget = (*Module)(nil)
	_ module.Delivery       = (*delivery)(nil)
)

// relayModule is a chat.relay. Its relay is asked for when mail comes: at the
// start the two blocks may be waiting for each other.
type relayModule interface{ Relay() *chatrelay.Relay }

func init() {
	module.Register(modName, func(_, instance string, _, args []string) (module.Module, error) {
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: inline arguments are not used", modName)
		}
		return &Module{Target: Target{Log: log.Logger{Name: modName}}, instance: instance}, nil
	})
}

// Name implements module.Module.
func (m *Module) Name() string { return modName }

// InstanceName implements module.Module.
func (m *Module) InstanceName() string { return m.instance }

// Init implements module.Module.
func (m *Module) Init(cfg *config.Map) error {
	var relay relayModule
	cfg.Custom("relay", false, true, nil, func(c *config.Map, node config.Node) (any, error) {
		var r relayModule
		err := modconfig.ModuleFromNode("chat", node.Args, node, c.Globals, &r)
		return r, err
	}, &relay)
	cfg.Bool("debug", true, false, &m.Log.Debug)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	m.Relay = func() Replies {
		if r := relay.Relay(); r != nil {
			return r
		}
		return nil
	}
	return nil
}
