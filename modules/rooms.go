// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/mta"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// openTimeout bounds how long the database may take to answer at the start.
const openTimeout = 30 * time.Second

// Rooms is chat.rooms, the rooms' database. Its block, with the defaults:
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
// Other modules refer to it as `rooms &rooms`.
type Rooms struct {
	base
	*store.Store
}

var (
	_ module.Module   = (*Rooms)(nil)
	_ io.Closer       = (*Rooms)(nil)
	_ mta.Preferences = (*store.Store)(nil)
	_ chatrelay.Store = (*store.Store)(nil)
)

func init() {
	register("chat.rooms", func(b base) module.Module { return &Rooms{base: b} })
}

// Init reads the block and opens the database.
func (m *Rooms) Init(cfg *config.Map) error {
	var dsn string
	var ttl time.Duration
	var domains []string
	cfg.String("database", false, false, "sqlite:rooms.db", &dsn)
	cfg.Duration("invite_ttl", false, false, 90*24*time.Hour, &ttl)
	cfg.StringList("local_domains", false, false, nil, &domains)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if ttl <= 0 {
		return config.NodeErr(cfg.Block, "invite_ttl must be more than 0")
	}
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite && path != "" && !filepath.IsAbs(path) {
		dsn = "sqlite:" + filepath.Join(config.StateDirectory, path)
	}
	if opensNothing {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	rooms, err := store.Open(ctx, store.Options{DSN: dsn, InviteTTL: ttl, LoginOf: loginIn(domains), Log: m.log()})
	if err != nil {
		return config.NodeErr(cfg.Block, "%v", err)
	}
	m.Store = rooms
	engine, _, _ := strings.Cut(dsn, ":") // the rest may hold a password
	m.log().Debug("database opened", "engine", engine)
	return nil
}

func (m *Rooms) store() *store.Store { return m.Store }

// Close implements io.Closer.
func (m *Rooms) Close() error {
	if m.Store == nil {
		return nil
	}
	return m.Store.Close()
}

// loginIn returns the rule that an address of one of domains is its own login.
func loginIn(domains []string) func(string) string {
	local := make(map[string]bool, len(domains))
	for _, d := range domains {
		local[strings.ToLower(d)] = true
	}
	return func(addr string) string {
		if at := strings.LastIndexByte(addr, '@'); at > 0 && local[strings.ToLower(addr[at+1:])] {
			return strings.ToLower(addr)
		}
		return ""
	}
}
