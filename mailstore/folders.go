// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// maxMailboxes is how many mailboxes an account may have.
const maxMailboxes = 10_000

// Mailboxes lists an account's mailboxes by name, INBOX first.
func (s *Store) Mailboxes(login string) ([]Status, error) {
	var list []Status
	err := s.change(login, func(a *account, _ *pebble.Batch) (func(), error) {
		for _, box := range a.boxes {
			list = append(list, box.status())
		}
		return nil, nil
	})
	slices.SortFunc(list, func(a, b Status) int {
		if inboxes := cmp.Compare(boolInt(b.Name == Inbox), boolInt(a.Name == Inbox)); inboxes != 0 {
			return inboxes
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return list, err
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// change runs do under the lock of an account that is there, commits what it
// put into the batch, and then calls what it returned.
func (s *Store) change(login string, do func(*account, *pebble.Batch) (func(), error)) (err error) {
	defer s.rescue(&err)
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
		return fmt.Errorf("%s: %w", login, ErrNoAccount)
	}
	b := s.db.NewBatch()
	defer b.Close()
	finish, err := do(a, b)
	if err != nil {
		return err
	}
	if !b.Empty() {
		if err := b.Commit(pebble.Sync); err != nil {
			return fmt.Errorf("changing account %s: %w", login, err)
		}
	}
	if finish != nil {
		finish()
	}
	return nil
}

// CreateMailbox makes a mailbox and those above it that are missing (RFC 3501
// section 6.3.3). Its error wraps ErrExists if there is one of that name.
func (s *Store) CreateMailbox(login string, f Folder) error {
	f.Name = canonical(strings.TrimSuffix(f.Name, Separator))
	return s.change(login, func(a *account, b *pebble.Batch) (func(), error) {
		if a.boxes[f.Name] != nil {
			return nil, fmt.Errorf("%q: %w", f.Name, ErrExists)
		}
		fresh, err := s.addWithParents(b, a, f)
		return func() {
			for _, box := range fresh {
				a.boxes[box.name] = box
			}
		}, err
	})
}

func (s *Store) addWithParents(b *pebble.Batch, a *account, f Folder) ([]*mailbox, error) {
	missing, err := s.addParents(b, a, f.Name)
	if err != nil {
		return nil, err
	}
	box, err := s.addMailbox(b, a.id, f)
	return append(missing, box), err
}

// addParents writes the mailboxes above name that are missing.
func (s *Store) addParents(b *pebble.Batch, a *account, name string) ([]*mailbox, error) {
	var fresh []*mailbox
	parts := strings.Split(name, Separator)
	if slices.Contains(parts, "") {
		return nil, fmt.Errorf("mailbox %q: %w", name, ErrName)
	}
	if len(a.boxes)+len(parts) > maxMailboxes {
		return nil, fmt.Errorf("more than %d mailboxes: %w", maxMailboxes, ErrLimit)
	}
	for i := 1; i < len(parts); i++ {
		parent := canonical(strings.Join(parts[:i], Separator))
		if a.boxes[parent] != nil {
			continue
		}
		box, err := s.addMailbox(b, a.id, Folder{Name: parent})
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, box)
	}
	return fresh, nil
}

// DeleteMailbox removes a mailbox and its messages, but not those below it
// (RFC 3501 section 6.3.4). INBOX cannot be removed.
func (s *Store) DeleteMailbox(login, name string) error {
	return s.change(login, func(a *account, b *pebble.Batch) (func(), error) {
		box, err := a.box(name)
		if err != nil {
			return nil, err
		}
		if box.name == Inbox {
			return nil, fmt.Errorf("INBOX cannot be removed: %w", ErrName)
		}
		if box.maildrop {
			return nil, fmt.Errorf("%q: %w", name, ErrInUse)
		}
		return func() {
			delete(a.boxes, box.name)
			box.gone = true
			s.grew(login, -box.counters.octets)
			s.wakeCleaner()
		}, trash(b, a.id, box)
	})
}

// RenameMailbox gives a mailbox and those below it another name. Renaming INBOX
// moves its messages and leaves it empty (RFC 3501 section 6.3.5).
func (s *Store) RenameMailbox(login, from, to string) error {
	from, to = canonical(from), canonical(strings.TrimSuffix(to, Separator))
	return s.change(login, func(a *account, b *pebble.Batch) (func(), error) {
		box, err := a.box(from)
		if err != nil {
			return nil, err
		}
		if a.boxes[to] != nil {
			return nil, fmt.Errorf("%q: %w", to, ErrExists)
		}
		if strings.HasPrefix(to, from+Separator) && from != Inbox {
			return nil, fmt.Errorf("%q lies below %q: %w", to, from, ErrName)
		}
		if box.maildrop {
			return nil, fmt.Errorf("%q: %w", from, ErrInUse)
		}
		fresh, err := s.addParents(b, a, to)
		if err != nil {
			return nil, err
		}
		names := map[*mailbox]string{box: to}
		if from == Inbox {
			// The mailbox goes on under its new name; a new one becomes INBOX.
			inbox, err := s.addMailbox(b, a.id, Folder{Name: Inbox})
			if err != nil {
				return nil, err
			}
			fresh = append(fresh, inbox)
		} else {
			for name, below := range a.boxes {
				if rest, ok := strings.CutPrefix(name, from+Separator); ok {
					names[below] = to + Separator + rest
				}
			}
		}
		for box, name := range names {
			if !usable(name) {
				return nil, fmt.Errorf("mailbox %q: %w", name, ErrName)
			}
			if box.name != Inbox {
				err = errors.Join(err, b.Delete(mailboxKey(a.id, box.name), nil))
			}
			err = errors.Join(err, b.Set(mailboxKey(a.id, name), box.mailboxRecord.encode(), nil))
		}
		return func() {
			for box := range names {
				delete(a.boxes, box.name)
			}
			for box, name := range names {
				box.name = name
				a.boxes[name] = box
			}
			for _, box := range fresh {
				a.boxes[box.name] = box
			}
		}, err
	})
}

// Subscribe notes whether a mailbox is subscribed (RFC 3501 section 6.3.6).
func (s *Store) Subscribe(login, name string, subscribed bool) error {
	return s.change(login, func(a *account, b *pebble.Batch) (func(), error) {
		box, err := a.box(name)
		if err != nil {
			return nil, err
		}
		record := box.mailboxRecord
		record.subscribed = subscribed
		return func() { box.mailboxRecord = record }, b.Set(mailboxKey(a.id, box.name), record.encode(), nil)
	})
}
