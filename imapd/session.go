// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/presence"
)

// session is what the library asks to do on one connection. The connection's
// goroutine owns it; IDLE runs in another one, while that goroutine waits.
type session struct {
	c   *conn
	lib *imapserver.Conn

	failures int // refused sign-ins
	account  Account
	login    string
	signedIn *signin.Session
	unlink   func() bool // of the end of signedIn
	renewed  time.Time   // when presence was told last

	idled chan struct{} // Idle has ended
	view  *view         // the selected mailbox; nil: none is
	parts cache
}

var (
	_ imapserver.SessionNamespace   = (*session)(nil)
	_ imapserver.SessionMove        = (*session)(nil)
	_ imapserver.SessionSASL        = (*session)(nil)
	_ imapserver.SessionAppendLimit = (*session)(nil)
)

// Close lets go of everything, however the connection ended.
func (s *session) Close() error {
	s.awaitIdle()
	_ = s.Unselect()
	if s.signedIn != nil {
		s.unlink()
		s.signedIn.Close()
	}
	return nil
}

func no(code imap.ResponseCode, text string) *imap.Error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

func bad(text string) *imap.Error {
	return &imap.Error{Type: imap.StatusResponseTypeBad, Code: imap.ResponseCodeClientBug, Text: text}
}

// status is an error as a response says it.
func status(err error) string {
	var e *imap.Error
	if !errors.As(err, &e) {
		return "NO " + err.Error()
	}
	if e.Code == "" {
		return string(e.Type) + " " + e.Text
	}
	return fmt.Sprintf("%s [%s] %s", e.Type, e.Code, e.Text)
}

// Login implements imapserver.Session: it is the command LOGIN.
func (s *session) Login(login, password string) error {
	return s.signIn(signin.Attempt{Login: login, Password: password})
}

// signIn checks who it is and opens the account.
func (s *session) signIn(a signin.Attempt) error {
	srv := s.c.srv
	if !s.c.maySignIn() {
		return no(imap.ResponseCodePrivacyRequired, "Begin TLS first")
	}
	ctx, cancel := context.WithTimeout(srv.ctx, storageTimeout)
	defer cancel()
	a.Door, a.Addr = signin.IMAP, s.c.remote
	signedIn, err := srv.SignIn.SignIn(ctx, a)
	if err != nil {
		return s.refuse(a.Login, err)
	}
	account, err := srv.Store.Account(signedIn.Login)
	if err != nil {
		signedIn.Close()
		metricLogins.WithLabelValues("error").Inc()
		srv.Log.Error("imapd: opening an account", "err", err, "login", signedIn.Login)
		return no(imap.ResponseCodeUnavailable, "The mailboxes cannot be opened just now")
	}
	s.signedIn, s.login, s.account = signedIn, signedIn.Login, account
	s.unlink = context.AfterFunc(signedIn.Context(), func() { s.c.end("Sign in again", endPatience) })
	s.renew()
	metricLogins.WithLabelValues("ok").Inc()
	srv.Log.Info("imapd: signed in", "login", s.login, "addr", s.c.remote)
	return nil
}

func (s *session) refuse(login string, err error) error {
	var busy *signin.BusyError
	var disabled *signin.DisabledError
	log := s.c.srv.Log
	switch {
	case errors.As(err, &disabled):
		metricLogins.WithLabelValues("refused").Inc()
		log.Info("imapd: sign-in refused", "login", login, "addr", s.c.remote, "err", err)
	case errors.As(err, &busy):
		metricLogins.WithLabelValues("busy").Inc()
		log.Info("imapd: sign-in refused", "login", login, "addr", s.c.remote, "err", err)
	case errors.Is(err, signin.ErrWrong):
		metricLogins.WithLabelValues("refused").Inc()
		log.Info("imapd: sign-in refused", "login", login, "addr", s.c.remote)
	default:
		metricLogins.WithLabelValues("error").Inc()
		log.Error("imapd: checking a password", "err", err, "login", login, "addr", s.c.remote)
		return no(imap.ResponseCodeUnavailable, "Signing in does not work just now")
	}
	if s.failures++; s.failures >= maxFailures {
		s.c.end("Too many failures", endPatience)
	}
	if busy != nil {
		return no(imap.ResponseCodeUnavailable, "Too many sign-ins, come again later")
	}
	if disabled != nil {
		return no(imap.ResponseCodeContactAdmin, disabled.Error())
	}
	return no(imap.ResponseCodeAuthenticationFailed, "Login or password is wrong")
}

// AuthenticateMechanisms implements imapserver.SessionSASL.
func (s *session) AuthenticateMechanisms() []string {
	if s.c.srv.SignIn.Tokens() {
		return []string{signin.Plain, signin.OAuthBearer, signin.XOAuth2}
	}
	return []string{signin.Plain}
}

// mechanism is a SASL mechanism whose client says everything in one response.
type mechanism struct {
	s      *session
	name   string
	failed error // of a token: it comes after a challenge (RFC 7628 section 3.2.3)
}

// Authenticate implements imapserver.SessionSASL.
func (s *session) Authenticate(name string) (sasl.Server, error) {
	if !s.c.maySignIn() {
		return nil, no(imap.ResponseCodePrivacyRequired, "Begin TLS first")
	}
	if !slices.Contains(s.AuthenticateMechanisms(), name) {
		return nil, no("", "Unknown mechanism")
	}
	return &mechanism{s: s, name: name}, nil
}

// Next implements sasl.Server.
func (m *mechanism) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case m.failed != nil:
		return nil, false, m.failed
	case response == nil:
		return nil, false, nil // an empty challenge
	}
	a, ok := signin.Parse(m.name, response)
	if !ok {
		return nil, false, bad("Not a response of this mechanism")
	}
	if err = m.s.signIn(a); err != nil && a.Token != "" {
		m.failed = err
		return []byte(signin.BearerRefused), false, nil
	}
	return nil, err == nil, err
}

// seen notes that the session is in use.
func (s *session) seen() {
	if time.Since(s.renewed) >= renewEvery {
		s.renew()
	}
}

// renew tells where the login is. Nothing depends on it.
func (s *session) renew() {
	s.renewed = time.Now()
	srv := s.c.srv
	if srv.Presence == nil || !s.c.remote.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(srv.ctx, presenceTimeout)
	defer cancel()
	err := srv.Presence.Renew(ctx, presence.Address{
		Login: s.login, IP: s.c.remote, Source: presence.IMAP, Seen: s.renewed,
	})
	if err != nil {
		metricPresenceFailures.Inc()
		srv.Log.Error("imapd: renewing presence", "err", err, "login", s.login)
	}
}

// answers are what a store's errors are to the client (RFC 5530).
var answers = []struct {
	is     error
	answer *imap.Error
}{
	{ErrNoMailbox, no(imap.ResponseCodeNonExistent, "There is no such mailbox")},
	{ErrExists, no(imap.ResponseCodeAlreadyExists, "There is a mailbox of that name")},
	{ErrName, no(imap.ResponseCodeCannot, "That is not a usable name of a mailbox")},
	{ErrInUse, no(imap.ResponseCodeInUse, "A POP3 session has the mailbox open")},
	{ErrQuota, no(imap.ResponseCodeOverQuota, "The account is over its quota")},
	{ErrFull, no(imap.ResponseCodeUnavailable, "There is no room on the server just now")},
	{ErrLimit, no(imap.ResponseCodeLimit, "There are more keywords or mailboxes than are kept")},
	{ErrDamaged, no(imap.ResponseCodeCorruption, "Some of the mail is damaged on the server")},
}

// answer puts a store's error into IMAP's words, and what the administrator has to
// know into the log.
func (s *session) answer(command string, err error) error {
	var ready *imap.Error
	if err == nil || errors.As(err, &ready) {
		return err
	}
	for _, a := range answers {
		if errors.Is(err, a.is) {
			if a.is == ErrDamaged {
				s.log(command, err)
			}
			return a.answer
		}
	}
	s.log(command, err)
	return no(imap.ResponseCodeUnavailable, "That does not work just now")
}

func (s *session) log(command string, err error, more ...any) {
	s.c.srv.Log.Error("imapd: "+command, append([]any{"err", err, "login", s.login}, more...)...)
}

// utf8 says whether strings may be UTF-8 in quotes (RFC 6855).
func (s *session) utf8() bool { return s.lib.EnabledCaps().Has(imap.CapUTF8Accept) }

// AppendLimit implements imapserver.SessionAppendLimit.
func (s *session) AppendLimit() uint32 {
	if limit := s.c.srv.Store.AppendLimit(); limit > 0 {
		return limit
	}
	return 1<<32 - 1
}

// Namespace implements imapserver.SessionNamespace.
func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: rune(Separator[0])}}}, nil
}

// Create implements imapserver.Session.
func (s *session) Create(name string, o *imap.CreateOptions) error {
	use := ""
	if len(o.SpecialUse) > 1 {
		return no("USEATTR", "A mailbox has one special use") // RFC 6154 section 3
	}
	for _, attr := range o.SpecialUse {
		switch attr {
		case imap.MailboxAttrArchive, imap.MailboxAttrDrafts, imap.MailboxAttrJunk, imap.MailboxAttrSent,
			imap.MailboxAttrTrash, imap.MailboxAttrFlagged, imap.MailboxAttrImportant:
			use = string(attr)
		default:
			return no("USEATTR", "No such special use here")
		}
	}
	return s.answer("CREATE", s.account.Create(name, use))
}

// Delete implements imapserver.Session.
func (s *session) Delete(name string) error {
	err := s.account.Delete(name)
	if errors.Is(err, ErrNoMailbox) && s.hasChildren(name) {
		return no(imap.ResponseCodeHasChildren, "There are mailboxes below that name")
	}
	return s.answer("DELETE", err)
}

func (s *session) hasChildren(name string) bool {
	boxes, err := s.account.Mailboxes()
	if err != nil {
		return false
	}
	for _, box := range boxes {
		if strings.HasPrefix(box.Name, name+Separator) {
			return true
		}
	}
	return false
}

// Rename implements imapserver.Session.
func (s *session) Rename(from, to string, _ *imap.RenameOptions) error {
	return s.answer("RENAME", s.account.Rename(from, to))
}

// Subscribe implements imapserver.Session.
func (s *session) Subscribe(name string) error {
	return s.answer("SUBSCRIBE", s.account.Subscribe(name, true))
}

// Unsubscribe implements imapserver.Session.
func (s *session) Unsubscribe(name string) error {
	return s.answer("UNSUBSCRIBE", s.account.Subscribe(name, false))
}

// Status implements imapserver.Session.
func (s *session) Status(name string, o *imap.StatusOptions) (*imap.StatusData, error) {
	if o.NumDeleted || o.DeletedStorage {
		return nil, bad("Unknown STATUS data item")
	}
	st, err := s.account.Status(name, o.NumRecent)
	if err != nil {
		return nil, s.answer("STATUS", err)
	}
	return s.statusData(name, &st), nil
}

func (s *session) statusData(name string, st *Status) *imap.StatusData {
	data := &imap.StatusData{
		Mailbox: name, NumMessages: &st.Messages, NumRecent: &st.Recent, UIDNext: imap.UID(st.Next),
		UIDValidity: st.Validity, NumUnseen: &st.Unseen, Size: &st.Octets,
	}
	if limit := s.c.srv.Store.AppendLimit(); limit > 0 {
		data.AppendLimit = &limit
	}
	return data
}

// Append implements imapserver.Session.
func (s *session) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	m := NewMessage{Date: o.Time}
	for _, flag := range o.Flags {
		m.Flags = append(m.Flags, string(flag))
	}
	validity, uid, err := s.account.Append(s.c.srv.ctx, name, m, r, r.Size())
	if errors.Is(err, ErrNoMailbox) {
		return nil, no(imap.ResponseCodeTryCreate, "There is no such mailbox")
	}
	if err != nil {
		return nil, s.answer("APPEND", err)
	}
	metricAppended.Inc()
	return &imap.AppendData{UID: imap.UID(uid), UIDValidity: validity}, nil
}
