// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"errors"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
)

// imapMailbox is a mailbox that one connection has selected.
type imapMailbox struct {
	user     *user
	box      *Mailbox
	name     string
	readOnly bool
	session  *session
	checked  uint64 // the last body that was compared with its checksum
}

var _ imapbackend.MoveMailbox = (*imapMailbox)(nil)

// errNoMessages: no message has these sequence numbers.
var errNoMessages = errors.New("no such messages")

func (m *imapMailbox) Name() string { return m.name }

func (m *imapMailbox) Info() (*imap.MailboxInfo, error) {
	return &imap.MailboxInfo{Delimiter: Separator, Name: m.name}, nil
}

// Conn is the connection that selected it.
func (m *imapMailbox) Conn() imapbackend.Conn { return m.session.conn }

func (m *imapMailbox) Close() error {
	u := m.user
	u.mu.Lock()
	_, open := u.open[m]
	delete(u.open, m)
	u.mu.Unlock()
	if !open {
		return nil
	}
	return m.box.Close()
}

func (m *imapMailbox) Poll(expunge bool) error {
	m.session.sync(m.box, expunge)
	return nil
}

func (m *imapMailbox) Idle(done <-chan struct{}) { m.session.idle(m.box, done) }

// resolve finds the messages of a set. UIDs that are not there are no error,
// sequence numbers are (RFC 3501 section 6.4.8).
func (m *imapMailbox) resolve(byUID bool, set *imap.SeqSet) ([]place, error) {
	found := m.session.resolve(byUID, set)
	if len(found) == 0 && !byUID {
		return nil, errNoMessages
	}
	return found, nil
}

func uidsAt(places []place) []uint32 {
	uids := make([]uint32, len(places))
	for i, p := range places {
		uids[i] = p.uid
	}
	return uids
}

func (m *imapMailbox) UpdateMessagesFlags(
	byUID bool, set *imap.SeqSet, op imap.FlagsOp, silent bool, flags []string,
) error {
	defer m.session.sync(m.box, byUID)
	places, err := m.resolve(byUID, set)
	if err != nil {
		return err
	}
	how := setFlags
	switch op {
	case imap.AddFlags:
		how = addFlags
	case imap.RemoveFlags:
		how = removeFlags
	}
	var quiet watcher
	if silent {
		quiet = m.session
	}
	_, err = m.box.changeFlags(uidsAt(places), how, flags, quiet)
	return m.user.answer(err)
}

func (m *imapMailbox) CopyMessages(byUID bool, set *imap.SeqSet, dest string) error {
	return m.transfer(byUID, set, dest, false)
}

func (m *imapMailbox) MoveMessages(byUID bool, set *imap.SeqSet, dest string) error {
	return m.transfer(byUID, set, dest, true)
}

func (m *imapMailbox) transfer(byUID bool, set *imap.SeqSet, dest string, move bool) error {
	defer m.session.sync(m.box, true)
	places, err := m.resolve(byUID, set)
	if err != nil {
		return err
	}
	return m.user.answer(m.box.transfer(uidsAt(places), dest, move))
}

// Expunge removes what is marked \Deleted, unless the mailbox was only examined.
func (m *imapMailbox) Expunge() error {
	if m.readOnly {
		return nil // CLOSE comes here as well (RFC 3501 section 6.4.2)
	}
	defer m.session.sync(m.box, true)
	var marked []uint32
	places := m.session.all()
	if len(places) == 0 {
		return nil
	}
	err := m.box.list(places[0].uid, places[len(places)-1].uid, func(uid uint32, msg *message) bool {
		if msg.flags&flagDeleted != 0 {
			marked = append(marked, uid)
		}
		return true
	})
	if err == nil && len(marked) > 0 {
		_, err = m.box.remove(marked)
	}
	return m.user.answer(err)
}
