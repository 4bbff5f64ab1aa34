// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Recipient is where one copy of a message goes.
type Recipient struct {
	Login   string
	Mailbox string // empty: INBOX; made when missing
	// Use finds the mailbox by its special use instead, like \Junk; where no
	// mailbox has it, Mailbox is made with it.
	Use   string
	Flags []string // system flags and keywords
	// Prefix is header fields put before the body in this copy, with CRLFs.
	Prefix []byte
	Date   time.Time // INTERNALDATE; now if zero
	// Once, if not empty, names a message that the login gets once: putting it
	// again within onceKept is harmless.
	Once string
	// UID and Validity are an imported message's: those of the mailbox it is
	// put into are set so that they fit, and its UIDNEXT to Next at the least.
	// Zero: the next UID. When the message is put, they are its own.
	UID, Validity, Next uint32
}

// RecipientError says which recipient kept a message from all.
type RecipientError struct {
	Login string
	Err   error
}

func (e *RecipientError) Error() string { return e.Login + ": " + e.Err.Error() }
func (e *RecipientError) Unwrap() error { return e.Err }

// Fits says whether size octets can be delivered to login now: nil, or an
// error that wraps ErrNoAccount, ErrQuota, ErrTooLarge or ErrFull. It does not
// reserve them.
func (s *Store) Fits(login string, size int64) error {
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
	if err := s.fits(a, size); err != nil {
		return err
	}
	return s.room(size, false)
}

// Put puts the body into the mailboxes of all recipients, each login named
// once, or of none. It returns when that is synced. An error that is about one
// recipient is a *RecipientError.
func (st *Staged) Put(ctx context.Context, to []Recipient) (err error) {
	s := st.store
	defer s.rescue(&err)
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.room(st.meter.octets, true); err != nil {
		return err
	}
	select {
	case s.unsynced <- struct{}{}:
		defer func() { <-s.unsynced }()
	case <-ctx.Done():
		return ctx.Err()
	}
	start := time.Now()
	logins := make([]string, len(to))
	for i := range to {
		logins[i] = to[i].Login
	}
	accounts, err := s.lockAll(logins)
	if err != nil {
		return err
	}
	b := s.db.NewBatchWithSize(int(st.meter.octets) + 256*(1+len(to)))
	defer b.Close()
	if err := st.apply(b, accounts, to); errors.Is(err, errAllThere) {
		return nil
	} else if err != nil {
		return err
	}
	st.kept = true
	if err := b.SyncWait(); err != nil {
		return fmt.Errorf("syncing a delivery: %w", err)
	}
	metricDelivered.Add(float64(len(to)))
	metricDeliveredOctets.Add(float64(st.meter.octets))
	metricCommit.Observe(time.Since(start).Seconds())
	return nil
}

// apply makes the batch and shows it, under the accounts' locks, and gives the
// accounts back.
func (st *Staged) apply(b *pebble.Batch, accounts []*account, to []Recipient) error {
	s := st.store
	defer func() {
		for _, a := range accounts {
			s.done(a)
		}
	}()
	now := time.Now()
	to, err := s.marked(b, to, now)
	if err != nil {
		return err
	}
	if err := st.write(b, len(to)); err != nil {
		return err
	}
	var finish []func() // what becomes true with the batch
	for i := range to {
		r := &to[i]
		a := accounts[slices.IndexFunc(accounts, func(a *account) bool { return a.login == r.Login })]
		m := st.message(len(to))
		m.prefix = r.Prefix
		m.saved = now.Unix()
		m.date = m.saved
		if !r.Date.IsZero() {
			m.date = r.Date.Unix()
		}
		m.flags, m.keywords = parseFlags(r.Flags)
		done, err := s.put(b, a, r, m)
		if err != nil {
			return &RecipientError{Login: r.Login, Err: err}
		}
		finish = append(finish, done)
	}
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return fmt.Errorf("writing a delivery: %w", err)
	}
	for _, done := range finish {
		done()
	}
	return nil
}

// put adds one message of one recipient to b, and returns what is to be done
// when b is applied.
func (s *Store) put(b *pebble.Batch, a *account, r *Recipient, m *message) (func(), error) {
	if !a.exists {
		return nil, ErrNoAccount
	}
	if err := s.fits(a, m.wireSize()); err != nil {
		return nil, err
	}
	box, fresh, err := s.target(b, a, r)
	if err != nil {
		return nil, err
	}
	c := box.counters
	uid := c.next
	record := box.mailboxRecord
	if r.UID != 0 {
		if r.UID < c.next {
			return nil, fmt.Errorf("UID %d is in use: %w", r.UID, ErrExists)
		}
		if uid = r.UID; record.validity != r.Validity {
			if c.count > 0 || c.next > 1 {
				return nil, fmt.Errorf("%q: %w", box.name, ErrValidity)
			}
			record.validity = r.Validity
			if err := b.Set(mailboxKey(a.id, box.name), record.encode(), nil); err != nil {
				return nil, err
			}
		}
	}
	c.next = max(uid+1, r.Next)
	c.take(m, 1)
	if box.tellsRecent() {
		c.recent = c.next
	}
	if err := errors.Join(
		b.Set(messageKey(box.id, uid), m.encode(), nil),
		b.Set(idKey(keyCounters, box.id), c.encode(), nil)); err != nil {
		return nil, err
	}
	return func() {
		if fresh {
			a.boxes[box.name] = box
		}
		box.counters, box.mailboxRecord = c, record
		r.UID, r.Validity = uid, record.validity
		s.grew(a.login, m.wireSize())
		box.tellAdded([]uint32{uid})
	}, nil
}

// target finds the recipient's mailbox, or writes a new one with b.
func (s *Store) target(b *pebble.Batch, a *account, r *Recipient) (box *mailbox, fresh bool, err error) {
	if r.Use != "" {
		for _, box := range a.boxes {
			if strings.EqualFold(box.use, r.Use) {
				return box, false, nil
			}
		}
	}
	name := canonical(r.Mailbox)
	if name == "" {
		name = Inbox
	}
	if box := a.boxes[name]; box != nil {
		return box, false, nil
	}
	box, err = s.addMailbox(b, a.id, Folder{name, r.Use})
	return box, true, err
}

// take counts n messages like m in, or out where n is negative.
func (c *counters) take(m *message, n int) {
	c.count = uint32(int(c.count) + n)
	c.octets += int64(n) * m.wireSize()
	if m.flags&flagSeen == 0 {
		c.unseen = uint32(int(c.unseen) + n)
	}
}

func (box *mailbox) tellsRecent() bool {
	for w := range box.watchers {
		if w.TakesRecent() {
			return true
		}
	}
	return false
}

func (box *mailbox) tellAdded(uids []uint32) {
	given := false
	for w := range box.watchers {
		recent := !given && w.TakesRecent()
		given = given || recent
		w.Added(uids, recent)
	}
}

// systemFlags are the flags that are bits, by their names in lower case.
var systemFlags = map[string]uint16{
	`\seen`: flagSeen, `\answered`: flagAnswered, `\flagged`: flagFlagged, `\deleted`: flagDeleted, `\draft`: flagDraft,
}

// parseFlags takes flags apart; \Recent and other unknown system flags are
// left out.
func parseFlags(flags []string) (bits uint16, keywords []string) {
	for _, f := range flags {
		switch bit := systemFlags[strings.ToLower(f)]; {
		case bit != 0:
			bits |= bit
		case strings.HasPrefix(f, `\`) || f == "" || strings.ContainsAny(f, " \t\r\n"):
		case !hasKeyword(keywords, f):
			keywords = append(keywords, f)
		}
	}
	return bits, keywords
}

// hasKeyword compares as IMAP does: in any case (RFC 3501 section 2.3.2).
func hasKeyword(keywords []string, k string) bool {
	return slices.ContainsFunc(keywords, func(other string) bool { return strings.EqualFold(other, k) })
}

// flagNames is the flags of a message as IMAP writes them.
func (m *message) flagNames() []string {
	names := make([]string, 0, 5+len(m.keywords))
	for i, name := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
		if m.flags&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return append(names, m.keywords...)
}
