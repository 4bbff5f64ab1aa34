// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/text/secure/precis"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/guard/apppassword"
	passwords "github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
)

// Accounts are logins and their passwords, in a table of maddy's:
//
//	auth.accounts accounts {
//	    # required: login -> password, as auth.pass_table keeps it. Of a table that can
//	    # only be read, nobody changes the accounts here
//	    table sql_table { driver sqlite3; dsn credentials.db; table_name passwords }
//	    # login -> passwords of devices; default: there are none
//	    app_passwords sql_table { driver sqlite3; dsn credentials.db; table_name app_passwords }
//	}
type Accounts struct {
	base
	table   module.Table
	devices *apppassword.Store // nil: there are none

	changing sync.Mutex // held from the look at an account to its change
}

var (
	_ module.Module      = (*Accounts)(nil)
	_ module.PlainUserDB = (*Accounts)(nil)
	_ signin.Accounts    = (*Accounts)(nil)
	_ signin.Existing    = (*Accounts)(nil)
	_ signin.Devices     = devices{}
	_ admin.AppPasswords = (*Accounts)(nil)
)

func init() {
	register("auth.accounts", func(b base) module.Module { return &Accounts{base: b} })
}

// Init reads the block.
func (m *Accounts) Init(cfg *config.Map) error {
	var devices module.MutableTable
	cfg.Custom("table", false, true, nil, modconfig.TableDirective, &m.table)
	cfg.Custom("app_passwords", false, false, absent[module.MutableTable], mutableTable, &devices)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if devices != nil {
		m.devices = apppassword.New(devices)
	}
	return nil
}

func mutableTable(m *config.Map, node config.Node) (any, error) {
	table, err := modconfig.TableDirective(m, node)
	if err != nil {
		return nil, err
	}
	mutable, ok := table.(module.MutableTable)
	if !ok {
		return nil, config.NodeErr(node, "%s can only be read: name a table that can be changed", node.Name)
	}
	return mutable, nil
}

// errReadOnly: the accounts are made and changed elsewhere.
var errReadOnly = errors.New("the accounts are in a table that can only be read")

// errThere: an account is not made twice.
var errThere = errors.New("there is such an account already")

// mutable is the table, if it can be changed.
func (m *Accounts) mutable() (module.MutableTable, error) {
	if table, ok := m.table.(module.MutableTable); ok {
		return table, nil
	}
	return nil, errReadOnly
}

// accountKey is a login as it stands in the tables.
func accountKey(login string) (string, error) { return precis.UsernameCaseMapped.CompareKey(login) }

// lookup finds the stored password of a login.
func (m *Accounts) lookup(ctx context.Context, login string) (k, stored string, there bool, err error) {
	if k, err = accountKey(login); err != nil {
		return "", "", false, nil // no account has such a name
	}
	stored, there, err = m.table.Lookup(ctx, k)
	if err != nil {
		return "", "", false, fmt.Errorf("reading the account %s: %w", login, err)
	}
	return k, stored, there, nil
}

// Verify implements signin.Accounts.
func (m *Accounts) Verify(ctx context.Context, login, given string) error {
	k, stored, there, err := m.lookup(ctx, login)
	switch {
	case err != nil:
		return err
	case !there:
		err = passwords.Waste(given)
	default:
		err = passwords.Verify(stored, given)
	}
	if err == nil && passwords.Old(stored) {
		m.renew(ctx, k, stored, given)
	}
	if errors.Is(err, passwords.ErrMismatch) {
		return signin.ErrWrong
	}
	if err != nil {
		return fmt.Errorf("checking the password of %s: %w", login, err)
	}
	return nil
}

// renew makes the stored form of a password anew that another program has made, if it is
// still that one. Where it cannot, the old one stays good.
func (m *Accounts) renew(ctx context.Context, k, stored, given string) {
	table, err := m.mutable()
	if err != nil {
		return
	}
	fresh := passwords.Hash(given)
	m.changing.Lock()
	defer m.changing.Unlock()
	if now, there, err := m.table.Lookup(ctx, k); err != nil || !there || now != stored {
		return
	}
	if err := table.SetKey(k, fresh); err != nil {
		m.out.Error("renewing the stored form of a password", err, "login", k)
	}
}

// Exists implements signin.Existing.
func (m *Accounts) Exists(ctx context.Context, login string) (bool, error) {
	_, _, there, err := m.lookup(ctx, login)
	return there, err
}

// AuthPlain implements module.PlainAuth.
func (m *Accounts) AuthPlain(login, given string) error {
	err := m.Verify(context.Background(), login, given)
	if errors.Is(err, signin.ErrWrong) {
		return module.ErrUnknownCredentials
	}
	return err
}

// ListUsers implements module.PlainUserDB.
func (m *Accounts) ListUsers() ([]string, error) {
	table, err := m.mutable()
	if err != nil {
		return nil, err
	}
	return table.Keys()
}

// CreateUser implements module.PlainUserDB.
func (m *Accounts) CreateUser(login, given string) error { return m.set(login, given, false) }

// SetUserPassword implements module.PlainUserDB.
func (m *Accounts) SetUserPassword(login, given string) error { return m.set(login, given, true) }

func (m *Accounts) set(login, given string, exists bool) error {
	if err := passwords.CheckFor(login, given); err != nil {
		return err
	}
	table, err := m.mutable()
	if err != nil {
		return err
	}
	k, err := accountKey(login)
	if err != nil {
		return fmt.Errorf("%q cannot be a login: %w", login, err)
	}
	fresh := passwords.Hash(given)
	m.changing.Lock()
	defer m.changing.Unlock()
	switch _, _, there, err := m.lookup(context.Background(), login); {
	case err != nil:
		return err
	case there && !exists:
		return fmt.Errorf("there is an account %s already", login)
	case !there && exists:
		return fmt.Errorf("there is no account %s", login)
	}
	if err := table.SetKey(k, fresh); err != nil {
		return fmt.Errorf("writing the password of %s: %w", login, err)
	}
	return nil
}

// CreateHashed makes an account from the stored form of its password; errThere.
func (m *Accounts) CreateHashed(ctx context.Context, login, hash string) error {
	table, err := m.mutable()
	if err != nil {
		return err
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	k, _, there, err := m.lookup(ctx, login)
	switch {
	case err != nil:
		return err
	case k == "":
		return fmt.Errorf("%q cannot be a login", login)
	case there:
		return fmt.Errorf("%s: %w", login, errThere)
	}
	if err := table.SetKey(k, hash); err != nil {
		return fmt.Errorf("writing the password of %s: %w", login, err)
	}
	return nil
}

// DeleteUser implements module.PlainUserDB. The passwords of devices go first: those
// of an account that is gone must not open one of the same name.
func (m *Accounts) DeleteUser(login string) error {
	table, err := m.mutable()
	if err != nil {
		return err
	}
	k, err := accountKey(login)
	if err != nil {
		return fmt.Errorf("%q cannot be a login: %w", login, err)
	}
	if m.devices != nil {
		if err := m.devices.Remove(k); err != nil {
			return err
		}
	}
	if err := table.RemoveKey(k); err != nil {
		return fmt.Errorf("removing the account %s: %w", login, err)
	}
	return nil
}

// devices are the passwords of the accounts' devices.
type devices struct{ of *Accounts }

// Verify implements signin.Devices.
func (d devices) Verify(ctx context.Context, login, given string) (bool, error) {
	k, err := accountKey(login)
	if err != nil {
		return false, nil // no account has such a name
	}
	return d.of.devices.Verify(ctx, k, given)
}

// account finds an account that may have passwords of devices.
func (m *Accounts) account(ctx context.Context, login string) (k string, err error) {
	k, _, there, err := m.lookup(ctx, login)
	switch {
	case err != nil:
		return "", err
	case !there:
		return "", fmt.Errorf("there is no account %s", login)
	case m.devices == nil:
		return "", apppassword.ErrNone
	}
	return k, nil
}

// SetPassword sets a password and ends the login's mail sessions.
func (m *Accounts) SetPassword(_ context.Context, login, given string) error {
	if err := m.SetUserPassword(login, given); err != nil {
		return err
	}
	allGuards.changed(login)
	return nil
}

// AppPasswords implements admin.AppPasswords.
func (m *Accounts) AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error) {
	k, err := m.account(ctx, login)
	if err != nil {
		return nil, err
	}
	return m.devices.List(ctx, k)
}

// AddAppPassword implements admin.AppPasswords.
func (m *Accounts) AddAppPassword(ctx context.Context, login, name string) (string, error) {
	k, err := m.account(ctx, login)
	if err != nil {
		return "", err
	}
	return m.devices.Add(ctx, k, name)
}

// RevokeAppPassword implements admin.AppPasswords. The login's mail sessions end; its
// other devices come back by themselves.
func (m *Accounts) RevokeAppPassword(ctx context.Context, login, name string) error {
	k, err := m.account(ctx, login)
	if err != nil {
		return err
	}
	if err := m.devices.Revoke(ctx, k, name); err != nil {
		return err
	}
	allGuards.changed(login)
	return nil
}
