// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
//	    ports      20000-29999   # UDP ports granted; again, with a host, for further host names
//	    path       presence.db   # file of the grants, relative to the state directory
//	    max_logins 1000000       # addresses kept
//	    debug      no            # log every grant
//	}
//
// or shared by several:
//
//	presence.redis NAME {
//	    url     redis://user:password@redis.example:6379/0   # required; forms: see RedisOptions.URL
//	    prefix  chmail        # of every key and channel
//	    timeout 40ms          # of a call; mail goes on without an answer
//	    host    $(hostname)   # more names: the first that no other process has
//	    ports   20000-29999
//	    path    presence.db   # journal of this machine's grants
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
		local  LocalOptions
		shared RedisOptions
		global string
		names  []string
		ranges []HostRange
		path   string
	)
	redis := m.name == "presence.redis"
	cfg.String("hostname", true, false, "", &global)
	cfg.StringList("host", false, false, nil, &names)
	cfg.Bool("debug", true, false, &m.log.Debug)
	cfg.String("path", false, false, "presence.db", &path)
	cfg.Callback("ports", func(_ *config.Map, node config.Node) error {
		if len(node.Args) < 1 || len(node.Args) > 2 || len(node.Children) > 0 {
			return config.NodeErr(node, "want a range such as 20000-29999, and perhaps a host")
		}
		r, err := ParseRange(node.Args[0])
		if err != nil {
			return config.NodeErr(node, "%v", err)
		}
		ranges = append(ranges, HostRange{strings.Join(node.Args[1:], ""), r})
		return nil
	})
	if redis {
		cfg.String("url", false, true, "", &shared.URL)
		cfg.String("prefix", false, false, "chmail", &shared.Prefix)
		cfg.Duration("timeout", false, false, redisTimeout, &shared.Timeout)
	} else {
		cfg.Int("max_logins", false, false, defaultMaxLogins, &local.MaxLogins)
	}
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if len(names) == 0 && global != "" {
		names = []string{global}
	}
	var problem error
	switch {
	case len(names) == 0:
		problem = errors.New("host is missing, and there is no global hostname")
	case !redis && len(names) > 1:
		problem = errors.New("host: want one name; presence.redis can have several")
	case redis && (shared.Timeout < time.Millisecond || shared.Timeout > time.Minute):
		problem = errors.New("timeout: want 1ms to 1m")
	case !redis && local.MaxLogins < 1:
		problem = errors.New("max_logins: want a positive number")
	default:
		ranges, problem = checkRanges(primaryFirst(names[0], ranges))
	}
	if redis && problem == nil {
		_, problem = parseURL(shared.URL)
	}
	if problem != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, problem)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(config.StateDirectory, path)
	}
	m.reader = func() (Reader, error) {
		if redis {
			return OpenRedis(RedisOptions{URL: shared.URL, Prefix: shared.Prefix, Timeout: adminTimeout})
		}
		return ReadLocal(path)
	}
	if module.NoRun {
		return nil
	}
	id, err := identity(filepath.Join(filepath.Dir(path), "presence.id"))
	if err != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, err)
	}
	probe := m.probe(names, ranges)
	if redis {
		shared.Ranges, shared.Names, shared.ID, shared.Path = ranges, names[1:], id, path
		shared.Probe, shared.Log = probe, m.log.Msg
		err = m.open(shared)
	} else {
		local.Ranges, local.ID, local.Path, local.Probe, local.Log = ranges, id, path, probe, m.log.Msg
		m.Directory, err = noNil(OpenLocal(local))
	}
	if err != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, err)
	}
	return nil
}

// primaryFirst gives the ports without a host to the primary one, in front.
func primaryFirst(primary string, ranges []HostRange) []HostRange {
	i := slices.IndexFunc(ranges, func(r HostRange) bool { return r.Host == "" })
	if i < 0 {
		return append([]HostRange{{primary, DefaultRange}}, ranges...)
	}
	first := HostRange{primary, ranges[i].Range}
	return append([]HostRange{first}, slices.Delete(slices.Clone(ranges), i, i+1)...)
}

// probe binds ports of the hosts' own addresses, where there are several hosts.
func (m *Module) probe(names []string, ranges []HostRange) func(string, int) error {
	for _, r := range ranges[1:] {
		names = append(names, r.Host)
	}
	if len(names) == 1 {
		return ProbeUDP(nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	return ProbeUDP(LocalAddresses(ctx, names))
}

// readyWait is how long the start waits for Redis to say whether this machine's
// name is free; without an answer it goes on.
const readyWait = 2 * time.Second

func (m *Module) open(opt RedisOptions) error {
	r, err := OpenRedis(opt)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	err = r.Ready(ctx)
	cancel()
	if errors.Is(err, ErrNameTaken) {
		// A machine that was replaced is gone when its record expires.
		wait := r.hostTTL() + readyWait
		m.log.Msg("waiting whether the relay host of this name is alive", "host", r.RelayHost(), "for", wait)
		ctx, cancel = context.WithTimeout(context.Background(), wait)
		err = r.Ready(ctx)
		cancel()
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	m.Directory = r
	return nil
}

// identity reads the file that says which process this is across restarts, 128
// random bits in hexadecimal, and makes it when it is missing.
func identity(path string) (string, error) {
	b, err := os.ReadFile(path)
	id := strings.TrimSpace(string(b))
	if raw, hexErr := hex.DecodeString(id); err == nil && hexErr == nil && len(raw) == 16 {
		return id, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err == nil {
		return "", fmt.Errorf("%s is damaged: remove it, and a new one is made", path)
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // it never fails
	id = hex.EncodeToString(raw)
	if err := os.WriteFile(path+".new", []byte(id+"\n"), 0o600); err != nil {
		return "", err
	}
	return id, os.Rename(path+".new", path)
}

// Bus is how this process talks to the other relay hosts; nil on one machine.
func (m *Module) Bus() Bus {
	b, _ := m.Directory.(Bus)
	return b
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
