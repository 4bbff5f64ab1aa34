// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/imapd"
	"github.com/cockroachdb/pebble/v2"
)

const (
	// Inbox is the mailbox that mail is delivered to; every account has it.
	Inbox = imapd.Inbox
	// Separator is between the levels of mailbox names.
	Separator = imapd.Separator
	// maxName is the octets of a login or of a mailbox's name.
	maxName = 1000
)

// Folder is a mailbox to make with an account.
type Folder struct{ Name, Use string }

// DefaultFolders are what mail programs look for (RFC 6154).
var DefaultFolders = []Folder{
	{"Archive", `\Archive`}, {"Drafts", `\Drafts`}, {"Junk", `\Junk`}, {"Sent", `\Sent`}, {"Trash", `\Trash`},
}

// account is one login's, loaded or on its way to be. Whoever has it from
// Store.account gives it back with Store.release.
type account struct {
	login string
	refs  int           // guarded by Store.mu
	idle  *list.Element // likewise; set while refs is 0

	mu     sync.Mutex
	loaded bool
	exists bool
	id     uint64
	boxes  map[string]*mailbox // by name
}

// mailbox is one of an account, whose lock guards all but what never changes.
type mailbox struct {
	mailboxRecord
	counters
	name     string
	gone     bool                       // it was removed
	maildrop bool                       // a POP3 session holds it
	watchers map[imapd.Watcher]struct{} // IMAP sessions that have it selected
}

func (a *account) octets() (sum int64) {
	for _, box := range a.boxes {
		sum += box.octets
	}
	return sum
}

// box finds a mailbox; INBOX in any case (RFC 3501 section 5.1).
func (a *account) box(name string) (*mailbox, error) {
	if !a.exists {
		return nil, fmt.Errorf("%s: %w", a.login, ErrNoAccount)
	}
	if box := a.boxes[canonical(name)]; box != nil {
		return box, nil
	}
	return nil, fmt.Errorf("%q: %w", name, ErrNoMailbox)
}

func canonical(name string) string {
	if strings.EqualFold(name, Inbox) {
		return Inbox
	}
	return name
}

// account returns a login's account, which need not exist, loaded and locked.
func (s *Store) account(login string) (*account, error) {
	a := s.borrow(login)
	a.mu.Lock()
	if err := s.load(a); err != nil {
		a.mu.Unlock()
		s.release(a)
		return nil, err
	}
	return a, nil
}

// done unlocks an account and gives it back.
func (s *Store) done(a *account) {
	a.mu.Unlock()
	s.release(a)
}

func (s *Store) borrow(login string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[login]
	if a == nil {
		a = &account{login: login}
		s.accounts[login] = a
	}
	if a.refs++; a.idle != nil {
		s.idle.Remove(a.idle)
		a.idle = nil
	}
	return a
}

func (s *Store) release(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.refs--; a.refs > 0 {
		return
	}
	// With no one left who uses it, exists cannot change.
	if !a.exists {
		delete(s.accounts, a.login)
		return
	}
	a.idle = s.idle.PushBack(a)
	if s.idle.Len() > maxAccounts {
		oldest := s.idle.Remove(s.idle.Front()).(*account)
		delete(s.accounts, oldest.login)
	}
}

func (s *Store) load(a *account) error {
	if a.loaded {
		return nil
	}
	var id uint64
	exists, err := s.get(s.db, accountKey(a.login), func(v []byte) (err error) {
		id, _, err = decodeAccount(v)
		return err
	})
	var boxes map[string]*mailbox
	if err == nil && exists {
		boxes, err = s.loadMailboxes(s.db, id)
	}
	if err != nil {
		return fmt.Errorf("reading account %s: %w", a.login, err)
	}
	a.id, a.boxes, a.exists, a.loaded = id, boxes, exists, true
	return nil
}

// loadMailboxes reads the mailboxes of an account, by name.
func (s *Store) loadMailboxes(r pebble.Reader, account uint64) (map[string]*mailbox, error) {
	prefix := idKey(keyMailbox, account)
	boxes := make(map[string]*mailbox)
	err := s.each(r, prefix, after(prefix), func(key, value []byte) (enough bool, err error) {
		box := &mailbox{name: string(key[len(prefix):])}
		if box.mailboxRecord, err = decodeMailbox(value); err == nil {
			box.counters, err = s.loadCounters(r, box.id)
		}
		if err != nil {
			return false, fmt.Errorf("mailbox %q: %w", box.name, err)
		}
		boxes[box.name] = box
		return false, nil
	})
	return boxes, err
}

func (s *Store) loadCounters(r pebble.Reader, mailbox uint64) (c counters, err error) {
	found, err := s.get(r, idKey(keyCounters, mailbox), func(v []byte) (err error) {
		c, err = decodeCounters(v)
		return err
	})
	if err == nil && !found {
		err = errRecord
	}
	if err != nil {
		return counters{}, fmt.Errorf("counters: %w", err)
	}
	if c.epoch < s.epoch { // UIDs of before the crash may have been seen
		c.next += uint32(s.epoch-c.epoch) * uidSkip
		c.epoch = s.epoch
	}
	return c, nil
}

// eachAccount calls do for every account, in the order of their logins.
func (s *Store) eachAccount(do func(login string, id uint64) error) error {
	return s.eachOf(s.db, keyAccount, func(key, value []byte) error {
		login := string(key[1:])
		id, _, err := decodeAccount(value)
		if err == nil {
			err = do(login, id)
		}
		if err != nil {
			return fmt.Errorf("account %s: %w", login, err)
		}
		return nil
	})
}

// Accounts lists the logins, sorted.
func (s *Store) Accounts() ([]string, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var logins []string
	err := s.eachAccount(func(login string, _ uint64) error {
		logins = append(logins, login)
		return nil
	})
	return logins, err
}

// HasAccount says whether there is such an account.
func (s *Store) HasAccount(login string) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	a, err := s.account(login)
	if err != nil {
		return false, err
	}
	defer s.done(a)
	return a.exists, nil
}

// CreateAccount makes an account with INBOX and the given folders. Its error
// wraps ErrExists if the login has one.
func (s *Store) CreateAccount(login string, folders ...Folder) error {
	if !usable(login) {
		return fmt.Errorf("login %q: %w", login, ErrName)
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	a, err := s.account(login)
	if err != nil {
		return err
	}
	defer s.done(a)
	if a.exists {
		return fmt.Errorf("account %s: %w", login, ErrExists)
	}
	id, err := s.newID()
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(accountKey(login), encodeAccount(id, time.Now()), nil); err != nil {
		return err
	}
	boxes := make(map[string]*mailbox)
	for _, f := range append([]Folder{{Inbox, ""}}, folders...) {
		if boxes[f.Name], err = s.addMailbox(b, id, f); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("making account %s: %w", login, err)
	}
	a.id, a.boxes, a.exists = id, boxes, true
	return nil
}

// usable says whether a name can be part of a key and of a line.
func usable(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name,
		func(r rune) bool { return r < ' ' || r == 0x7F })
}

// addMailbox writes a new mailbox with b.
func (s *Store) addMailbox(b *pebble.Batch, account uint64, f Folder) (*mailbox, error) {
	if !usable(f.Name) {
		return nil, fmt.Errorf("mailbox %q: %w", f.Name, ErrName)
	}
	id, err := s.newID()
	if err != nil {
		return nil, err
	}
	validity, err := s.newValidity(b)
	if err != nil {
		return nil, err
	}
	box := &mailbox{
		name:          f.Name,
		mailboxRecord: mailboxRecord{id: id, validity: validity, use: f.Use, subscribed: true},
		counters:      counters{next: 1, recent: 1, epoch: s.epoch},
	}
	return box, errors.Join(
		b.Set(mailboxKey(account, f.Name), box.mailboxRecord.encode(), nil),
		b.Set(idKey(keyCounters, id), box.counters.encode(), nil))
}

// DeleteAccount removes an account and its mail. Sessions that have it open
// find it gone.
func (s *Store) DeleteAccount(login string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	a, err := s.account(login)
	if err != nil {
		return err
	}
	defer s.done(a)
	if !a.exists {
		return fmt.Errorf("account %s: %w", login, ErrNoAccount)
	}
	b := s.db.NewBatch()
	defer b.Close()
	err = b.Delete(accountKey(login), nil)
	for _, box := range a.boxes {
		err = errors.Join(err, trash(b, a.id, box))
	}
	if err = errors.Join(err, b.Commit(pebble.Sync)); err != nil {
		return fmt.Errorf("removing account %s: %w", login, err)
	}
	s.grew(login, -a.octets())
	for _, box := range a.boxes {
		box.gone = true
	}
	a.exists, a.boxes = false, nil
	s.wakeCleaner()
	return nil
}

// trash takes a mailbox out of its account; its messages go later.
func trash(b *pebble.Batch, account uint64, box *mailbox) error {
	return errors.Join(
		b.Delete(mailboxKey(account, box.name), nil),
		b.Delete(idKey(keyCounters, box.id), nil),
		b.Set(idKey(keyTrash, box.id), nil, nil))
}

// lockAll loads and locks the accounts of several logins, each named once.
func (s *Store) lockAll(logins []string) ([]*account, error) {
	all := make([]*account, 0, len(logins))
	for _, login := range logins {
		a, err := s.account(login)
		if err != nil {
			for _, a := range all {
				s.release(a)
			}
			return nil, err
		}
		a.mu.Unlock()
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *account) int { return cmp.Compare(a.login, b.login) })
	for _, a := range all {
		a.mu.Lock()
	}
	return all, nil
}
