// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
)

const (
	// maxLoading is how many messages are being read out of an IMAP backend at
	// once: it hands each over whole, in memory. Further clients wait.
	maxLoading = 4
	// spoolAbove is the octets above which a loaded message waits for its
	// client in an unnamed temporary file instead of memory.
	spoolAbove = 128 << 10
	// deleteAttempts is how often a deletion is tried: SQLite may say "database
	// is locked", and PostgreSQL that it could not serialize one beside the
	// deliveries into the same mailbox. The pause between attempts doubles, up to
	// deletePauseMost, and each pause is a random part of that, so that the
	// attempts do not meet the same deliveries again and again.
	deleteAttempts  = 10
	deletePause     = 50 * time.Millisecond
	deletePauseMost = time.Second

	inbox = "INBOX"
	// graveyard is the mailbox that deleted messages pass through; it exists
	// for moments only.
	graveyard = "POP3 deletion in progress"
)

// imapAccounts is what Accounts needs of maddy's module.Storage.
type imapAccounts interface {
	GetOrCreateIMAPAcct(username string) (imapbackend.User, error)
}

// Accounts serves the INBOX of each account of an IMAP storage as a maildrop.
//
// A UIDL is UIDVALIDITY and UID, which the storage never gives out twice.
// Sizes are the storage's, exact for whatever came by SMTP; only a body that an
// IMAP client appended with bare LFs is sent longer, by their CRs.
// Neither reading nor listing changes a flag. Messages are deleted by UID
// MOVE out of INBOX, one transaction that takes exactly the marked ones and
// tells IMAP sessions; IMAP's EXPUNGE would take every message that has
// \Deleted, also those that only an IMAP client marked. The mailbox they are
// moved to is then removed.
type Accounts struct {
	storage imapAccounts
	loading chan struct{}
}

// NewAccounts returns the maildrops of a storage.
func NewAccounts(storage imapAccounts) *Accounts {
	return &Accounts{storage: storage, loading: make(chan struct{}, maxLoading)}
}

// Open lists the INBOX of login, creating the account at its first sign-in as
// maddy's IMAP endpoint does.
func (a *Accounts) Open(_ context.Context, login string) (Maildrop, error) {
	user, err := a.storage.GetOrCreateIMAPAcct(login)
	if err != nil {
		return nil, fmt.Errorf("opening account: %w", err)
	}
	d := &imapMaildrop{accounts: a, user: user}
	if err := d.list(); err != nil {
		_ = user.Logout()
		return nil, err
	}
	return d, nil
}

type imapMessage struct{ uid, size uint32 }

type imapMaildrop struct {
	accounts *Accounts
	user     imapbackend.User
	box      imapbackend.Mailbox
	validity uint32
	messages []imapMessage // by UID
}

func (d *imapMaildrop) list() error {
	status, err := d.user.Status(inbox, []imap.StatusItem{imap.StatusUidValidity})
	if err != nil {
		return fmt.Errorf("reading UIDVALIDITY: %w", err)
	}
	d.validity = status.UidValidity
	// Without a connection the mailbox takes no part in \Recent.
	if _, d.box, err = d.user.GetMailbox(inbox, true, nil); err != nil {
		return fmt.Errorf("opening mailbox: %w", err)
	}
	everything := new(imap.SeqSet)
	everything.AddRange(1, math.MaxUint32)
	found, failed := make(chan *imap.Message, 64), make(chan error, 1)
	go func() { // ends with ListMessages, which closes found
		failed <- d.box.ListMessages(true, everything, []imap.FetchItem{imap.FetchUid, imap.FetchRFC822Size}, found)
	}()
	for m := range found {
		d.messages = append(d.messages, imapMessage{m.Uid, m.Size})
	}
	if err := <-failed; err != nil {
		_ = d.box.Close()
		return fmt.Errorf("listing mailbox: %w", err)
	}
	slices.SortFunc(d.messages, func(a, b imapMessage) int { return cmp.Compare(a.uid, b.uid) })
	return nil
}

func (d *imapMaildrop) Count() int       { return len(d.messages) }
func (d *imapMaildrop) Size(n int) int64 { return int64(d.messages[n-1].size) }

func (d *imapMaildrop) UIDL(n int) string {
	return strconv.FormatUint(uint64(d.validity), 10) + "." + strconv.FormatUint(uint64(d.messages[n-1].uid), 10)
}

// Open loads a message, as an IMAP backend offers nothing else, and lets go of
// that memory before the client, who may be slow, is waited for.
func (d *imapMaildrop) Open(ctx context.Context, n int, _ bool) (io.ReadCloser, error) {
	select {
	case d.accounts.loading <- struct{}{}:
		defer func() { <-d.accounts.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	uid := new(imap.SeqSet)
	uid.AddNum(d.messages[n-1].uid)
	found := make(chan *imap.Message, 1) // a UID names one message at most
	whole := &imap.BodySectionName{Peek: true}
	if err := d.box.ListMessages(true, uid, []imap.FetchItem{whole.FetchItem()}, found); err != nil {
		return nil, fmt.Errorf("loading message: %w", err)
	}
	m := <-found
	if m == nil {
		return nil, errors.New("loading message: it is gone")
	}
	var body imap.Literal
	for _, body = range m.Body { // the one section asked for
	}
	switch {
	case body == nil:
		return nil, errors.New("loading message: it has no body")
	case body.Len() <= spoolAbove:
		return io.NopCloser(body), nil
	default:
		return spool(body)
	}
}

// spool puts a message into a file that is gone when it is closed.
func spool(body io.Reader) (io.ReadCloser, error) {
	file, err := os.CreateTemp("", "chmail-pop3-")
	if err != nil {
		return nil, fmt.Errorf("spooling message: %w", err)
	}
	if err = os.Remove(file.Name()); err == nil {
		if _, err = io.Copy(file, body); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("spooling message: %w", err)
	}
	return file, nil
}

// Delete can be repeated: messages that are gone already are no failure.
func (d *imapMaildrop) Delete(ctx context.Context, numbers []int) error {
	uids := new(imap.SeqSet)
	for _, n := range numbers {
		uids.AddNum(d.messages[n-1].uid)
	}
	if err := retry(ctx, func() error { return d.bury(uids) }); err != nil {
		return fmt.Errorf("deleting messages: %w", err)
	}
	// They are out of the maildrop. What fails here leaves them in the
	// graveyard, which the next deletion removes.
	_ = retry(ctx, func() error { return d.user.DeleteMailbox(graveyard) })
	return nil
}

// bury moves the messages out of INBOX, all or none.
func (d *imapMaildrop) bury(uids *imap.SeqSet) error {
	// With a connection the mailbox tells IMAP sessions what it removes.
	status, box, err := d.user.GetMailbox(inbox, true, deaf{})
	if err != nil {
		return err
	}
	defer box.Close()
	if status.UidValidity != d.validity {
		return errors.New("UIDVALIDITY changed during the session")
	}
	if status.Messages == 0 {
		return nil
	}
	mover, ok := box.(imapbackend.MoveMailbox)
	if !ok {
		return errors.New("the storage cannot move messages")
	}
	_, grave, err := d.user.GetMailbox(graveyard, true, nil)
	switch {
	case errors.Is(err, imapbackend.ErrNoSuchMailbox):
		if err := d.user.CreateMailbox(graveyard); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		_ = grave.Close()
	}
	return mover.MoveMessages(true, &imap.SeqSet{Set: slices.Clone(uids.Set)}, graveyard)
}

func (d *imapMaildrop) Close() error {
	return errors.Join(d.box.Close(), d.user.Logout())
}

func retry(ctx context.Context, try func() error) error {
	pause := deletePause
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil || attempt == deleteAttempts {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
			pause = min(2*pause, deletePauseMost)
		case <-ctx.Done():
			return err
		}
	}
}

// deaf is an IMAP connection that nobody reads.
type deaf struct{}

func (deaf) SendUpdate(imapbackend.Update) error { return nil }
