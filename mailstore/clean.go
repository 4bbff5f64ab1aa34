// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// cleanBatch is how many messages of a removed mailbox, or too old ones,
	// one batch removes.
	cleanBatch = 500
	// cleanRetry is the pause after a failure.
	cleanRetry = time.Minute
)

func (s *Store) wakeCleaner() {
	select {
	case s.sweep <- struct{}{}:
	default: // it is awake
	}
}

// clean removes what an earlier process left, and then the messages of removed
// mailboxes as they come, until the store closes.
func (s *Store) clean() {
	if err := s.removeOrphans(); err != nil && !errors.Is(err, ErrClosed) {
		s.o.Log.Error("mailstore: looking for orphans", "err", err)
	}
	if err := s.forgetOnce(time.Now()); err != nil {
		s.o.Log.Error("mailstore: forgetting what came once", "err", err)
	}
	for {
		err := s.emptyTrash()
		var again <-chan time.Time
		if err != nil && s.ctx.Err() == nil {
			s.o.Log.Error("mailstore: emptying removed mailboxes", "err", err)
			again = time.After(cleanRetry)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.sweep:
		case <-again:
		}
	}
}

// removeOrphans removes the files of earlier processes that no index names.
func (s *Store) removeOrphans() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.eachFile(func(id uint64, path string) error {
		if s.closed.Load() {
			return ErrClosed
		}
		if id >= s.first {
			return nil
		}
		named, err := s.has(idKey(keyFile, id))
		if err != nil || named {
			return err
		}
		metricOrphans.Inc()
		return s.fs.Remove(path)
	})
}

func (s *Store) has(key []byte) (bool, error) {
	return s.get(s.db, key, func([]byte) error { return nil })
}

func (s *Store) emptyTrash() error {
	for {
		more, err := s.emptySome()
		if err != nil || !more {
			return err
		}
	}
}

// emptySome removes some messages of one removed mailbox.
func (s *Store) emptySome() (more bool, err error) {
	defer s.rescue(&err)
	if err := s.enter(); err != nil {
		return false, nil // closed: the next start goes on
	}
	defer s.leave()
	var box uint64
	err = s.each(s.db, []byte{keyTrash}, []byte{keyTrash + 1}, func(key, _ []byte) (enough bool, err error) {
		box = idOf(key)
		return true, nil
	})
	if err != nil || box == 0 {
		return false, err
	}
	var found []entry
	err = s.scan(s.db, box, 0, math.MaxUint32, func(uid uint32, m *message) bool {
		found = append(found, entry{uid, m})
		return len(found) < cleanBatch
	}, nil) // a removed mailbox has no counters
	if err != nil {
		return false, err
	}
	files, err := s.removeTrash(box, found)
	if err == nil {
		s.removeFiles(files)
	}
	return true, err
}

// removeTrash removes messages of a removed mailbox, and the mailbox with the
// last of them. The files are to be removed then.
func (s *Store) removeTrash(box uint64, found []entry) (files []uint64, err error) {
	b := s.db.NewBatch()
	defer b.Close()
	counts := make(map[uint64]int)
	s.shared.Lock()
	defer s.shared.Unlock()
	for _, e := range found {
		file, dropErr := s.drop(b, e.msg, counts)
		if file != 0 {
			files = append(files, file)
		}
		err = errors.Join(err, dropErr, b.Delete(messageKey(box, e.uid), nil))
	}
	if len(found) < cleanBatch {
		err = errors.Join(err, b.Delete(idKey(keyTrash, box), nil))
	}
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	return files, err
}

// Expire removes from the mailboxes of all accounts that match the messages
// that came into them before a time, except those that are \Flagged and those
// of a maildrop that is in use, and says how many. It ends early with ctx.
func (s *Store) Expire(
	ctx context.Context, before time.Time, match func(name, use string) bool,
) (removed int, err error) {
	logins, err := s.Accounts()
	if err != nil {
		return 0, err
	}
	for _, login := range logins {
		boxes, listErr := s.Mailboxes(login)
		for _, box := range boxes {
			if ctx.Err() != nil {
				return removed, ctx.Err()
			}
			if box.Messages == 0 || !match(box.Name, box.Use) {
				continue
			}
			n, expireErr := s.expire(login, box.Name, before)
			removed += n
			err = errors.Join(err, expireErr)
		}
		if !errors.Is(listErr, ErrNoAccount) { // removed meanwhile
			err = errors.Join(err, listErr)
		}
	}
	metricExpired.Add(float64(removed))
	return removed, err
}

func (s *Store) expire(login, name string, before time.Time) (removed int, err error) {
	box, err := s.Mailbox(login, name)
	if errors.Is(err, ErrNoMailbox) || errors.Is(err, ErrNoAccount) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer box.Close()
	for from := uint32(0); ; {
		var old []uint32
		more := false
		// UIDs rise as messages come in: behind the first young one all are young.
		err := box.list(from, math.MaxUint32, func(uid uint32, m *message) bool {
			if m.saved >= before.Unix() {
				return false
			}
			if m.flags&flagFlagged == 0 {
				old = append(old, uid)
			}
			from = uid + 1
			more = len(old) == cleanBatch
			return !more
		})
		n := 0
		if err == nil {
			n, err = box.remove(old)
		}
		removed += n
		if errors.Is(err, ErrInUse) || errors.Is(err, ErrNoMailbox) {
			return removed, nil
		}
		if err != nil || !more {
			if err != nil {
				err = fmt.Errorf("expiring mail of %s in %s: %w", login, name, err)
			}
			return removed, err
		}
	}
}

// Named matches mailboxes by name or special use, in any case, for Expire.
func Named(names []string) func(name, use string) bool {
	return func(name, use string) bool {
		for _, n := range names {
			if strings.EqualFold(n, name) || use != "" && strings.EqualFold(`\`+n, use) {
				return true
			}
		}
		return false
	}
}
