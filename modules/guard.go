// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"time"

	"github.com/chmail/chmail/guard"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// Guard is a guard.Auth as a block of the configuration:
//
//	auth.guard sign_in {
//	    auth    &accounts   # required: who knows the passwords
//	    first   1s          # what the first refusal of a login takes
//	    longest 8s          # doubled with each further one, up to this
//	}
type Guard struct {
	base
	*guard.Auth
}

var (
	_ module.Module    = (*Guard)(nil)
	_ module.PlainAuth = (*Guard)(nil)
)

func init() {
	register("auth.guard", func(b base) module.Module { return &Guard{base: b} })
}

// Init reads the block.
func (m *Guard) Init(cfg *config.Map) error {
	var (
		next           module.PlainAuth
		first, longest time.Duration
	)
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &next)
	cfg.Duration("first", false, false, time.Second, &first)
	cfg.Duration("longest", false, false, 8*time.Second, &longest)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if first <= 0 || longest < first {
		return config.NodeErr(cfg.Block, "first must be more than 0, and longest not less than first")
	}
	m.Auth = guard.New(next, first, longest)
	return nil
}
