// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emersion/go-message/textproto"
	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/web"
)

// Addresses is chmail.addresses, an addresses.Store as a block of the configuration:
//
//	chmail.addresses addresses {
//	    # required: the domains that are always served; `chmaild domain add` adds others
//	    domains $(domain)
//	    # required: which accounts there are: a storage.maildrop, or another table
//	    accounts &mailboxes
//	    # sqlite:PATH, relative to the state directory, or postgres://…
//	    database sqlite:addresses.db
//	    # kim+shop@mall.example is kim's; none: it is not. As in the mailboxes
//	    delimiter +
//	    debug no
//	}
//
// `destination_in &addresses` and `source_in &addresses` are the addresses of its domains.
// target.addresses delivers by it, `aliases &addresses` of chmail.submission and
// target.chmail lets people write from their aliases, and `addresses &addresses` of
// storage.maildrop, auth.guard and chat.rooms has quotas and filters, disabled accounts,
// and domains.
type Addresses struct {
	base
	configured []string
	accounts   module.Table
	delimiter  string
	store      late[*addresses.Store]
}

var (
	_ module.Module     = (*Addresses)(nil)
	_ module.Table      = (*Addresses)(nil)
	_ module.IMAPFilter = (*Addresses)(nil)
	_ io.Closer         = (*Addresses)(nil)
	_ web.Mail          = (*Addresses)(nil)
)

// errAddressesAway: the database of the addresses could not be reached since the start.
var errAddressesAway = errors.New("the database of the addresses cannot be reached yet")

func init() {
	register("chmail.addresses", func(b base) module.Module { return &Addresses{base: b} })
}

// Init reads the block and opens the database.
func (m *Addresses) Init(cfg *config.Map) error {
	var dsn string
	cfg.StringList("domains", false, true, nil, &m.configured)
	cfg.Custom("accounts", false, true, nil, modconfig.TableDirective, &m.accounts)
	cfg.String("database", false, false, "sqlite:addresses.db", &dsn)
	cfg.Custom("delimiter", false, false, plus, delimiter, &m.delimiter)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	for i, d := range m.configured {
		m.configured[i] = addresses.Fold(d)
	}
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite && path != "" && !filepath.IsAbs(path) {
		dsn = "sqlite:" + inState(path)
	}
	if opensNothing {
		return nil
	}
	m.store.name, m.store.waits, m.store.log = "the database of the addresses", "mail for accounts waits", m.log()
	err := m.store.begin(dsn, func(ctx context.Context) (*addresses.Store, error) {
		return addresses.Open(ctx, addresses.Options{DSN: dsn, Domains: slices.Clone(m.configured), Log: m.log(),
			Delimiter: m.delimiter, Exists: m.exists, First: m.first})
	})
	if err != nil {
		return fmt.Errorf("%s:%d: %w", cfg.Block.File, cfg.Block.Line, err)
	}
	return nil
}

// exists says whether a login has an account.
func (m *Addresses) exists(ctx context.Context, login string) (bool, error) {
	_, there, err := m.accounts.Lookup(ctx, login)
	return there, err
}

// first is the first account of a domain, or else of all; it has the postmaster's mail
// where nobody else does.
func (m *Addresses) first(_ context.Context, domain string) (string, error) {
	all, ok := m.accounts.(interface{ ListIMAPAccts() ([]string, error) })
	if !ok {
		return "", nil
	}
	logins, err := all.ListIMAPAccts()
	if err != nil || len(logins) == 0 {
		return "", err
	}
	slices.Sort(logins)
	if i := slices.IndexFunc(logins, func(l string) bool { return addresses.DomainOf(l) == domain }); i >= 0 {
		return logins[i], nil
	}
	return logins[0], nil
}

// open is the open store.
func (m *Addresses) open() (*addresses.Store, error) {
	if s := m.store.get(); s != nil {
		return s, nil
	}
	return nil, errAddressesAway
}

// Close implements io.Closer.
func (m *Addresses) Close() error {
	m.store.end()
	if s := m.store.get(); s != nil {
		return s.Close()
	}
	return nil
}

// serves says whether a domain is one of this server. While the database cannot be asked,
// those of the configuration are.
func (m *Addresses) serves(ctx context.Context, domain string) bool {
	s, err := m.open()
	if err == nil {
		var ours bool
		if ours, err = s.Serves(ctx, domain); err == nil {
			return ours
		}
	}
	return slices.Contains(m.configured, addresses.Fold(domain))
}

// Lookup implements module.Table: addresses of the domains that are served, and the bare
// postmaster (RFC 5321 section 4.5.1).
func (m *Addresses) Lookup(ctx context.Context, addr string) (string, bool, error) {
	if !strings.Contains(addr, "@") {
		return "", strings.EqualFold(addr, addresses.Postmaster), nil
	}
	return "", m.serves(ctx, addresses.DomainOf(addr)), nil
}

// mayUse says whether a login may write from an address.
func (m *Addresses) mayUse(ctx context.Context, login, addr string) (bool, error) {
	s, err := m.open()
	if err != nil {
		return false, err
	}
	return s.MayUse(ctx, login, addr)
}

// expand is whose mail an address is: the members of an alias, each of whom gets a link of
// their own. What is no alias stays as it was written, and is for the next target to judge.
func (m *Addresses) expand(ctx context.Context, addr string) []string {
	s, err := m.open()
	if err != nil {
		return []string{addr}
	}
	way, err := s.Named(ctx, addr)
	members := slices.Clone(way.Logins)
	for _, o := range way.Outside {
		members = append(members, o.Addr)
	}
	if err != nil || len(members) == 1 && members[0] == addresses.Untagged(addresses.Fold(addr), m.delimiter) {
		return []string{addr}
	}
	return members
}

// IMAPFilter implements module.IMAPFilter: the filters of a login.
func (m *Addresses) IMAPFilter(login, _ string, _ *module.MsgMetadata, h textproto.Header, _ buffer.Buffer) (
	folder string, flags []string, err error) {
	s, err := m.open()
	if err != nil {
		return "", nil, err
	}
	p, err := s.Person(context.Background(), login)
	if err != nil {
		return "", nil, err
	}
	f, ok := p.Rules.Sort(h)
	if !ok {
		return "", nil, nil
	}
	if f.Seen {
		flags = append(flags, `\Seen`)
	}
	if strings.EqualFold(f.Folder, "Junk") {
		flags = append(flags, "$Junk")
	}
	return f.Folder, flags, nil
}

// quota is what is set for a login; ok is false where nothing is.
func (m *Addresses) quota(login string) (octets int64, ok bool) {
	s, err := m.open()
	if err != nil {
		return 0, false
	}
	p, err := s.Person(context.Background(), login)
	if err != nil || p.Quota == nil {
		return 0, false
	}
	return *p.Quota, true
}

// mayEnter says that a login is disabled.
func (m *Addresses) mayEnter(ctx context.Context, login string) error {
	s, err := m.open()
	if err != nil {
		return err
	}
	p, err := s.Person(ctx, login)
	if err == nil && p.Disabled {
		err = &signin.DisabledError{Reason: p.Reason}
	}
	return err
}

// MailOf implements web.Mail.
func (m *Addresses) MailOf(ctx context.Context, login string) (set web.MailSettings, err error) {
	s, err := m.open()
	if err != nil {
		return set, err
	}
	p, err := s.Person(ctx, login)
	set.Rules = p.Rules
	if mail, ok := m.accounts.(*Maildrop); ok && err == nil {
		account, openErr := mail.IMAP().Account(login)
		if openErr != nil {
			return set, openErr
		}
		set.Used, set.Quota, err = account.Quota()
	}
	return set, err
}

// SetMail implements web.Mail. With another notice everybody is answered again.
func (m *Addresses) SetMail(ctx context.Context, login string, r addresses.Rules) error {
	s, err := m.open()
	if err != nil {
		return err
	}
	before, err := s.Person(ctx, login)
	if err != nil {
		return err
	}
	if err := s.SetRules(ctx, login, r); err != nil || before.Rules.Vacation == r.Vacation {
		return err
	}
	return s.ForgetAnswers(ctx, login)
}

// senders says who may write from which address, by a directive `aliases`: a
// chmail.addresses, or a table as for replace_rcpt.
func senders(aliases module.Table) func(ctx context.Context, login, addr string) (bool, error) {
	if own, ok := aliases.(*Addresses); ok {
		return own.mayUse
	}
	return func(ctx context.Context, login, addr string) (bool, error) {
		var logins []string
		if multi, ok := aliases.(module.MultiTable); ok {
			all, err := multi.LookupMulti(ctx, addr)
			if err != nil {
				return false, err
			}
			logins = all
		} else {
			one, ok, err := aliases.Lookup(ctx, addr)
			if err != nil || !ok {
				return false, err
			}
			logins = []string{one}
		}
		return slices.ContainsFunc(logins, func(l string) bool { return address.Equal(l, login) }), nil
	}
}
