// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/password"
)

// Logins implements Users.
func (o *Owner) Logins(context.Context) ([]string, error) {
	users, err := o.Parts.Accounts(o.Choice.Auth)
	if err != nil {
		return nil, err
	}
	logins, err := users.ListUsers()
	slices.Sort(logins)
	return notNil(logins), err
}

// MayAdd implements Users.
func (o *Owner) MayAdd(ctx context.Context, login string) error {
	i := strings.LastIndexByte(login, '@')
	if i < 1 || i == len(login)-1 {
		return fmt.Errorf("%q is not a login: a login is a mail address, like you@mall.example", login)
	}
	if err := o.serves(ctx, login); err != nil {
		return err
	}
	there, err := o.has(ctx, login)
	if err == nil && there {
		err = fmt.Errorf("%s is there already: `chmaild user passwd %[1]s` changes the password", login)
	}
	return err
}

// serves says that a login's domain is none of this server.
func (o *Owner) serves(ctx context.Context, login string) error {
	store, err := o.Parts.Addresses()
	if err != nil {
		return err
	}
	if store != nil {
		return store.MustServe(ctx, strings.ToLower(login))
	}
	domain := addresses.DomainOf(strings.ToLower(login))
	if len(o.Options.Domains) > 0 && !slices.Contains(o.Options.Domains, domain) {
		return fmt.Errorf("%s is %w, which serves %s: name it in the configuration first", domain,
			addresses.ErrDomain, strings.Join(o.Options.Domains, ", "))
	}
	return nil
}

func (o *Owner) has(ctx context.Context, login string) (bool, error) {
	logins, err := o.Logins(ctx)
	return slices.Contains(logins, strings.ToLower(login)), err
}

// AddUser implements Users.
func (o *Owner) AddUser(ctx context.Context, login, given string) error {
	if err := errors.Join(o.MayAdd(ctx, login), password.CheckFor(login, given)); err != nil {
		return err
	}
	users, err := o.Parts.Accounts(o.Choice.Auth)
	if err != nil {
		return err
	}
	mail, err := o.Parts.Mailboxes(o.Choice.Storage)
	if err != nil {
		return err
	}
	boxes, err := mail.ListIMAPAccts()
	if err != nil {
		return err
	}
	if !slices.Contains(boxes, strings.ToLower(login)) {
		if err := mail.CreateIMAPAcct(login); err != nil {
			return fmt.Errorf("making the mailbox: %w", err)
		}
	}
	if err := users.CreateUser(login, given); err != nil {
		return err
	}
	if err := o.firstPostmaster(ctx, login); err != nil {
		return err
	}
	return o.signOut(ctx, login) // its owner may have been refused before
}

// firstPostmaster gives the first account the mail to the postmaster of its domain.
func (o *Owner) firstPostmaster(ctx context.Context, login string) error {
	store, err := o.Parts.Addresses()
	if err != nil || store == nil {
		return err
	}
	logins, err := o.Logins(ctx)
	to := addresses.Postmaster + "@" + addresses.DomainOf(addresses.Fold(login))
	if err != nil || len(logins) != 1 || to == logins[0] {
		return err
	}
	return store.AddAlias(ctx, to, login)
}

// existing are the passwords and mailboxes, if there is such an account.
func (o *Owner) existing(ctx context.Context, login string) (Accounts, Mailboxes, error) {
	there, err := o.has(ctx, login)
	if err == nil && !there {
		err = fmt.Errorf("there is no account %s: `chmaild user list` lists them", login)
	}
	if err != nil {
		return nil, nil, err
	}
	users, err := o.Parts.Accounts(o.Choice.Auth)
	if err != nil {
		return nil, nil, err
	}
	mail, err := o.Parts.Mailboxes(o.Choice.Storage)
	return users, mail, err
}

// SetPassword implements Users.
func (o *Owner) SetPassword(ctx context.Context, login, given string) error {
	users, _, err := o.existing(ctx, login)
	if err != nil {
		return err
	}
	if err := password.CheckFor(login, given); err != nil {
		return err
	}
	if err := users.SetUserPassword(login, given); err != nil {
		return err
	}
	return o.signOut(ctx, login)
}

// RemoveUser implements Users.
func (o *Owner) RemoveUser(ctx context.Context, login string) error {
	users, mail, err := o.existing(ctx, login)
	if err != nil {
		return err
	}
	if err := users.DeleteUser(login); err != nil {
		return err
	}
	return errors.Join(o.signOut(ctx, login), mail.DeleteIMAPAcct(login), o.forget(ctx, login))
}

// forget removes what is set for a login.
func (o *Owner) forget(ctx context.Context, login string) error {
	store, err := o.Parts.Addresses()
	if err != nil || store == nil {
		return err
	}
	return store.Forget(ctx, login)
}

// EraseUser takes a login out of all conversations, and removes its account with its
// mail. What is gone already is no error, so that it can be done again.
func (o *Owner) EraseUser(ctx context.Context, login string) error {
	if _, err := o.Erase(ctx, login); err != nil {
		return err
	}
	there, err := o.has(ctx, login)
	if err != nil {
		return err
	}
	if there {
		return o.RemoveUser(ctx, login)
	}
	mail, err := o.Parts.Mailboxes(o.Choice.Storage)
	if err != nil {
		return err
	}
	boxes, err := mail.ListIMAPAccts()
	if err == nil && slices.Contains(boxes, strings.ToLower(login)) {
		err = mail.DeleteIMAPAcct(login)
	}
	return errors.Join(err, o.signOut(ctx, login), o.forget(ctx, login))
}

// signOut ends the login's sessions everywhere.
func (o *Owner) signOut(ctx context.Context, login string) error {
	var failed []error
	for _, s := range o.Parts.Sessions() {
		failed = append(failed, s.SignOut(ctx, strings.ToLower(login)))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("ending the sessions of %s: %w", login, err)
	}
	return nil
}

// appPasswords are those of the accounts, if they have any.
func (o *Owner) appPasswords(ctx context.Context, login string) (AppPasswords, error) {
	users, _, err := o.existing(ctx, login)
	if err != nil {
		return nil, err
	}
	if own, ok := users.(AppPasswords); ok {
		return own, nil
	}
	return nil, apppassword.ErrNone
}

// AppPasswords implements AppPasswords.
func (o *Owner) AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error) {
	own, err := o.appPasswords(ctx, login)
	if err != nil {
		return nil, err
	}
	return own.AppPasswords(ctx, login)
}

// AddAppPassword implements AppPasswords.
func (o *Owner) AddAppPassword(ctx context.Context, login, name string) (string, error) {
	own, err := o.appPasswords(ctx, login)
	if err != nil {
		return "", err
	}
	return own.AddAppPassword(ctx, login, name)
}

// RevokeAppPassword implements AppPasswords.
func (o *Owner) RevokeAppPassword(ctx context.Context, login, name string) error {
	own, err := o.appPasswords(ctx, login)
	if err != nil {
		return err
	}
	return own.RevokeAppPassword(ctx, login, name)
}
