// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"time"

	"github.com/chmail/chmail/guard/signin"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

// Guard is a signin.Check as a block of the configuration:
//
//	auth.guard sign_in {
//	    auth    &accounts   # required: who knows the passwords
//	    first   1s          # what the first refusal of a login takes
//	    longest 8s          # doubled with each further one, up to this
//	}
type Guard struct {
	base
	*signin.Check
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
	m.Check = signin.New(signin.Options{Accounts: accounts{next}, Normalize: normalize, First: first, Longest: longest,
		Log: m.log()})
	return nil
}

// AuthPlain implements module.PlainAuth, for endpoints of maddy's own, which do not
// say where a client is.
func (m *Guard) AuthPlain(login, password string) error {
	s, err := m.SignIn(context.Background(), signin.Attempt{Login: login, Password: password})
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

// accounts are those of a maddy module.
type accounts struct{ auth module.PlainAuth }

// Verify implements signin.Accounts.
func (a accounts) Verify(_ context.Context, login, password string) error {
	switch err := a.auth.AuthPlain(login, password); {
	case err == nil, exterrors.IsTemporary(err):
		return err
	default: // maddy's modules have no one error for a wrong password
		return errors.Join(signin.ErrWrong, err)
	}
}
