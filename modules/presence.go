// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
	"github.com/chmail/chmail/presence/redis"
)

const (
	// listTimeout bounds a round trip of a command that reads long lists of Redis.
	listTimeout = 10 * time.Second
	// resolveTimeout bounds how long the start looks for the addresses of this
	// machine's host names.
	resolveTimeout = 2 * time.Second
)

// Presence is where logins are and whose the granted ports are, for one machine:
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
//	    url     redis://user:password@redis.example:6379/0   # required; forms: see redis.Options
//	    prefix  chmail        # of every key and channel
//	    timeout 40ms          # of a call; mail goes on without an answer
//	    host    $(hostname)   # more names: the first that no other process has
//	    ports   20000-29999
//	    path    presence.db   # journal of this machine's grants
//	    debug   no
//	}
//
// Other modules refer to it by `presence &NAME`.
type Presence struct {
	base
	presence.Directory // nil until Init, and where nothing runs (module.NoRun)

	names  []string // of this machine
	ranges presence.HostRanges
	path   string
	local  local.Options
	redis  redis.Options
}

var (
	_ module.Module      = (*Presence)(nil)
	_ presence.Directory = (*Presence)(nil)
)

// shared says whether several machines use it.
func (m *Presence) shared() bool { return m.name == "presence.redis" }

// Init reads the block and opens the directory.
func (m *Presence) Init(cfg *config.Map) error {
	if err := m.read(cfg); err != nil {
		return err
	}
	err := m.check()
	if err == nil && !module.NoRun {
		err = m.open()
	}
	if err != nil {
		return config.NodeErr(cfg.Block, "%s: %v", m.name, err)
	}
	return nil
}

// reach says whether the Redis answers.
func (m *Presence) reach(ctx context.Context) error {
	if !m.shared() {
		return nil
	}
	if err := m.redis.Ping(ctx); err != nil {
		return fmt.Errorf("%w; until it does, mails leave without CHmail-Port", err)
	}
	return nil
}

func (m *Presence) read(cfg *config.Map) error {
	var global string
	cfg.String("hostname", true, false, "", &global)
	cfg.StringList("host", false, false, nil, &m.names)
	cfg.String("path", false, false, "presence.db", &m.path)
	cfg.Callback("ports", func(_ *config.Map, node config.Node) error {
		if len(node.Args) < 1 || len(node.Args) > 2 || len(node.Children) > 0 {
			return config.NodeErr(node, "want a range such as 20000-29999, and perhaps a host")
		}
		r, err := presence.ParseRange(node.Args[0])
		if err != nil {
			return config.NodeErr(node, "%v", err)
		}
		m.ranges = append(m.ranges, presence.HostRange{Host: strings.Join(node.Args[1:], ""), Range: r})
		return nil
	})
	if m.shared() {
		cfg.String("url", false, true, "", &m.redis.URL)
		cfg.String("prefix", false, false, "chmail", &m.redis.Prefix)
		cfg.Duration("timeout", false, false, redis.DefaultTimeout, &m.redis.Timeout)
	} else {
		cfg.Int("max_logins", false, false, local.DefaultMaxLogins, &m.local.MaxLogins)
	}
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if len(m.names) == 0 && global != "" {
		m.names = []string{global}
	}
	if !filepath.IsAbs(m.path) {
		m.path = filepath.Join(config.StateDirectory, m.path)
	}
	return nil
}

// check completes what was read, and says what is wrong with it.
func (m *Presence) check() (err error) {
	switch {
	case len(m.names) == 0:
		return errors.New("host is missing, and there is no global hostname")
	case !m.shared() && len(m.names) > 1:
		return errors.New("host: want one name; presence.redis can have several")
	case m.shared() && (m.redis.Timeout < time.Millisecond || m.redis.Timeout > time.Minute):
		return errors.New("timeout: want 1ms to 1m")
	case !m.shared() && m.local.MaxLogins < 1:
		return errors.New("max_logins: want a positive number")
	}
	if m.ranges, err = primaryFirst(m.names[0], m.ranges).Check(); err != nil || !m.shared() {
		return err
	}
	m.redis.Ranges, m.redis.Names = m.ranges, m.names[1:]
	return m.redis.Check()
}

// primaryFirst gives the ports without a host to the primary one, in front.
func primaryFirst(primary string, ranges presence.HostRanges) presence.HostRanges {
	i := slices.IndexFunc(ranges, func(r presence.HostRange) bool { return r.Host == "" })
	if i < 0 {
		return append(presence.HostRanges{{Host: primary}}, ranges...)
	}
	first := presence.HostRange{Host: primary, Range: ranges[i].Range}
	return append(presence.HostRanges{first}, slices.Delete(slices.Clone(ranges), i, i+1)...)
}

func (m *Presence) open() error {
	id, err := presence.Identity(filepath.Join(filepath.Dir(m.path), "presence.id"))
	if err != nil {
		return err
	}
	if !m.shared() {
		opt := m.local
		opt.Path, opt.Ranges, opt.ID, opt.Probe, opt.Log = m.path, m.ranges, id, m.probe(), m.log()
		d, err := local.Open(opt)
		if err != nil {
			return err
		}
		m.Directory = d
		return nil
	}
	opt := m.redis
	opt.Path, opt.ID, opt.Probe, opt.Log = m.path, id, m.probe(), m.log()
	d, err := redis.Open(opt)
	if err != nil {
		return err
	}
	if err := d.Start(); err != nil {
		return errors.Join(err, d.Close())
	}
	m.Directory = d
	return nil
}

// probe binds ports of the hosts' own addresses, where there are several hosts.
func (m *Presence) probe() func(string, int) error {
	names := slices.Clone(m.names)
	for _, r := range m.ranges[1:] {
		names = append(names, r.Host)
	}
	if len(names) == 1 {
		return presence.ProbeUDP(nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return presence.ProbeUDP(presence.LocalAddresses(ctx, names))
}

// OpenForReading opens what is to be read when no server runs: all of a Redis,
// or the grants and addresses in the file of one machine.
func (m *Presence) OpenForReading() (presence.Directory, error) {
	if m.shared() {
		d, err := redis.Open(redis.Options{URL: m.redis.URL, Prefix: m.redis.Prefix, Timeout: listTimeout})
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	path := m.path
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		path = "" // no server has run yet
	}
	d, err := local.Open(local.Options{Path: path, ReadOnly: true, Ranges: m.ranges, MaxLogins: m.local.MaxLogins})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Bus is how this process talks to the other relay hosts; nil on one machine.
func (m *Presence) Bus() presence.Bus {
	b, _ := m.Directory.(presence.Bus)
	return b
}

// Grant implements presence.Grants.
func (m *Presence) Grant(ctx context.Context, login string) (presence.Grant, error) {
	g, err := m.Directory.Grant(ctx, login)
	m.log().Debug("grant", "login", login, "relay", g.Host, "port", g.Port, "err", err)
	return g, err
}

// Close implements io.Closer.
func (m *Presence) Close() error {
	if m.Directory == nil {
		return nil
	}
	return m.Directory.Close()
}

func init() {
	for _, name := range []string{"presence.local", "presence.redis"} {
		register(name, func(b base) module.Module { return &Presence{base: b} })
	}
}
