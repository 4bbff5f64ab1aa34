// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
	imapserver "github.com/emersion/go-imap/server"
	namespace "github.com/foxcpp/go-imap-namespace"
)

// user is one IMAP connection's account.
type user struct {
	s     *Store
	login string

	mu   sync.Mutex
	open map[*imapMailbox]struct{} // selected; go-imap does not close them all
}

var (
	_ imapbackend.User            = (*user)(nil)
	_ imapbackend.AppendLimitUser = (*user)(nil)
	_ namespace.User              = (*user)(nil)
)

// SetAppendLimit bounds the octets of a message that IMAP's APPEND brings; 0,
// the default, is no bound.
func (s *Store) SetAppendLimit(octets uint32) { s.appendLimit.Store(octets) }

// AppendLimit is the octets that IMAP may append.
func (s *Store) AppendLimit() uint32 { return s.appendLimit.Load() }

// IMAPUser returns an account for an IMAP connection.
func (s *Store) IMAPUser(login string) (imapbackend.User, error) {
	there, err := s.HasAccount(login)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, ErrNoAccount
	}
	return &user{s: s, login: login, open: make(map[*imapMailbox]struct{})}, nil
}

// imapErrors are the errors that have a meaning in IMAP.
var imapErrors = []struct {
	ours, theirs error
}{
	{ErrNoMailbox, imapbackend.ErrNoSuchMailbox},
	{ErrExists, imapbackend.ErrMailboxAlreadyExists},
	{ErrInUse, no("INUSE", "A POP3 session has the mailbox open")}, // RFC 5530
	{ErrQuota, no("OVERQUOTA", "The account is over its quota")},
	{ErrTooLarge, no("OVERQUOTA", "The message is larger than the quota")},
	{ErrFull, no("UNAVAILABLE", "There is no room on the server just now")},
	{ErrDamaged, no("CORRUPTION", "Some of the mail is damaged on the server")},
	{ErrName, no("CANNOT", "Not a usable mailbox name")},
}

func no(code imap.StatusRespCode, text string) error {
	return &imap.ErrStatusResp{Resp: &imap.StatusResp{Type: imap.StatusRespNo, Code: code, Info: text}}
}

// answer puts an error into IMAP's words, and keeps the others' for the log.
func (u *user) answer(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range imapErrors {
		if errors.Is(err, e.ours) {
			if e.ours == ErrDamaged {
				u.s.o.Log.Error("mailstore: IMAP", "err", err, "login", u.login)
			}
			var status *imap.ErrStatusResp
			if errors.As(e.theirs, &status) { // each answer gets its own tag
				resp := *status.Resp
				return &imap.ErrStatusResp{Resp: &resp}
			}
			return e.theirs
		}
	}
	u.s.o.Log.Error("mailstore: IMAP", "err", err, "login", u.login)
	return no("SERVERBUG", "Internal error, try again later")
}

func (u *user) Username() string { return u.login }

func (u *user) CreateMessageLimit() *uint32 {
	limit := u.s.appendLimit.Load()
	if limit == 0 {
		return nil
	}
	return &limit
}

func (u *user) Namespaces() (personal, other, shared []namespace.Namespace, err error) {
	return []namespace.Namespace{{Prefix: "", Delimiter: Separator}}, nil, nil, nil
}

func (u *user) ListMailboxes(subscribed bool) ([]imap.MailboxInfo, error) {
	boxes, err := u.s.Mailboxes(u.login)
	if err != nil {
		return nil, u.answer(err)
	}
	parents := make(map[string]bool)
	for _, box := range boxes {
		if i := strings.LastIndex(box.Name, Separator); i > 0 {
			parents[box.Name[:i]] = true
		}
	}
	var list []imap.MailboxInfo
	for _, box := range boxes {
		if subscribed && !box.Subscribed {
			continue
		}
		info := imap.MailboxInfo{Delimiter: Separator, Name: box.Name, Attributes: []string{imap.HasNoChildrenAttr}}
		if parents[box.Name] {
			info.Attributes[0] = imap.HasChildrenAttr
		}
		if box.Use != "" {
			info.Attributes = append(info.Attributes, box.Use)
		}
		list = append(list, info)
	}
	return list, nil
}

func (u *user) Status(name string, items []imap.StatusItem) (*imap.MailboxStatus, error) {
	box, err := u.s.Mailbox(u.login, name)
	if err != nil {
		return nil, u.answer(err)
	}
	defer box.Close()
	st, err := box.Status()
	if err != nil {
		return nil, u.answer(err)
	}
	status := imap.NewMailboxStatus(name, items)
	st.fill(status)
	if st.RecentFrom < st.Next {
		err = box.list(st.RecentFrom, math.MaxUint32, func(uint32, *message) bool { status.Recent++; return true })
	}
	if limit := u.CreateMessageLimit(); limit != nil {
		status.AppendLimit = *limit
	}
	return status, u.answer(err)
}

func (st *Status) fill(status *imap.MailboxStatus) {
	status.Flags = []string{imap.SeenFlag, imap.AnsweredFlag, imap.FlaggedFlag, imap.DeletedFlag, imap.DraftFlag}
	status.PermanentFlags = append(slices.Clone(status.Flags), `\*`)
	status.Messages, status.Unseen = st.Messages, st.Unseen
	status.UidNext, status.UidValidity = st.Next, st.Validity
}

func (u *user) SetSubscribed(name string, subscribed bool) error {
	return u.answer(u.s.Subscribe(u.login, name, subscribed))
}

func (u *user) CreateMailbox(name string) error {
	return u.answer(u.s.CreateMailbox(u.login, Folder{Name: name}))
}

func (u *user) DeleteMailbox(name string) error {
	return u.answer(u.s.DeleteMailbox(u.login, name))
}

func (u *user) RenameMailbox(from, to string) error {
	return u.answer(u.s.RenameMailbox(u.login, from, to))
}

func (u *user) CreateMessage(
	name string, flags []string, date time.Time, body imap.Literal, _ imapbackend.Mailbox,
) error {
	if limit := u.CreateMessageLimit(); limit != nil && body.Len() > int(*limit) {
		return imapbackend.ErrTooBig
	}
	box, err := u.s.Mailbox(u.login, name) // APPEND makes none (RFC 3501 section 6.3.11)
	if err != nil {
		return u.answer(err)
	}
	defer box.Close()
	staged, err := u.s.Stage(body)
	if err != nil {
		return u.answer(err)
	}
	defer staged.Abort()
	ctx, cancel := context.WithTimeout(u.s.ctx, time.Minute)
	defer cancel()
	return u.answer(staged.Put(ctx, []Recipient{{Login: u.login, Mailbox: name, Flags: flags, Date: date}}))
}

func (u *user) GetMailbox(
	name string, readOnly bool, conn imapbackend.Conn,
) (*imap.MailboxStatus, imapbackend.Mailbox, error) {
	u.closeOthers(conn)
	box, err := u.s.Mailbox(u.login, name)
	if err != nil {
		return nil, nil, u.answer(err)
	}
	m := &imapMailbox{user: u, box: box, name: canonical(name), readOnly: readOnly,
		session: newSession(conn, !readOnly && conn != nil)}
	status := imap.NewMailboxStatus(m.name, []imap.StatusItem{
		imap.StatusMessages, imap.StatusRecent, imap.StatusUidNext, imap.StatusUidValidity, imap.StatusUnseen,
	})
	keywords := make(map[string]bool)
	var uids []uint32
	st, err := box.watch(m.session, m.session.write, func(uid uint32, msg *message) {
		uids = append(uids, uid)
		if msg.flags&flagSeen == 0 && status.UnseenSeqNum == 0 {
			status.UnseenSeqNum = uint32(len(uids))
		}
		for _, k := range msg.keywords {
			keywords[k] = true
		}
	})
	status.Recent = m.session.begin(uids, st)
	if err != nil {
		_ = box.Close()
		return nil, nil, u.answer(err)
	}
	st.fill(status)
	for k := range keywords {
		status.Flags = append(status.Flags, k)
		status.PermanentFlags = append(status.PermanentFlags, k)
	}
	status.ReadOnly = readOnly
	u.mu.Lock()
	u.open[m] = struct{}{}
	u.mu.Unlock()
	return status, m, nil
}

// closeOthers closes what a connection selected before: go-imap forgets it at
// CLOSE and UNSELECT without closing it.
func (u *user) closeOthers(conn imapbackend.Conn) {
	if _, ok := conn.(imapserver.Conn); !ok {
		return
	}
	u.mu.Lock()
	var old []*imapMailbox
	for m := range u.open {
		if m.session.conn == conn {
			old = append(old, m)
		}
	}
	u.mu.Unlock()
	for _, m := range old {
		_ = m.Close()
	}
}

// Logout closes what is still open.
func (u *user) Logout() error {
	u.mu.Lock()
	old := u.open
	u.open = make(map[*imapMailbox]struct{})
	u.mu.Unlock()
	for m := range old {
		_ = m.box.Close()
	}
	return nil
}
