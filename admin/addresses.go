// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/mailstore"
)

// errNoAddresses: nothing can be set.
var errNoAddresses = errors.New("the configuration has no block chmail.addresses: docs/addresses.md has one")

// addresses is the store of addresses.
func (o *Owner) addresses() (*addresses.Store, error) {
	store, err := o.Parts.Addresses()
	if err == nil && store == nil {
		err = errNoAddresses
	}
	return store, err
}

// Domains implements Addresses.
func (o *Owner) Domains(ctx context.Context) ([]addresses.Domain, error) {
	store, err := o.addresses()
	if err != nil {
		return nil, err
	}
	list, err := store.Domains(ctx)
	return notNil(list), err
}

// AddDomain implements Addresses.
func (o *Owner) AddDomain(ctx context.Context, name string) error {
	store, err := o.addresses()
	if err != nil {
		return err
	}
	return store.AddDomain(ctx, name)
}

// RemoveDomain implements Addresses.
func (o *Owner) RemoveDomain(ctx context.Context, name string) error {
	store, err := o.addresses()
	if err != nil {
		return err
	}
	logins, err := o.Logins(ctx)
	if err != nil {
		return err
	}
	name = addresses.Fold(name)
	if i := slices.IndexFunc(logins, func(l string) bool { return addresses.DomainOf(l) == name }); i >= 0 {
		return fmt.Errorf("%s has accounts, %s for one: remove them first with `chmaild user remove`", name, logins[i])
	}
	return store.RemoveDomain(ctx, name)
}

// Aliases implements Addresses.
func (o *Owner) Aliases(ctx context.Context) ([]addresses.Alias, error) {
	store, err := o.addresses()
	if err != nil {
		return nil, err
	}
	list, err := store.Aliases(ctx)
	return notNil(list), err
}

// AddAlias implements Addresses.
func (o *Owner) AddAlias(ctx context.Context, addr string, members []string) error {
	store, err := o.addresses()
	if err != nil {
		return err
	}
	return store.AddAlias(ctx, addr, members...)
}

// RemoveAlias implements Addresses.
func (o *Owner) RemoveAlias(ctx context.Context, addr string, members []string) error {
	store, err := o.addresses()
	if err != nil {
		return err
	}
	return store.RemoveAlias(ctx, addr, members...)
}

// Accounts implements Users.
func (o *Owner) Accounts(ctx context.Context) ([]Account, error) {
	logins, err := o.Logins(ctx)
	if err != nil {
		return nil, err
	}
	usage := make(map[string]mailstore.Usage)
	quota := func(string) int64 { return 0 }
	if mail, err := o.Parts.Mail(o.Choice.Storage); err == nil { // a storage of another kind does not say
		if usage, err = mail.Usage(); err != nil {
			return nil, err
		}
		quota = mail.QuotaOf
	}
	people := make(map[string]addresses.Person)
	store, err := o.Parts.Addresses()
	if err == nil && store != nil {
		people, err = store.People(ctx)
	}
	if err != nil {
		return nil, err
	}
	list := make([]Account, len(logins))
	for i, login := range logins {
		p := people[login]
		list[i] = Account{Login: login, Usage: usage[login], Quota: quota(login), Disabled: p.Disabled,
			Reason: p.Reason, Forward: p.Rules.Forward}
	}
	return list, nil
}

// setting is the store of addresses, where there is an account to set something for.
func (o *Owner) setting(ctx context.Context, login string) (*addresses.Store, error) {
	if _, _, err := o.existing(ctx, login); err != nil {
		return nil, err
	}
	return o.addresses()
}

// Disable implements Users.
func (o *Owner) Disable(ctx context.Context, login string, disabled bool, reason string) error {
	store, err := o.setting(ctx, login)
	if err != nil {
		return err
	}
	if err := store.Disable(ctx, login, disabled, reason); err != nil {
		return err
	}
	return o.signOut(ctx, login)
}

// SetQuota implements Users.
func (o *Owner) SetQuota(ctx context.Context, login string, octets *int64) error {
	store, err := o.setting(ctx, login)
	if err != nil {
		return err
	}
	return store.SetQuota(ctx, login, octets)
}

// Forward implements Users.
func (o *Owner) Forward(ctx context.Context, login string, to []string, keep bool) error {
	store, err := o.setting(ctx, login)
	if err != nil {
		return err
	}
	return forward(ctx, store, login, to, keep)
}

func forward(ctx context.Context, store *addresses.Store, login string, to []string, keep bool) error {
	p, err := store.Person(ctx, login)
	if err != nil {
		return err
	}
	p.Rules.Forward, p.Rules.Keep = to, keep && len(to) > 0
	return store.SetRules(ctx, login, p.Rules)
}

// AddUsers implements Users.
func (o *Owner) AddUsers(ctx context.Context, list []NewUser, try bool) ([]Refusal, error) {
	users, err := o.Parts.Accounts(o.Choice.Auth)
	if err != nil {
		return nil, err
	}
	hashed, ok := users.(Hashed)
	if !ok {
		return nil, errors.New("these accounts take no hashes: use auth.accounts")
	}
	mail, err := o.Parts.Mailboxes(o.Choice.Storage)
	if err != nil {
		return nil, err
	}
	logins, err := o.Logins(ctx)
	if err != nil {
		return nil, err
	}
	boxes, err := mail.ListIMAPAccts()
	if err != nil {
		return nil, err
	}
	b := bulk{Owner: o, users: hashed, mail: mail, taken: make(map[string]bool), boxes: make(map[string]bool), try: try}
	for _, login := range logins {
		b.taken[login] = true
	}
	for _, login := range boxes {
		b.boxes[login] = true
	}
	return b.add(ctx, list)
}

// bulk is one AddUsers.
type bulk struct {
	*Owner
	users Hashed
	mail  Mailboxes
	taken map[string]bool
	boxes map[string]bool
	try   bool
}

// add adds those that can be, several at a time: hashing their passwords takes the most.
func (b *bulk) add(ctx context.Context, list []NewUser) ([]Refusal, error) {
	errs := make([]error, len(list))
	var working sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, u := range list {
		u.Login = addresses.Fold(u.Login)
		if errs[i] = b.check(ctx, u); errs[i] != nil || b.try {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			errs[i] = b.make(ctx, u)
		})
	}
	working.Wait()
	refused := []Refusal{}
	for i, err := range errs {
		if err != nil {
			refused = append(refused, Refusal{At: i, Text: err.Error()})
		}
	}
	return refused, ctx.Err()
}

// check says why an account cannot be added, and takes its login.
func (b *bulk) check(ctx context.Context, u NewUser) error {
	if err := addresses.CheckAddr(u.Login); err != nil {
		return err
	}
	if err := b.serves(ctx, u.Login); err != nil {
		return err
	}
	if b.taken[u.Login] {
		return fmt.Errorf("%s is there already", u.Login)
	}
	for _, to := range u.Forward {
		if err := addresses.CheckAddr(addresses.Fold(to)); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
	}
	if err := password.CheckImport(u.Password); err != nil {
		return err
	}
	if !strings.HasPrefix(u.Password, "{") && !strings.HasPrefix(u.Password, "$") {
		if err := password.CheckFor(u.Login, u.Password); err != nil && !strings.Contains(u.Password, ":") {
			return err
		}
	}
	b.taken[u.Login] = true
	return nil
}

// make adds one account.
func (b *bulk) make(ctx context.Context, u NewUser) error {
	stored, err := password.Import(u.Password)
	if err != nil {
		return err
	}
	if !b.boxes[u.Login] {
		if err := b.mail.CreateIMAPAcct(u.Login); err != nil {
			return fmt.Errorf("making the mailbox: %w", err)
		}
	}
	if err := b.users.CreateHashed(ctx, u.Login, stored); err != nil {
		return err
	}
	if u.Quota != nil || len(u.Forward) > 0 {
		store, err := b.addresses()
		if err == nil && u.Quota != nil {
			err = store.SetQuota(ctx, u.Login, u.Quota)
		}
		if err == nil && len(u.Forward) > 0 {
			err = forward(ctx, store, u.Login, u.Forward, true)
		}
		if err != nil {
			return fmt.Errorf("it was added, but: %w", err)
		}
	}
	return nil
}
