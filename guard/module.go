// SPDX-License-Identifier: GPL-3.0-or-later

package guard

import (
	"fmt"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/module"
)

const moduleName = "auth.guard"

// Module is an Auth as a block of the configuration:
//
//	auth.guard sign_in {
//	    auth    &accounts   # required: who knows the passwords
//	    first   1s          # what the first refusal of a login takes
//	    longest 8s          # doubled with each further one, up to this
//	}
type Module struct {
	*Auth
	instance string
}

var (
	_ module.Module    = (*Module)(nil)
	_ module.PlainAuth = (*Module)(nil)
)

func init() {
	module.Register(moduleName, func(_, instance string, _, args []string) (module.Module, error) {
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: no arguments expected", moduleName)
		}
		return &Module{instance: instance}, nil
	})
}

// Name implements module.Module.
func (m *Module) Name() string { return moduleName }

// InstanceName implements module.Module.
func (m *Module) InstanceName() string { return m.instance }

// Init reads the block.
func (m *Module) Init(cfg *config.Map) error {
	var (
		next           module.PlainAuth
		first, longest time.Duration
	)
	cfg.Custom("auth", false, true, nil, func(m *config.Map, node config.Node) (interface{}, error) {
		var auth module.PlainAuth
		err := modconfig.ModuleFromNode("auth", node.Args, node, m.Globals, &auth)
		return auth, err
	}, &next)
	cfg.Duration("first", false, false, time.Second, &first)
	cfg.Duration("longest", false, false, 8*time.Second, &longest)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if first <= 0 || longest < first {
		return config.NodeErr(cfg.Block, "first must be more than 0, and longest not less than first")
	}
	m.Auth = New(next, first, longest)
	return nil
}
