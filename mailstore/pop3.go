// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/chmail/chmail/pop3d"
)

// Maildrops serves INBOX of each account to POP3. Opening one and STAT read
// counters only; the messages are listed when one of them is first asked for.
type Maildrops struct{ s *Store }

var (
	_ pop3d.Maildrops  = Maildrops{}
	_ pop3d.Maildrop   = (*maildrop)(nil)
	_ pop3d.LateLister = (*maildrop)(nil)
)

// Maildrops are the store's.
func (s *Store) Maildrops() Maildrops { return Maildrops{s} }

// Open takes the INBOX of login as a maildrop; a login without an account gets one.
func (d Maildrops) Open(_ context.Context, login string) (pop3d.Maildrop, error) {
	box, err := d.s.Mailbox(login, Inbox)
	if errors.Is(err, ErrNoAccount) {
		if err = d.s.CreateAccount(login, DefaultFolders...); err == nil || errors.Is(err, ErrExists) {
			box, err = d.s.Mailbox(login, Inbox)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a maildrop: %w", err)
	}
	status, err := box.Hold()
	if err != nil {
		_ = box.Close()
		if errors.Is(err, ErrInUse) {
			err = fmt.Errorf("%w: %w", pop3d.ErrInUse, err)
		}
		return nil, fmt.Errorf("opening a maildrop: %w", err)
	}
	return &maildrop{box: box, status: status}, nil
}

// maildrop is an INBOX as it was when opened: it is held, so no message of
// then goes, and those that come have higher UIDs.
type maildrop struct {
	box      *Mailbox
	status   Status
	messages []pop3Message // nil: not listed yet
}

type pop3Message struct {
	uid  uint32
	size int64
}

func (d *maildrop) Count() int   { return int(d.status.Messages) }
func (d *maildrop) Total() int64 { return d.status.Octets }

// List reads the index of the messages.
func (d *maildrop) List(context.Context) error {
	if d.messages != nil || d.status.Messages == 0 {
		return nil
	}
	messages := make([]pop3Message, 0, d.status.Messages)
	err := d.box.list(0, d.status.Next-1, func(uid uint32, m *message) bool {
		messages = append(messages, pop3Message{uid, m.wireSize()})
		return true
	})
	if err != nil {
		return fmt.Errorf("listing a maildrop: %w", err)
	}
	if len(messages) != int(d.status.Messages) { // some cannot be read: the others can
		d.status.Messages, d.status.Octets = uint32(len(messages)), 0
		for _, m := range messages {
			d.status.Octets += m.size
		}
	}
	d.messages = messages
	return nil
}

func (d *maildrop) Size(n int) int64 { return d.messages[n-1].size }

func (d *maildrop) UIDL(n int) string {
	return strconv.FormatUint(uint64(d.status.Validity), 10) + "." + strconv.FormatUint(uint64(d.messages[n-1].uid), 10)
}

func (d *maildrop) Open(_ context.Context, n int, whole bool) (io.ReadCloser, error) {
	r, err := d.box.Open(d.messages[n-1].uid)
	if err == nil {
		err = r.Check(whole)
	}
	if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w: %w", pop3d.ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (d *maildrop) Delete(_ context.Context, numbers []int) error {
	uids := make([]uint32, len(numbers))
	for i, n := range numbers {
		uids[i] = d.messages[n-1].uid
	}
	_, err := d.box.remove(uids)
	return err
}

func (d *maildrop) Close() error { return d.box.Close() }
