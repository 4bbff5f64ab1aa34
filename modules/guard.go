// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/signin"
)

// Guard is a signin.Check as a block of the configuration:
//
//	auth.guard sign_in {
//	    auth     &accounts  # required: who knows the passwords
//	    first    1s         # what the first refusal of a login or a prefix takes
//	    longest  8s         # doubled with each further one, up to this
//	    remember 10m        # how long a verified password counts without its hash; at most 1h
//	    hashes   4          # passwords checked at once; default: the number of processors
//	    # Bearer tokens are taken, which this server knows (RFC 7662). Default: none are
//	    oauth2 https://sso.mall.example/introspect {
//	        client_id   chmail      # required
//	        secret_file FILE        # required: has the client's secret, relative to the state directory
//	        login       username    # the field of the answer that has the login
//	        scope       mail        # that a token must have; default: none
//	    }
//	}
type Guard struct {
	base
	*signin.Check
	next module.PlainAuth
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
	opts := signin.Options{}
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &m.next)
	cfg.Duration("first", false, false, signin.DefaultFirst, &opts.First)
	cfg.Duration("longest", false, false, signin.DefaultLongest, &opts.Longest)
	cfg.Duration("remember", false, false, signin.DefaultRemember, &opts.Remember)
	cfg.Int("hashes", false, false, 0, &opts.Hashes)
	cfg.Callback("oauth2", func(globals *config.Map, node config.Node) (err error) {
		opts.Tokens, err = introspection(globals, node)
		return err
	})
	if _, err := cfg.Process(); err != nil {
		return err
	}
	switch {
	case opts.First <= 0 || opts.Longest < opts.First:
		return config.NodeErr(cfg.Block, "first must be more than 0, and longest not less than first")
	case opts.Remember <= 0 || opts.Remember > time.Hour:
		return config.NodeErr(cfg.Block, "remember must be more than 0 and not more than 1h")
	case opts.Hashes < 0:
		return config.NodeErr(cfg.Block, "hashes must be 1 or more")
	}
	m.open(opts)
	return nil
}

func (m *Guard) open(opts signin.Options) {
	opts.Accounts, opts.Normalize, opts.Log = accounts{m.next}, normalize, m.log()
	if own, ok := m.next.(*Accounts); ok {
		opts.Accounts, opts.Domain = own, allGuards.domain
		if own.devices != nil {
			opts.Devices = devices{own}
		}
	}
	opts.Reputation = reputations()
	m.Check = signin.New(opts)
	allGuards.add(m)
}

// introspection reads the block oauth2.
func introspection(globals *config.Map, node config.Node) (*signin.Introspection, error) {
	if len(node.Args) != 1 {
		return nil, config.NodeErr(node, "oauth2 takes the address of the introspection endpoint")
	}
	i := &signin.Introspection{URL: node.Args[0]}
	var secretFile string
	block := config.NewMap(globals.Globals, node)
	block.String("client_id", false, true, "", &i.ClientID)
	block.String("secret_file", false, true, "", &secretFile)
	block.String("login", false, false, "", &i.LoginField)
	block.String("scope", false, false, "", &i.Scope)
	if _, err := block.Process(); err != nil {
		return nil, err
	}
	secret, err := os.ReadFile(inState(secretFile))
	if err != nil {
		return nil, config.NodeErr(node, "secret_file: %v", err)
	}
	i.Secret = strings.TrimSpace(string(secret))
	if err := i.Open(); err != nil {
		return nil, config.NodeErr(node, "%v", err)
	}
	return i, nil
}

// guardOf is the guard that an endpoint's directive `auth` names. Where it names
// accounts themselves, it is the guard before them, one for all endpoints.
func guardOf(auth module.PlainAuth) *Guard {
	if g, ok := auth.(*Guard); ok {
		return g
	}
	if g := allGuards.before(auth); g != nil {
		return g
	}
	g := &Guard{base: base{name: "auth.guard", out: log.Logger{Name: "auth.guard"}}, next: auth}
	g.open(signin.Options{})
	return g
}

// guards are those of this process.
type guards struct {
	domain string // that accounts have, where the server has one; set before any block is opened
	mu     sync.Mutex
	all    []*Guard
}

var allGuards guards

func (g *guards) add(m *Guard) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, m)
}

// before is the first guard that asks auth; nil: none does.
func (g *guards) before(auth module.PlainAuth) *Guard {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.IndexFunc(g.all, func(m *Guard) bool { return m.next == auth }); i >= 0 {
		return g.all[i]
	}
	return nil
}

// changed tells every guard that a login's password was changed, or its account
// removed.
func (g *guards) changed(login string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.all {
		m.Changed(login)
	}
}

// exists reports whether a login has an account, as far as the guards know the
// accounts.
func (g *guards) exists(ctx context.Context, login string) (bool, error) {
	g.mu.Lock()
	all := slices.Clone(g.all)
	g.mu.Unlock()
	for _, m := range all {
		known, ok := m.next.(signin.Existing)
		if !ok {
			return true, nil
		}
		if there, err := known.Exists(ctx, login); err != nil || there {
			return true, err
		}
	}
	return len(all) == 0, nil
}

// SignOut implements admin.Sessions.
func (g *guards) SignOut(_ context.Context, login string) error {
	g.changed(login)
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
	case err == nil:
		return nil
	case exterrors.IsTemporary(err):
		return fmt.Errorf("checking a password: %w", err)
	default: // maddy's modules have no one error for a wrong password
		return errors.Join(signin.ErrWrong, err)
	}
}
