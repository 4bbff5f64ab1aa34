// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/idna"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/mta"
)

// errRoomsAway: the rooms' database could not be reached since the start.
var errRoomsAway = errors.New("the rooms' database cannot be reached yet")

// Rooms is chat.rooms, the rooms' database. Its block, with the defaults:
//
//	chat.rooms rooms {
//	    # sqlite:PATH, relative to the state directory, or postgres://…
//	    database sqlite:rooms.db
//	    # how long a link in a mail works
//	    invite_ttl 2160h
//	    # an address of these domains is the login of the same name; default: none
//	    local_domains
//	    # so is one of the domains that a chmail.addresses has; default: none
//	    addresses &addresses
//	    # such an address with a tag is the same login (kim+shop@mall.example); none: it is not
//	    delimiter +
//	    debug no
//	}
//
// Other modules refer to it as `rooms &rooms`. While PostgreSQL cannot be
// reached, the server starts without it: mail goes on, chats and pages wait.
type Rooms struct {
	base
	rooms   late[*store.Store]
	domains map[string]bool // local_domains, in ASCII
}

var (
	_ module.Module   = (*Rooms)(nil)
	_ io.Closer       = (*Rooms)(nil)
	_ mta.Rooms       = (*Rooms)(nil)
	_ chatrelay.Store = (*store.Store)(nil)
)

func init() {
	register("chat.rooms", func(b base) module.Module { return &Rooms{base: b} })
}

// Init reads the block and opens the database.
func (m *Rooms) Init(cfg *config.Map) error {
	var dsn, tag string
	var ttl time.Duration
	var domains []string
	var served *Addresses
	cfg.String("database", false, false, "sqlite:rooms.db", &dsn)
	cfg.Duration("invite_ttl", false, false, 90*24*time.Hour, &ttl)
	cfg.Custom("delimiter", false, false, plus, delimiter, &tag)
	cfg.StringList("local_domains", false, false, nil, &domains)
	cfg.Custom("addresses", false, false, absent[*Addresses], reference[*Addresses]("chmail"), &served)
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
	m.domains = make(map[string]bool, len(domains))
	for _, d := range domains {
		if ascii, err := idna.Lookup.ToASCII(d); err == nil {
			m.domains[ascii] = true
		}
	}
	if opensNothing {
		return nil
	}
	m.rooms.name, m.rooms.waits, m.rooms.log = "the rooms' database", "chats wait", m.log()
	err := m.rooms.begin(dsn, func(ctx context.Context) (*store.Store, error) {
		return store.Open(ctx, store.Options{DSN: dsn, InviteTTL: ttl, LoginOf: loginIn(domains, served, tag),
			Log: m.log()})
	})
	if err != nil {
		return fmt.Errorf("%s:%d: %w", cfg.Block.File, cfg.Block.Line, err)
	}
	return nil
}

// Store is the open store; nil while there is none.
func (m *Rooms) Store() *store.Store { return m.rooms.get() }

// whenOpen does something with the store: at once, or when it is open.
func (m *Rooms) whenOpen(do func(*store.Store) error) error { return m.rooms.when(do) }

// hasDomain says whether a domain, in ASCII, is one of local_domains.
func (m *Rooms) hasDomain(domain string) bool { return m.domains[domain] }

// OpenFromMail implements mta.Rooms.
func (m *Rooms) OpenFromMail(ctx context.Context, mail chat.Mail) (chat.Opened, error) {
	rooms := m.Store()
	if rooms == nil {
		return chat.Opened{}, errRoomsAway
	}
	return rooms.OpenFromMail(ctx, mail)
}

// SignOut implements admin.Sessions.
func (m *Rooms) SignOut(ctx context.Context, login string) error {
	rooms := m.Store()
	if rooms == nil {
		return errRoomsAway
	}
	return rooms.SignOut(ctx, login)
}

// Close implements io.Closer.
func (m *Rooms) Close() error {
	m.rooms.end()
	if rooms := m.Store(); rooms != nil {
		return rooms.Close()
	}
	return nil
}

// loginIn returns the rule that an address of one of domains, or of those that served
// has, is its own login, but for a tag. served may be nil.
func loginIn(domains []string, served *Addresses, delimiter string) func(string) string {
	local := make(map[string]bool, len(domains))
	for _, d := range domains {
		local[strings.ToLower(d)] = true
	}
	return func(addr string) string {
		at := strings.LastIndexByte(addr, '@')
		if at > 0 && (local[strings.ToLower(addr[at+1:])] ||
			served != nil && served.serves(context.Background(), addr[at+1:])) {
			return addresses.Untagged(strings.ToLower(addr), delimiter)
		}
		return ""
	}
}
