// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
)

// IMAPSource is another storage, like that of go-imap-sql.
type IMAPSource interface {
	GetIMAPAcct(username string) (imapbackend.User, error)
	ListIMAPAccts() ([]string, error)
}

// ImportIMAP copies the accounts of another storage, with their mailboxes,
// flags, dates, UIDs and UIDVALIDITY, so that mail programs notice nothing.
// Accounts that are missing are made. Run again, it goes on where it ended:
// messages whose UID is there already are left out. With newUIDs messages get
// new UIDs instead, which works where there is mail already, once.
func ImportIMAP(ctx context.Context, to Importer, from IMAPSource, newUIDs bool, progress func()) error {
	logins, err := from.ListIMAPAccts()
	if err != nil {
		return fmt.Errorf("listing the accounts to import: %w", err)
	}
	for _, login := range logins {
		if err := to.CreateAccount(login, DefaultFolders...); err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		if err := importAccount(ctx, to, from, login, newUIDs, progress); err != nil {
			return fmt.Errorf("importing %s: %w", login, err)
		}
	}
	return nil
}

func importAccount(
	ctx context.Context, to Importer, from IMAPSource, login string, newUIDs bool, progress func(),
) error {
	user, err := from.GetIMAPAcct(login)
	if err != nil {
		return err
	}
	defer user.Logout()
	boxes, err := user.ListMailboxes(false)
	if err != nil {
		return err
	}
	for _, info := range boxes {
		status, err := user.Status(info.Name, []imap.StatusItem{imap.StatusUidValidity, imap.StatusUidNext})
		if err != nil {
			return err
		}
		_, box, err := user.GetMailbox(info.Name, true, nil)
		if err != nil {
			return err
		}
		r := Recipient{Login: login, Mailbox: info.Name}
		if !newUIDs {
			r.Validity, r.Next = status.UidValidity, status.UidNext
		}
		err = importMailbox(ctx, to, box, r, progress)
		if err = errors.Join(err, box.Close()); err != nil {
			return fmt.Errorf("%s: %w", info.Name, err)
		}
	}
	return nil
}

func importMailbox(ctx context.Context, to Importer, box imapbackend.Mailbox, r Recipient, progress func()) error {
	all := new(imap.SeqSet)
	all.AddRange(1, math.MaxUint32)
	list, err := ask(box, all, []imap.FetchItem{imap.FetchUid, imap.FetchFlags, imap.FetchInternalDate})
	if err != nil {
		return err
	}
	whole := &imap.BodySectionName{Peek: true}
	next := r.Next
	for i, m := range list {
		one := new(imap.SeqSet)
		one.AddNum(m.Uid)
		found, err := ask(box, one, []imap.FetchItem{whole.FetchItem()})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue // removed meanwhile
		}
		for _, body := range found[0].Body {
			r := r
			r.Flags, r.Date, r.Next = m.Flags, m.InternalDate, 0
			if r.Validity != 0 {
				r.UID = m.Uid
			}
			if i == len(list)-1 {
				r.Next = next
			}
			err := to.Import(ctx, r, body, int64(body.Len()))
			if err != nil && !errors.Is(err, ErrExists) {
				return fmt.Errorf("UID %d: %w", m.Uid, err)
			}
		}
		progress()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ask lists messages, sorted as the storage gives them: by UID.
func ask(box imapbackend.Mailbox, set *imap.SeqSet, items []imap.FetchItem) (list []*imap.Message, err error) {
	found, failed := make(chan *imap.Message, 64), make(chan error, 1)
	go func() { failed <- box.ListMessages(true, set, items, found) }() // ends with ListMessages, which closes found
	for m := range found {
		list = append(list, m)
	}
	return list, <-failed
}
