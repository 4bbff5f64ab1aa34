// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"
)

const moduleName = "chat.rooms"

// openTimeout bounds how long the database may take to answer at the start.
const openTimeout = 30 * time.Second

// Module is the maddy module chat.rooms. Its block, with the defaults:
//
//	chat.rooms rooms {
//	    # sqlite:PATH, relative to the state directory, or postgres://…
//	    database sqlite:rooms.db
//	    # how long a link in a mail works
//	    invite_ttl 2160h
//	    # an address of these domains is the login of the same name; default: none
//	    local_domains
//	    debug no
//	}
//
// Other modules refer to it as `rooms &rooms`, see Directive.
type Module struct {
	*Store
	instance string
	log      log.Logger
}

var (
	_ module.Module = (*Module)(nil)
	_ io.Closer     = (*Module)(nil)
)

func init() {
	module.Register(moduleName, func(_, instance string, _, args []string) (module.Module, error) {
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: no arguments expected", moduleName)
		}
		return &Module{instance: instance, log: log.Logger{Name: moduleName}}, nil
	})
}

// Name implements module.Module.
func (m *Module) Name() string { return moduleName }

// InstanceName implements module.Module.
func (m *Module) InstanceName() string { return m.instance }

// Init reads the block and opens the database.
func (m *Module) Init(cfg *config.Map) error {
	var dsn string
	var ttl time.Duration
	var domains []string
	cfg.String("database", false, false, "sqlite:rooms.db", &dsn)
	cfg.Duration("invite_ttl", false, false, defaultTTL, &ttl)
	cfg.StringList("local_domains", false, false, nil, &domains)
	cfg.Bool("debug", true, false, &m.log.Debug)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if ttl <= 0 {
		return config.NodeErr(cfg.Block, "invite_ttl must be more than 0")
	}
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite && path != "" && !filepath.IsAbs(path) {
		dsn = "sqlite:" + filepath.Join(config.StateDirectory, path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	store, err := Open(ctx, Options{DSN: dsn, InviteTTL: ttl, LoginOf: loginIn(domains), Log: m.log.Printf})
	if err != nil {
		return config.NodeErr(cfg.Block, "%v", err)
	}
	m.Store = store
	engine, _, _ := strings.Cut(dsn, ":") // the rest may hold a password
	m.log.DebugMsg("database opened", "engine", engine)
	return nil
}

// Close implements io.Closer.
func (m *Module) Close() error {
	if m.Store == nil {
		return nil
	}
	return m.Store.Close()
}

// loginIn returns the rule that an address of one of domains is its own login.
func loginIn(domains []string) func(string) string {
	local := make(map[string]bool, len(domains))
	for _, d := range domains {
		local[fold(d)] = true
	}
	return func(addr string) string {
		if at := strings.LastIndexByte(addr, '@'); at > 0 && local[fold(addr[at+1:])] {
			return fold(addr)
		}
		return ""
	}
}

// Directive reads another module's `rooms &rooms` for config.Map.Custom and
// returns the *Store.
func Directive(m *config.Map, node config.Node) (interface{}, error) {
	var rooms *Module
	if err := modconfig.ModuleFromNode("chat", node.Args, node, m.Globals, &rooms); err != nil {
		return nil, err
	}
	return rooms.Store, nil
}
