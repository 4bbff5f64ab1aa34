// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"

	gosmtp "github.com/chmail/go-smtp"
	forksmtp "github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/future"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/safely"
)

// postmasterHere stands for the recipient <postmaster>, whose domain is this server's.
const postmasterHere = "postmaster@."

// session is what go-smtp calls for a client. With BDAT go-smtp runs Data beside
// the other commands.
type session struct {
	srv    *Server
	client *gosmtp.Conn
	conn   *conn
	log    *slog.Logger

	login   string // "": not signed in
	access  *signin.Session
	keep    func() bool // keeps the connection when access ends
	wrong   int         // refused sign-ins
	unknown int         // recipients that are not here

	mu     sync.Mutex // of what follows
	state  *module.ConnState
	tx     *transaction
	chunks *io.PipeReader // of the last message that came by BDAT
}

// transaction is a message on its way, from MAIL on.
type transaction struct {
	meta     *module.MsgMetadata
	delivery module.Delivery
	from     string
	rcpts    map[string]struct{} // as they are compared
	release  func()

	messageID string
	size      int // octets of the body
}

func (s *Server) newSession(c *gosmtp.Conn) (*session, error) {
	cn, ok := c.Conn().(*conn)
	if !ok {
		return nil, fmt.Errorf("smtpd: a connection of type %T", c.Conn())
	}
	ses := &session{srv: s, client: c, conn: cn, log: s.opts.Log.With("addr", c.Conn().RemoteAddr().String())}
	ses.state = ses.newState()
	if err := s.opts.Target.RunEarlyChecks(cn.ctx, ses.state); err != nil {
		return nil, ses.refused("EHLO", err, "", false)
	}
	if !s.opts.Submission {
		ses.lookUpName()
	}
	return ses, nil
}

// newState is what the pipeline knows of the client.
func (s *session) newState() *module.ConnState {
	state := &module.ConnState{Proto: "ESMTP", Hostname: s.client.Hostname(),
		LocalAddr: s.conn.LocalAddr(), RemoteAddr: s.conn.RemoteAddr(), AuthUser: s.login}
	if secure, ok := s.conn.Conn.(*tls.Conn); ok {
		state.Proto, state.TLS = "ESMTPS", secure.ConnectionState()
	}
	return state
}

// lookUpName begins to ask for the name of the client's address.
func (s *session) lookUpName() {
	if s.srv.opts.Resolver == nil || !s.conn.ip.IsValid() {
		return
	}
	name := future.New()
	s.state.RDNSName = name
	s.srv.running.Go(func() {
		var found any
		var err error
		defer func() { name.Set(found, err) }()
		defer safely.Recover(s.srv.opts.Log, "smtp client name")
		ctx, cancel := context.WithTimeout(s.conn.ctx, namingTime)
		defer cancel()
		var text string
		text, err = dns.LookupAddr(ctx, s.srv.opts.Resolver, net.IP(s.conn.ip.AsSlice()))
		if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && dnsErr.IsNotFound {
			err = nil
		}
		if text != "" {
			found = text
		}
	})
}

// refused logs, counts and makes the answer to a refused command.
func (s *session) refused(command string, err error, id string, utf8 bool) error {
	res := answer(err, id, utf8)
	s.srv.refused(command, res.Code)
	s.log.Info("refused", "command", command, "code", res.Code, "err", err, "msg_id", id, "login", s.login)
	return res
}

// Mail implements gosmtp.Session.
func (s *session) Mail(from string, opts *gosmtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.mail(from, opts)
	if err != nil {
		return s.refused("MAIL", err, id, opts.UTF8)
	}
	return nil
}

func (s *session) mail(from string, opts *gosmtp.MailOptions) (id string, err error) {
	o := s.srv.opts
	switch {
	case s.tx != nil:
		return "", refusal(503, 5, 5, 1, "A message is under way already: send it, or say RSET")
	case o.Submission && s.login == "":
		return "", refusal(530, 5, 7, 0, "Sign in first")
	case opts.RequireTLS && !s.conn.secure:
		return "", refusal(555, 5, 5, 4, "REQUIRETLS needs a connection with TLS")
	case !opts.UTF8 && !address.IsASCII(from):
		return "", refusal(550, 5, 6, 7, "SMTPUTF8 is required for non-ASCII senders")
	}
	clean := from
	if from != "" {
		if clean, err = cleanAddress(from); err != nil {
			return "", refusal(553, 5, 1, 7, "The sender is not an address")
		}
	}
	if s.login == "" {
		if err := s.mayBegin(); err != nil {
			return "", err
		}
	} else if err := s.maySend(clean); err != nil {
		return "", err
	}
	if s.state.Hostname != s.client.Hostname() { // another EHLO
		named := s.state.RDNSName
		s.state = s.newState()
		s.state.RDNSName = named
		if err := o.Target.RunEarlyChecks(s.conn.ctx, s.state); err != nil {
			return "", err
		}
	}
	meta := &module.MsgMetadata{Conn: s.state, OriginalFrom: from, DontTraceSender: o.Submission,
		SMTPOpts: forkMailOptions(opts)}
	if meta.ID, err = module.GenerateMsgID(); err != nil {
		return "", err
	}
	release, err := s.takeLimits(clean)
	if err != nil {
		return meta.ID, err
	}
	defer func() { // also in a panic
		if s.tx == nil {
			release()
		}
	}()
	delivery, err := o.Target.Start(s.conn.ctx, meta, clean)
	if err != nil {
		return meta.ID, err
	}
	s.log.Info("incoming message", "src_host", s.state.Hostname, "sender", from, "msg_id", meta.ID, "login", s.login)
	s.tx = &transaction{meta: meta, delivery: delivery, from: clean, rcpts: make(map[string]struct{}), release: release}
	return meta.ID, nil
}

// mayBegin bounds the transactions of a client's network.
func (s *session) mayBegin() error {
	key := prefixKey(s.conn.ip)
	if wait := s.srv.rates.transactions.Wait(key); wait > 0 {
		return refusal(450, 4, 7, 1, "Too many messages from your address, try again in "+inWords(wait))
	}
	return nil
}

// maySend says whether the login may send another message, and from that address.
func (s *session) maySend(from string) error {
	if from != "" {
		if err := s.mayUse(from); err != nil {
			return err
		}
	}
	if wait := s.srv.rates.mails.Wait(s.login); wait > 0 {
		return s.srv.tooMuch(s.login, "messages", s.srv.opts.SentMails, wait)
	}
	return nil
}

// mayUse says whether the login may write from an address.
func (s *session) mayUse(addr string) error {
	if address.Equal(addr, s.login) {
		return nil
	}
	if may := s.srv.opts.MayUse; may != nil {
		folded, err := address.ForLookup(addr)
		if err != nil {
			return refusal(553, 5, 1, 7, "The sender is not an address")
		}
		ok, err := may(s.conn.ctx, s.login, folded)
		if err != nil {
			return fmt.Errorf("looking up whose address %s is: %w", addr, err)
		}
		if ok {
			return nil
		}
	}
	return refusal(553, 5, 7, 1, "You are signed in as "+s.login+", which may not send as "+addr)
}

func (s *session) takeLimits(from string) (release func(), err error) {
	limits := s.srv.opts.Limits
	if limits == nil {
		return func() {}, nil
	}
	ip := net.IP(s.conn.ip.AsSlice())
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1)
	}
	domain := from[strings.LastIndexByte(from, '@')+1:]
	if err := limits.TakeMsg(s.conn.ctx, ip, domain); err != nil {
		return nil, err
	}
	return func() { limits.ReleaseMsg(ip, domain) }, nil
}

// cleanAddress checks an address of the envelope, and gives its domain the form in
// which maddy compares it.
func cleanAddress(addr string) (string, error) {
	if strings.ContainsFunc(addr, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return "", errors.New("smtpd: a control character in an address")
	}
	if i := strings.LastIndexByte(addr, '@'); i >= 0 && !isDomain(addr[i+1:]) {
		return "", errors.New("smtpd: an address whose domain is none")
	}
	return address.CleanDomain(addr)
}

// Rcpt implements gosmtp.Session.
func (s *session) Rcpt(to string, opts *gosmtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return refusal(503, 5, 5, 1, "Say MAIL first")
	}
	utf8 := s.tx.meta.SMTPOpts.UTF8
	err := s.rcpt(to, utf8, opts)
	if err == nil {
		return nil
	}
	res := answer(err, s.tx.meta.ID, utf8)
	if res.Code == 550 && s.login == "" {
		if res.EnhancedCode == (gosmtp.EnhancedCode{5, 1, 1}) {
			s.srv.opts.Reputation.Fault(s.conn.ip, reputation.NoRecipient)
		}
		wait := s.srv.rates.unknown.Wait(prefixKey(s.conn.ip))
		if s.unknown++; s.unknown >= maxUnknown || wait > 0 {
			s.conn.endAfter("421 4.7.0 Too many unknown recipients")
		}
	}
	return s.refused("RCPT", err, s.tx.meta.ID, utf8)
}

func (s *session) rcpt(to string, utf8 bool, opts *gosmtp.RcptOptions) error {
	if !utf8 && !address.IsASCII(to) {
		return refusal(553, 5, 6, 7, "SMTPUTF8 is required for non-ASCII recipients")
	}
	if strings.EqualFold(to, postmasterHere) {
		to = "postmaster"
	}
	clean, err := cleanAddress(to)
	if err != nil {
		return refusal(501, 5, 1, 3, "The recipient is not an address")
	}
	key, err := address.ForLookup(clean)
	if err != nil {
		return refusal(501, 5, 1, 3, "The recipient is not an address")
	}
	if _, again := s.tx.rcpts[key]; again {
		return nil // one copy is enough
	}
	if s.login != "" {
		if wait := s.srv.rates.recipients.Wait(s.login); wait > 0 {
			return s.srv.tooMuch(s.login, "recipients", s.srv.opts.SentRecipients, wait)
		}
	}
	if err := s.tx.delivery.AddRcpt(s.conn.ctx, clean, forkRcptOptions(opts)); err != nil {
		return err
	}
	s.tx.rcpts[key] = struct{}{}
	s.conn.expected.Store(true)
	return nil
}

// Data implements gosmtp.Session.
func (s *session) Data(r io.Reader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil {
		return refusal(503, 5, 5, 1, "Say MAIL first")
	}
	tx := s.tx
	s.tx = nil
	defer tx.release()
	err := s.data(tx, s.reader(r))
	if err != nil {
		messagesTotal.WithLabelValues(s.srv.opts.Name, "failed").Inc()
		err = s.refused("DATA", err, tx.meta.ID, tx.meta.SMTPOpts.UTF8)
	} else {
		messagesTotal.WithLabelValues(s.srv.opts.Name, "accepted").Inc()
		s.log.Info("accepted", "msg_id", tx.meta.ID, "message_id", tx.messageID, "login", s.login, "size", tx.size,
			"recipients", len(tx.rcpts))
		s.conn.did()
	}
	return err
}

// reader is the message. go-smtp's own reader of DATA is left aside: conn has the
// message still. BDAT comes through a pipe.
func (s *session) reader(r io.Reader) io.Reader {
	if pipe, ok := r.(*io.PipeReader); ok {
		s.chunks = pipe
		return newChunkedMessage(pipe, s.srv.opts.MaxSize)
	}
	return s.conn.beginMessage()
}

// data takes the message, once it is here as a whole.
func (s *session) data(tx *transaction, r io.Reader) (err error) {
	committing := false
	defer func() {
		if !committing { // a delivery that cannot commit has ended
			s.takeBack(tx)
		}
	}()
	header, rest, err := readHeader(r, s.srv.opts.MaxHeader)
	if err != nil {
		return err
	}
	body, err := s.srv.store(rest)
	if err != nil {
		return err
	}
	defer func() {
		if err := body.Remove(); err != nil {
			s.log.Error("removing a message's file", "err", err, "msg_id", tx.meta.ID)
		}
	}()
	if s.srv.opts.Submission {
		err = s.repair(&header, tx.meta)
	} else {
		err = s.inspect(&header, tx, body)
	}
	if err != nil {
		return err
	}
	if n := header.FieldsByKey("Received").Len(); n > maxReceived {
		return refusal(554, 5, 4, 6, fmt.Sprintf("The message went round: it has %d Received fields", n))
	}
	tx.meta.TLSRequireOverride = strings.EqualFold(header.Get("TLS-Required"), "No")
	if err := tx.delivery.Body(s.conn.ctx, header, body); err != nil {
		return err
	}
	tx.messageID, tx.size = header.Get("Message-Id"), body.Len()
	committing = true
	return tx.delivery.Commit(s.conn.ctx)
}

func (s *session) takeBack(tx *transaction) {
	if err := tx.delivery.Abort(context.WithoutCancel(s.conn.ctx)); err != nil {
		s.log.Error("taking back a message", "err", err, "msg_id", tx.meta.ID)
	}
}

// Reset implements gosmtp.Session. Where it breaks off a message that comes by BDAT,
// it waits until go-smtp's goroutine has given the message's result away: that
// would be the result of the next message otherwise (go-smtp v0.25.1, conn.go,
// handleBdat reads Conn.dataResult too late).
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
	s.conn.expected.Store(false)
	for s.chunks != nil {
		if _, err := s.chunks.Read(nil); errors.Is(err, io.ErrClosedPipe) {
			s.chunks = nil
		}
		runtime.Gosched()
	}
}

func (s *session) abort() {
	if s.tx == nil {
		return
	}
	tx := s.tx
	s.tx = nil
	messagesTotal.WithLabelValues(s.srv.opts.Name, "aborted").Inc()
	s.log.Info("aborted", "msg_id", tx.meta.ID, "login", s.login)
	tx.release()
	s.takeBack(tx)
}

// Logout implements gosmtp.Session.
func (s *session) Logout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
	if s.access != nil {
		s.keep()
		s.access.Close()
	}
	return nil
}

// forkMailOptions are the same for maddy, which has a fork of go-smtp.
func forkMailOptions(o *gosmtp.MailOptions) forksmtp.MailOptions {
	return forksmtp.MailOptions{Body: forksmtp.BodyType(o.Body), Size: o.Size, RequireTLS: o.RequireTLS, UTF8: o.UTF8,
		Return: forksmtp.DSNReturn(o.Return), EnvelopeID: o.EnvelopeID, Auth: o.Auth}
}

func forkRcptOptions(o *gosmtp.RcptOptions) forksmtp.RcptOptions {
	notify := make([]forksmtp.DSNNotify, len(o.Notify))
	for i, n := range o.Notify {
		notify[i] = forksmtp.DSNNotify(n)
	}
	return forksmtp.RcptOptions{Notify: notify, OriginalRecipient: o.OriginalRecipient,
		OriginalRecipientType: forksmtp.DSNAddressType(o.OriginalRecipientType)}
}

var _ gosmtp.AuthSession = (*session)(nil)
