// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/chmail/chmail/imapd"
	"github.com/cockroachdb/pebble/v2"
)

// IMAP serves the accounts to imapd.
func (s *Store) IMAP() imapd.Store { return imapStore{s} }

type imapStore struct{ s *Store }

// imapAccount is one login's.
type imapAccount struct {
	s     *Store
	login string
}

// imapMailbox is a Mailbox in imapd's words.
type imapMailbox struct{ m *Mailbox }

// imapBody is a Reader in imapd's words.
type imapBody struct{ *Reader }

var (
	_ imapd.Store   = imapStore{}
	_ imapd.Account = imapAccount{}
	_ imapd.Mailbox = imapMailbox{}
	_ imapd.Body    = imapBody{}
)

// imapErrors are the errors that have a meaning in IMAP.
var imapErrors = []struct{ ours, theirs error }{
	{ErrNoMailbox, imapd.ErrNoMailbox},
	{ErrExists, imapd.ErrExists},
	{ErrName, imapd.ErrName},
	{ErrNoMessage, imapd.ErrNoMessage},
	{ErrInUse, imapd.ErrInUse},
	{ErrQuota, imapd.ErrQuota},
	{ErrTooLarge, imapd.ErrQuota},
	{ErrFull, imapd.ErrFull},
	{ErrLimit, imapd.ErrLimit},
	{ErrDamaged, imapd.ErrDamaged},
}

// imapError adds imapd's word for an error.
func imapError(err error) error {
	for _, e := range imapErrors {
		if errors.Is(err, e.ours) {
			return fmt.Errorf("%w: %w", e.theirs, err)
		}
	}
	return err
}

// SetAppendLimit bounds the octets of a message that IMAP's APPEND brings; 0,
// the default, is no bound.
func (s *Store) SetAppendLimit(octets uint32) { s.appendLimit.Store(octets) }

func (i imapStore) AppendLimit() uint32 { return i.s.appendLimit.Load() }

func (i imapStore) Account(login string) (imapd.Account, error) {
	there, err := i.s.HasAccount(login)
	if err == nil && !there {
		if err = i.s.CreateAccount(login, DefaultFolders...); errors.Is(err, ErrExists) {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening an account: %w", imapError(err))
	}
	return imapAccount{i.s, login}, nil
}

func imapStatus(st Status) imapd.Status {
	return imapd.Status{
		Name: st.Name, Use: st.Use, Subscribed: st.Subscribed, Validity: st.Validity, Next: st.Next,
		Messages: st.Messages, Unseen: st.Unseen, RecentFrom: st.RecentFrom, Octets: st.Octets,
	}
}

func imapMessage(uid uint32, m *message) imapd.Message {
	return imapd.Message{UID: uid, Size: m.size(), Date: time.Unix(m.date, 0).UTC(), Flags: m.flagNames()}
}

func (a imapAccount) Mailboxes() ([]imapd.Status, error) {
	boxes, err := a.s.Mailboxes(a.login)
	list := make([]imapd.Status, len(boxes))
	for i, st := range boxes {
		list[i] = imapStatus(st)
	}
	return list, imapError(err)
}

func (a imapAccount) Status(name string, recent bool) (imapd.Status, error) {
	box, err := a.s.Mailbox(a.login, name)
	if err != nil {
		return imapd.Status{}, imapError(err)
	}
	defer box.Close()
	found, err := box.Status()
	st := imapStatus(found)
	if err == nil && recent && st.RecentFrom < st.Next {
		err = box.list(st.RecentFrom, math.MaxUint32, func(uint32, *message) bool { st.Recent++; return true })
	}
	return st, imapError(err)
}

func (a imapAccount) Create(name, use string) error {
	return imapError(a.s.CreateMailbox(a.login, Folder{Name: name, Use: use}))
}

func (a imapAccount) Delete(name string) error { return imapError(a.s.DeleteMailbox(a.login, name)) }

func (a imapAccount) Rename(from, to string) error {
	return imapError(a.s.RenameMailbox(a.login, from, to))
}

func (a imapAccount) Subscribe(name string, subscribed bool) error {
	return imapError(a.s.Subscribe(a.login, name, subscribed))
}

func (a imapAccount) Append(ctx context.Context, name string, m imapd.NewMessage, body io.Reader, size int64) (
	validity, uid uint32, err error) {
	// APPEND makes no mailbox (RFC 3501 section 6.3.11), and a delivery would.
	box, err := a.s.Mailbox(a.login, name)
	if err != nil {
		return 0, 0, imapError(err)
	}
	defer box.Close()
	if err := a.s.Fits(a.login, size); err != nil {
		return 0, 0, imapError(err)
	}
	staged, err := a.s.Stage(body)
	if err != nil {
		return 0, 0, imapError(err)
	}
	defer staged.Abort()
	if staged.Octets() != size {
		return 0, 0, fmt.Errorf("appending: %w", io.ErrUnexpectedEOF)
	}
	to := []Recipient{{Login: a.login, Mailbox: name, Flags: m.Flags, Date: m.Date}}
	if err := staged.Put(ctx, to); err != nil {
		return 0, 0, imapError(err)
	}
	return to[0].Validity, to[0].UID, nil
}

func (a imapAccount) Quota() (used, limit int64, err error) {
	err = a.s.change(a.login, func(a *account, _ *pebble.Batch) (func(), error) {
		used = a.octets()
		return nil, nil
	})
	return used, a.s.o.Quotas.of(a.login), imapError(err)
}

func (a imapAccount) Open(name string) (imapd.Mailbox, error) {
	box, err := a.s.Mailbox(a.login, name)
	if err != nil {
		return nil, imapError(err)
	}
	return imapMailbox{box}, nil
}

func (i imapMailbox) Watch(w imapd.Watcher, write bool, each func(imapd.Message)) (imapd.Status, error) {
	st, err := i.m.watch(w, write, func(uid uint32, m *message) { each(imapMessage(uid, m)) })
	return imapStatus(st), imapError(err)
}

func (i imapMailbox) Messages(first, last uint32, each func(imapd.Message) bool) error {
	return imapError(i.m.list(first, last, func(uid uint32, m *message) bool { return each(imapMessage(uid, m)) }))
}

func (i imapMailbox) Message(uid uint32) (imapd.Message, error) {
	m, err := i.m.message(uid)
	if err != nil {
		return imapd.Message{}, imapError(err)
	}
	return imapMessage(uid, m), nil
}

func (i imapMailbox) Body(uid uint32) (imapd.Body, error) {
	r, err := i.m.Open(uid)
	if err != nil {
		return nil, imapError(err)
	}
	return imapBody{r}, nil
}

func (i imapMailbox) Change(uids []uint32, how imapd.FlagChange, flags []string, silent imapd.Watcher) (
	[]imapd.Message, error) {
	changed, err := i.m.changeFlags(uids, how, flags, silent)
	list := make([]imapd.Message, len(changed))
	for n, e := range changed {
		list[n] = imapMessage(e.uid, e.msg)
	}
	return list, imapError(err)
}

func (i imapMailbox) Remove(uids []uint32) error {
	_, err := i.m.remove(uids)
	return imapError(err)
}

func (i imapMailbox) Transfer(uids []uint32, to string, move bool) (imapd.Copied, error) {
	copied, err := i.m.transfer(uids, to, move)
	return copied, imapError(err)
}

func (i imapMailbox) Close() error { return i.m.Close() }

func (b imapBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	return n, imapError(err)
}

func (b imapBody) WriteTo(w io.Writer) (int64, error) {
	n, err := b.Reader.WriteTo(w)
	return n, imapError(err)
}

func (b imapBody) Check(whole bool) error { return imapError(b.Reader.Check(whole)) }
