// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Postmaster is the name of who answers for a domain (RFC 5321 section 4.5.1).
const Postmaster = "postmaster"

// roles are addresses that every domain has (RFC 5321 section 4.5.1, RFC 2142). Where
// nothing else is set they are the postmaster's.
var roles = []string{Postmaster, "abuse", "mailer-daemon"}

// Outside is an address elsewhere where a mail ends.
type Outside struct {
	Addr string
	Via  string // the alias or login that sends it there; empty: it is the address itself
	// Forwarded: a login's own rule sends it there.
	Forwarded bool
}

// Way is where a mail to an address ends.
type Way struct {
	Logins   []string // accounts
	Outside  []Outside
	Accounts []string // accounts on the way: Logins, and those that send it on
	Through  []string // all addresses on the way, those at its end among them
}

// Resolve follows aliases, and, with forwards, the forwarding that people have set.
//
// The errors are ErrUnknown and ErrDisabled, where nobody gets the mail, and those of the
// database. An address elsewhere is itself. A bare postmaster is that of the first domain.
func (s *Store) Resolve(ctx context.Context, addr string, forwards bool) (Way, error) {
	return s.resolve(&walk{Store: s, ctx: ctx, forwards: forwards}, addr)
}

// Named follows aliases alone. The catch-all has no part in it: what it would take may be a
// shop's address, or another that the pipeline knows.
func (s *Store) Named(ctx context.Context, addr string) (Way, error) {
	return s.resolve(&walk{Store: s, ctx: ctx, named: true}, addr)
}

func (s *Store) resolve(w *walk, addr string) (Way, error) {
	w.seen = make(map[string]bool)
	addr = Fold(addr)
	if addr == Postmaster && len(s.o.Domains) > 0 {
		addr += "@" + s.o.Domains[0]
	}
	if err := w.to(addr, Outside{}); err != nil {
		return Way{}, err
	}
	switch {
	case len(w.Logins)+len(w.Way.Outside) > 0:
		return w.Way, nil
	case w.disabled != nil:
		return w.Way, w.disabled
	}
	return w.Way, fmt.Errorf("%s: %w", addr, ErrUnknown)
}

// walk is one Resolve.
type walk struct {
	*Store
	Way
	ctx      context.Context
	forwards bool // also what people have set
	named    bool // not the catch-all
	seen     map[string]bool
	disabled error
}

// to goes on with an address; by is who sends it there.
func (w *walk) to(addr string, by Outside) error {
	if w.seen[addr] {
		return nil
	}
	if len(w.seen) > maxMembers { // an alias, and its members
		return fmt.Errorf("%s: it leads to more than %d addresses: %w", addr, maxMembers, ErrFull)
	}
	w.seen[addr] = true
	w.Through = append(w.Through, addr)
	ours, err := w.Serves(w.ctx, DomainOf(addr))
	if err != nil {
		return err
	}
	if !ours {
		by.Addr = addr
		w.Way.Outside = append(w.Way.Outside, by)
		return nil
	}
	plain := Untagged(addr, w.o.Delimiter)
	for i, name := range []string{addr, plain} {
		if i == 1 && plain == addr {
			break
		}
		members, err := w.members(w.ctx, name)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return w.all(name, members)
		}
		there, err := w.o.Exists(w.ctx, name)
		if err != nil {
			return err
		}
		if there {
			return w.account(name)
		}
	}
	return w.unassigned(plain)
}

// all goes on with the members of an alias, itself perhaps among them as an account.
func (w *walk) all(alias string, members []string) error {
	for _, m := range members {
		var err error
		if m == alias {
			err = w.account(m)
		} else {
			err = w.to(m, Outside{Via: alias})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// account ends at a login, or goes where its mail is forwarded.
func (w *walk) account(login string) error {
	if slices.Contains(w.Accounts, login) {
		return nil
	}
	if login != w.Through[len(w.Through)-1] {
		w.seen[login] = true
		w.Through = append(w.Through, login)
	}
	p, err := w.Person(w.ctx, login)
	if err != nil {
		return err
	}
	if p.Disabled {
		w.disabled = fmt.Errorf("%s: %w", login, ErrDisabled)
		return nil
	}
	w.Accounts = append(w.Accounts, login)
	before := len(w.Logins) + len(w.Way.Outside)
	if w.forwards {
		for _, to := range p.Rules.Forward {
			if err := w.to(to, Outside{Via: login, Forwarded: true}); err != nil {
				return err
			}
		}
	}
	// What leads nowhere, back here for example, stays here.
	if p.Rules.Keep || len(w.Logins)+len(w.Way.Outside) == before {
		w.Logins = append(w.Logins, login)
	}
	return nil
}

// unassigned goes on with an address of ours that is neither an alias nor an account.
func (w *walk) unassigned(addr string) error {
	local, domain, _ := strings.Cut(addr, "@")
	if slices.Contains(roles, local) {
		next, err := w.role(local, domain)
		if err != nil || next != "" {
			if err == nil {
				err = w.to(next, Outside{Via: addr})
			}
			return err
		}
	}
	if w.named {
		return nil
	}
	members, err := w.members(w.ctx, "@"+domain)
	if err != nil {
		return err
	}
	return w.all("@"+domain, members)
}

// role is where the mail to a domain's postmaster or abuse goes where nothing is set:
// abuse's to the postmaster, that to the first domain's, and that to the first account.
func (w *walk) role(name, domain string) (string, error) {
	switch {
	case name != Postmaster:
		return Postmaster + "@" + domain, nil
	case len(w.o.Domains) > 0 && domain != w.o.Domains[0]:
		return Postmaster + "@" + w.o.Domains[0], nil
	case w.o.First == nil:
		return "", nil
	}
	return w.o.First(w.ctx, domain)
}

// Untagged is an address without its tag, or as it is.
func Untagged(addr, delimiter string) string {
	at := strings.LastIndexByte(addr, '@')
	if delimiter == "" || at < 0 {
		return addr
	}
	if tag := strings.Index(addr[:at], delimiter); tag > 0 {
		return addr[:tag] + addr[at:]
	}
	return addr
}

// MayUse says whether a login may write from an address: its own with a tag, or an alias
// of which it is a member.
func (s *Store) MayUse(ctx context.Context, login, addr string) (bool, error) {
	addr, login = Fold(addr), Fold(login)
	if ours, err := s.Serves(ctx, DomainOf(addr)); err != nil || !ours {
		return false, err
	}
	w := walk{Store: s, ctx: ctx, named: true, seen: make(map[string]bool)}
	err := w.to(addr, Outside{})
	return slices.Contains(w.Logins, login), err
}
