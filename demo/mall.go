// SPDX-License-Identifier: GPL-3.0-or-later

package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/sample"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// fillMall opens the sample's shops and makes the customer and many others members,
// unless that was done before. The server that runs then finds the files where its block says.
func (d *Demo) fillMall(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("filling the mall: %w", err)
		}
	}()
	keys, err := vault.Open(d.path("mall.keys"))
	if err != nil {
		return err
	}
	pictures, err := picture.New(d.path("mall/pictures"))
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, "sqlite:"+d.path("mall.db"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	host, customer, friend := d.account("host").Login, d.account("customer").Login, d.account("friend").Login
	if err := sample.Fill(ctx, s, pictures, Domain, host, friend); err != nil {
		return err
	}
	if err := sample.Publish(ctx, s, keys, Domain, host); err != nil {
		return err
	}
	if _, err := s.MemberByLogin(ctx, customer); !errors.Is(err, store.ErrUnknown) {
		return err
	}
	m := store.Member{ID: store.NewID(), Login: customer, AddrHash: keys.Hash(customer), Lang: "en",
		State: store.MemberActive, Publicity: true, Created: store.Micros(time.Now())}
	if m.Sealed, err = mall.SealPersonal(keys, m.ID, store.Personal{Name: "Jun", Addr: customer}); err != nil {
		return err
	}
	return s.AddMember(ctx, m, []store.Consent{{What: store.ConsentPublicity, Given: true, At: m.Created,
		Addr: "127.0.0.1", Wording: "the sample's"}})
}

// makeMailboxes gives the sample's members mailboxes, so that mails reach them. Nobody
// signs in there.
func (d *Demo) makeMailboxes() error {
	if d.kept.Mailboxes {
		return nil
	}
	mail, err := mailstore.Open(d.path(mailstore.DefaultPath), mailstore.Options{MinFree: -1})
	if err != nil {
		return err
	}
	logins := sample.Members(Domain)
	failures := make([]error, len(logins))
	var making sync.WaitGroup
	for i, login := range logins { // which share the waits for the disk
		making.Go(func() {
			if err := mail.CreateAccount(login, mailstore.DefaultFolders...); !errors.Is(err, mailstore.ErrExists) {
				failures[i] = err
			}
		})
	}
	making.Wait()
	if err := errors.Join(append(failures, mail.Close())...); err != nil {
		return fmt.Errorf("making mailboxes: %w", err)
	}
	d.kept.Mailboxes = true
	return d.save()
}
