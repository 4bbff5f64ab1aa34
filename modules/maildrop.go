// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/text/secure/precis"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/imapd"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/pop3d"
)

// expireEvery is how often mail is looked at for its age.
const expireEvery = time.Hour

// Maildrop is `storage.maildrop`: accounts, and a target for delivery.
//
//	storage.maildrop mailboxes {
//	    # The store's folder, below state_dir; mailstore.
//	    path mailstore
//	    # Octets that a login may keep; no bound. One of its own for a login, and
//	    # one for all logins of a domain together.
//	    quota 1G
//	    quota_login host@mall.example 10G
//	    quota_domain mall.example 500G
//	    # Mail older than that is removed from the mailboxes, named by name or
//	    # special use; never. \Flagged mail stays.
//	    expire 720h Trash Junk
//	    # Octets of the largest message that IMAP may append; 64M.
//	    appendlimit 64M
//	    # Octets above which a body is a file of its own; 256K.
//	    large_body 256K
//	    # Octets of memory that cache what was read; 32M.
//	    cache 32M
//	    # Free octets of the disk below which no mail is taken (452); 256M.
//	    min_free 256M
//	    # Where quarantined mail goes, unless a mailbox has the use \Junk; Junk.
//	    junk_mailbox Junk
//	    # A chmail.addresses: the quotas that are set there, and people's own filters; none.
//	    addresses &addresses
//	    # Choose the mailbox and flags of a delivery, as in storage.imapsql; none.
//	    imap_filter { ... }
//	    # Recipients to accounts; none. How recipients are normalised first.
//	    delivery_map ...
//	    delivery_normalize precis_casefold_email
//	    # An address of an account's with this and anything behind its name is the
//	    # account's too (kim+shop@mall.example); none: it is not. chat.rooms has the same.
//	    delimiter +
//	    debug no
//	}
type Maildrop struct {
	base
	path    string
	junk    string
	filters module.IMAPFilter
	set     *Addresses // nil: people set nothing
	mapped  module.Table
	tag     string // begins what is left out of an address; empty: nothing is
	fold    func(string) (string, error)

	store   *mailstore.Store // nil: another process has it (opensNothing)
	cancel  context.CancelFunc
	working sync.WaitGroup
}

var (
	_ module.Module         = (*Maildrop)(nil)
	_ admin.Mailboxes       = (*Maildrop)(nil)
	_ imapStorage           = (*Maildrop)(nil)
	_ module.DeliveryTarget = (*Maildrop)(nil)
	_ module.Table          = (*Maildrop)(nil)
	_ pop3d.Storage         = (*Maildrop)(nil)
)

func init() {
	register("storage.maildrop", func(b base) module.Module { return &Maildrop{base: b} })
}

// normalizers are how a recipient becomes an account's name.
var normalizers = map[string]func(string) (string, error){
	"precis_casefold_email": address.PRECISFold,
	"precis_email":          address.PRECIS,
	"precis_casefold":       precis.UsernameCaseMapped.CompareKey,
	"casefold":              func(s string) (string, error) { return strings.ToLower(s), nil },
	"noop":                  func(s string) (string, error) { return s, nil },
}

// expiry is one expire directive.
type expiry struct {
	age       time.Duration
	mailboxes []string
}

// Init implements module.Module: it reads the block and opens the store.
func (m *Maildrop) Init(cfg *config.Map) error {
	o := mailstore.Options{Quotas: mailstore.Quotas{Logins: map[string]int64{}, Domains: map[string]int64{}}}
	var (
		appendLimit int64
		normalizer  string
		expiries    []expiry
	)
	m.debug(cfg)
	cfg.String("path", false, false, mailstore.DefaultPath, &m.path)
	cfg.DataSize("quota", false, false, 0, &o.Quotas.Login)
	cfg.Callback("quota_login", sizeOf(o.Quotas.Logins, normalize))
	cfg.Callback("quota_domain", sizeOf(o.Quotas.Domains, normalizeDomain))
	cfg.Callback("expire", func(_ *config.Map, node config.Node) error {
		if len(node.Args) < 2 {
			return config.NodeErr(node, "expire takes an age and names of mailboxes: expire 720h Trash Junk")
		}
		age, err := time.ParseDuration(node.Args[0])
		if err != nil || age < time.Hour {
			return config.NodeErr(node, "expire: %q is not an age of an hour or more, like 720h", node.Args[0])
		}
		expiries = append(expiries, expiry{age, node.Args[1:]})
		return nil
	})
	cfg.DataSize("appendlimit", false, false, 64<<20, &appendLimit)
	cfg.DataSize("large_body", false, false, mailstore.DefaultLargeBody, &o.LargeBody)
	cfg.DataSize("cache", false, false, mailstore.DefaultCacheSize, &o.CacheSize)
	cfg.DataSize("min_free", false, false, mailstore.DefaultMinFree, &o.MinFree)
	cfg.String("junk_mailbox", false, false, "Junk", &m.junk)
	cfg.Custom("imap_filter", false, false, nil, func(c *config.Map, node config.Node) (interface{}, error) {
		var filter module.IMAPFilter
		err := modconfig.GroupFromNode("imap_filters", node.Args, node, c.Globals, &filter)
		return filter, err
	}, &m.filters)
	cfg.Custom("addresses", false, false, absent[*Addresses], reference[*Addresses]("chmail"), &m.set)
	cfg.Custom("delivery_map", false, false, nil, modconfig.TableDirective, &m.mapped)
	cfg.Custom("delimiter", false, false, plus, delimiter, &m.tag)
	cfg.String("delivery_normalize", false, false, "precis_casefold_email", &normalizer)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	o.Log = m.log()
	if m.set != nil {
		o.Quotas.Set = m.set.quota
	}
	m.fold = normalizers[normalizer]
	switch {
	case m.fold == nil:
		return config.NodeErr(cfg.Block, "%s: delivery_normalize %s is not known", m.name, normalizer)
	case appendLimit != int64(uint32(appendLimit)):
		return config.NodeErr(cfg.Block, "%s: appendlimit must be below 4G", m.name)
	case o.LargeBody < 32<<10 || o.LargeBody > 16<<20:
		return config.NodeErr(cfg.Block, "%s: large_body must be from 32K to 16M", m.name)
	}
	if o.MinFree == 0 {
		o.MinFree = -1 // as asked for: the disk may be filled to its end
	}
	if opensNothing {
		return nil
	}
	var err error
	if m.store, err = mailstore.Open(m.Path(), o); err != nil {
		return err
	}
	m.store.SetAppendLimit(uint32(appendLimit))
	if module.NoRun {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	if len(expiries) > 0 {
		m.working.Go(func() { m.expire(ctx, expiries) })
	}
	return nil
}

// sizeOf reads a directive of a name and a size into quotas.
func sizeOf(quotas map[string]int64, fold func(string) (string, error)) func(*config.Map, config.Node) error {
	return func(_ *config.Map, node config.Node) error {
		if len(node.Args) != 2 {
			return config.NodeErr(node, "%s takes a name and a size: %[1]s %s 10G", node.Name, "mall.example")
		}
		name, err := fold(node.Args[0])
		if err != nil {
			return config.NodeErr(node, "%s: %v", node.Name, err)
		}
		octets, err := config.ParseDataSize(node.Args[1])
		if err != nil {
			return config.NodeErr(node, "%s: %v", node.Name, err)
		}
		quotas[name] = int64(octets)
		return nil
	}
}

// expire removes old mail, every hour, until the module closes.
func (m *Maildrop) expire(ctx context.Context, expiries []expiry) {
	for {
		for _, e := range expiries {
			n, err := m.store.Expire(ctx, time.Now().Add(-e.age), mailstore.Named(e.mailboxes))
			if err != nil && ctx.Err() == nil {
				m.out.Error("removing old mail", err)
			}
			if n > 0 {
				m.out.Msg("removed old mail", "messages", n, "age", e.age, "mailboxes", strings.Join(e.mailboxes, " "))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(expireEvery):
		}
	}
}

// Close ends what runs and closes the store.
func (m *Maildrop) Close() error {
	if m.cancel != nil {
		m.cancel()
	}
	m.working.Wait()
	if m.store == nil {
		return nil
	}
	return m.store.Close()
}

// Path is the store's folder, absolute.
func (m *Maildrop) Path() string {
	if abs, err := filepath.Abs(m.path); err == nil {
		return abs
	}
	return m.path
}

// Maildrops serves pop3d without IMAP in between.
func (m *Maildrop) Maildrops() pop3d.Maildrops { return m.store.Maildrops() }

// IMAP serves chmail.imap.
func (m *Maildrop) IMAP() imapd.Store { return m.store.IMAP() }

// errElsewhere: mail itself is not for admin commands.
var errElsewhere = errors.New("another process has the mail store open")

// ListIMAPAccts implements admin.Mailboxes.
func (m *Maildrop) ListIMAPAccts() ([]string, error) { return m.store.Accounts() }

// CreateIMAPAcct implements admin.Mailboxes.
func (m *Maildrop) CreateIMAPAcct(login string) error {
	folded, err := normalize(login)
	if err != nil {
		return fmt.Errorf("%q: %w: %w", login, mailstore.ErrName, err)
	}
	return m.store.CreateAccount(folded, mailstore.DefaultFolders...)
}

// DeleteIMAPAcct implements admin.Mailboxes.
func (m *Maildrop) DeleteIMAPAcct(login string) error {
	folded, err := normalize(login)
	if err != nil {
		return fmt.Errorf("%q: %w: %w", login, mailstore.ErrName, err)
	}
	return m.store.DeleteAccount(folded)
}

// normalizeDomain is normalize for the part after the @.
func normalizeDomain(domain string) (string, error) {
	if !address.ValidDomain(domain) || strings.Contains(domain, "@") {
		return "", fmt.Errorf("%q is not a domain", domain)
	}
	return dns.ForLookup(domain)
}

// Lookup implements module.Table: the accounts that there are, as
// storage.imapsql does for destination_in.
func (m *Maildrop) Lookup(_ context.Context, login string) (string, bool, error) {
	if m.store == nil {
		return "", false, errElsewhere
	}
	folded, err := normalize(login)
	if err != nil {
		return "", false, nil
	}
	there, err := m.store.HasAccount(folded)
	return "", there, err
}
