// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"
)

// Module is a Directory as a block of the configuration, for one machine:
//
//	presence.local NAME {
//	    host       $(hostname)   # name of this relay host; default: the global hostname
//	    ports      20000-29999   # UDP ports granted
//	    path       presence.db   # file of the grants, relative to the state directory
//	    max_logins 1000000       # addresses kept
//	    debug      no            # log every grant
//	}
//
// or shared by several:
//
//	presence.redis NAME {
//	    url     redis://user:password@redis.example:6379/0   # required; forms: see RedisOptions.URL
//	    prefix  chmail        # of every key
//	    timeout 40ms          # of a call; mail goes on without an answer
//	    host    $(hostname)
//	    ports   20000-29999
//	    debug   no
//	}
//
// Other modules refer to it by `presence &NAME`, which Directive reads.
type Module struct {
	Directory // nil until Init, and where nothing runs (module.NoRun)

	name     string
	instance string
	log      log.Logger
	reader   func() (Reader, error)
}

var (
	_ module.Module = (*Module)(nil)
	_ Directory     = (*Module)(nil)
)

func newModule(name, instance string, _, args []string) (module.Module, error) {
	if len(args) > 0 {
		return nil, fmt.Errorf("%s: it takes no arguments, only directives", name)
	}
	return &Module{name: name, instance: instance, log: log.Logger{Name: name}}, nil
}

// adminTimeout bounds one call of an admin command, which reads long lists.
const adminTimeout = 10 * time.Second

// Init implements module.Module.
func (m *Module) Init(cfg *config.Map) error {
	var (
		local   LocalOptions
		shared  RedisOptions
		host    string
		name    string
		ports   Range
		problem error
	)
	cfg.String("hostname", true, false, "", &host)
	cfg.String("host", false, false, "", &name)
	cfg.Bool("debug", true, false, &m.log.Debug)
	cfg.Custom("ports", false, false, func() (interface{}, error) { return DefaultRange, nil },
		func(_ *config.Map, node config.Node) (interface{}, error) {
			if len(node.Args) != 1 {
				return nil, config.NodeErr(node, "want one range such as 20000-29999")
			}
			r, err := ParseRange(node.Args[0])
			if err != nil {
				return nil, config.NodeErr(node, "%v", err)
			}
			return r, nil
		}, &ports)
	if m.name == "presence.redis" {
		cfg.String("url", false, true, "", &shared.URL)
		cfg.String("prefix", false, false, "chmail", &shared.Prefix)
		cfg.Duration("timeout", false, false, redisTimeout, &shared.Timeout)
	} else {
		cfg.String("path", false, false, "presence.db", &local.Path)
		cfg.Int("max_logins", false, false, defaultMaxLogins, &local.MaxLogins)
	}
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if name != "" {
		host = name
	}
	switch {
	case host == "":
		problem = errors.New("host is missing, and there is no global hostname")
	case m.name == "presence.redis" && (shared.Timeout < time.Millisecond || shared.Timeout > time.Minute):
		problem = errors.New("timeout: want 1ms to 1m")
	case m.name == "presence.local" && local.MaxLogins < 1:
		problem = errors.New("max_logins: want a positive number")
	}
	if problem != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, problem)
	}
	if m.name == "presence.redis" {
		shared.Host, shared.Range, shared.Probe, shared.Log = host, ports, ProbeUDP(""), m.log.Msg
		if _, err := parseURL(shared.URL); err != nil {
			return config.NodeErr(cfg.Block, "%s: %v", m.name, err)
		}
	} else {
		local.Host, local.Range, local.Probe, local.Log = host, ports, ProbeUDP(""), m.log.Msg
		if !filepath.IsAbs(local.Path) {
			local.Path = filepath.Join(config.StateDirectory, local.Path)
		}
	}
	m.reader = func() (Reader, error) {
		if m.name == "presence.redis" {
			shared.Host = "" // a reader grants nothing
			shared.Timeout = adminTimeout
			return OpenRedis(shared)
		}
		return ReadLocal(local.Path)
	}
	if module.NoRun {
		return nil
	}
	var err error
	if m.name == "presence.redis" {
		m.Directory, err = noNil(OpenRedis(shared))
	} else {
		m.Directory, err = noNil(OpenLocal(local))
	}
	if err != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, err)
	}
	return nil
}

// OpenReader opens the databases for reading, beside a server that runs.
func (m *Module) OpenReader() (Reader, error) { return m.reader() }

// noNil keeps a nil pointer from becoming a Directory that is not nil.
func noNil[D Directory](d D, err error) (Directory, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Grant implements Directory.
func (m *Module) Grant(ctx context.Context, login string) (Grant, error) {
	g, err := m.Directory.Grant(ctx, login)
	m.log.DebugMsg("grant", "login", login, "host", g.Host, "port", g.Port, "error", err)
	return g, err
}

// Name implements module.Module.
func (m *Module) Name() string { return m.name }

// InstanceName implements module.Module.
func (m *Module) InstanceName() string { return m.instance }

// Close implements io.Closer.
func (m *Module) Close() error {
	if m.Directory == nil {
		return nil
	}
	return m.Directory.Close()
}

// Directive reads `presence &NAME`, or a block in place, of another module; it
// is a mapper of config.Map.Custom whose result is a Directory.
func Directive(m *config.Map, node config.Node) (interface{}, error) {
	var d Directory
	if err := modconfig.ModuleFromNode("presence", node.Args, node, m.Globals, &d); err != nil {
		return nil, err
	}
	return d, nil
}

func init() {
	module.Register("presence.local", newModule)
	module.Register("presence.redis", newModule)
}
