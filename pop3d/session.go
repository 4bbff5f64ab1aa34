// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/signin"
)

// state is a set of session states of RFC 1939.
type state int

const (
	authorization state = 1 << iota
	transaction
)

// errDone ends a session as the protocol says: QUIT, or too many failures.
var errDone = errors.New("pop3d: session done")

// commands is every command, the states it is valid in, and what it does. An
// error ends the session; what the client did wrong is answered instead.
var commands = map[string]struct {
	states state
	run    func(s *session, arg string) error
}{
	"CAPA": {authorization | transaction, (*session).capa},
	"QUIT": {authorization | transaction, (*session).quit},

	"STLS": {authorization, (*session).stls},
	"USER": {authorization, (*session).userName},
	"PASS": {authorization, (*session).pass},
	"AUTH": {authorization, (*session).auth},

	"STAT": {transaction, (*session).stat},
	"LIST": {transaction, (*session).list},
	"UIDL": {transaction, (*session).uidl},
	"RETR": {transaction, (*session).retr},
	"TOP":  {transaction, (*session).top},
	"DELE": {transaction, (*session).dele},
	"RSET": {transaction, (*session).rset},
	"NOOP": {transaction, (*session).noop},
}

// session is one connection; its goroutine owns it, but for raw, which the
// server closes.
type session struct {
	wire
	srv    *Server
	raw    net.Conn
	remote netip.Addr
	began  time.Time
	secure bool // encrypted

	user     string // of USER, until PASS
	failures int    // refused sign-ins

	login    string // signed in, and holding the lock, when not empty
	signedIn *signin.Session
	unwatch  func() bool // ends the wait for the end of signedIn
	drop     Maildrop
	known    bool   // drop is listed, where it lists late
	deleted  []bool // by number less 1; nil while none is marked
	ndeleted int
}

// run holds the dialog until it ends for whatever reason.
func (s *session) run() {
	if conn, ok := s.conn.(*tls.Conn); ok {
		if err := s.handshake(conn); err != nil {
			return
		}
	}
	s.ok("CHmail POP3 server ready")
	for {
		line, err := s.command()
		switch {
		case errors.Is(err, errLineTooLong):
			s.fail("line too long")
			continue
		case err != nil:
			s.srv.Log.Debug("pop3d: session ended", "login", s.login, "addr", s.remote, "err", err)
			return
		}
		if err := s.dispatch(line); err != nil {
			_ = s.flush() // the last words, where there are any
			if !errors.Is(err, errDone) {
				s.srv.Log.Error("pop3d: session broken off", "err", err, "login", s.login, "addr", s.remote)
			}
			return
		}
	}
}

// command reads the next command, within the time that the state allows. An
// autologout says and deletes nothing (RFC 1939 section 3).
func (s *session) command() ([]byte, error) { return s.timedLine(maxCommandLine) }

func (s *session) timedLine(limit int) ([]byte, error) {
	deadline := s.began.Add(loginTimeout)
	if s.login != "" {
		deadline = time.Now().Add(s.srv.IdleTimeout)
	}
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	if s.srv.isClosing() {
		return nil, ErrServerClosed
	}
	return s.readLine(limit)
}

func (s *session) dispatch(line []byte) error {
	verb, arg, err := parseCommand(line)
	command, known := commands[verb]
	if err != nil || !known {
		metricCommands.WithLabelValues("UNKNOWN").Inc()
		if reputation.Foreign(line) {
			s.srv.Reputation.Fault(s.remote, reputation.Probe)
			s.fail("this is a mail server")
			return errDone
		}
		s.fail("unknown command")
		return nil
	}
	metricCommands.WithLabelValues(verb).Inc()
	now := authorization
	if s.login != "" {
		now = transaction
	}
	if command.states&now == 0 {
		if now == authorization {
			s.fail("sign in first")
		} else {
			s.fail("you are signed in")
		}
		return nil
	}
	return command.run(s, arg)
}

// capa lists what can be done (RFC 2449). EXPIRE NEVER: this server deletes
// nothing by itself. LOGIN-DELAY is absent because there is none, UTF8
// (RFC 6856) because messages are not downgraded for clients without it.
func (s *session) capa(arg string) error {
	if arg != "" {
		s.fail("CAPA takes no argument")
		return nil
	}
	s.ok("capabilities follow")
	s.reply("TOP")
	s.reply("UIDL")
	s.reply("RESP-CODES")
	s.reply("AUTH-RESP-CODE")
	s.reply("PIPELINING")
	s.reply("EXPIRE NEVER")
	if s.mayAuthenticate() {
		s.reply("USER")
		s.reply("SASL ", strings.Join(s.mechanisms(), " "))
	}
	if s.maySTLS() {
		s.reply("STLS")
	}
	s.reply("IMPLEMENTATION CHmail")
	s.reply(".")
	return nil
}

// quit deletes what was marked, and says so if it could not (RFC 1939 section 6).
func (s *session) quit(arg string) error {
	if arg != "" {
		s.fail("QUIT takes no argument")
		return nil
	}
	err, login := s.deleteMarked(), s.login
	// The lock goes before the answer: who has read it may sign in again.
	s.release()
	if err != nil {
		metricDeleteFailures.Inc()
		s.srv.Log.Error("pop3d: deleting at QUIT", "err", err, "login", login, "messages", s.ndeleted)
		s.fail("[SYS/TEMP] deleted messages not removed")
		return errDone
	}
	s.ok("bye")
	return errDone
}

func (s *session) deleteMarked() error {
	if s.ndeleted == 0 {
		return nil
	}
	numbers := make([]int, 0, s.ndeleted)
	for i, marked := range s.deleted {
		if marked {
			numbers = append(numbers, i+1)
		}
	}
	ctx, cancel := context.WithTimeout(s.srv.ctx, storageTimeout)
	defer cancel()
	if err := s.drop.Delete(ctx, numbers); err != nil {
		return err
	}
	metricDeleted.Add(float64(len(numbers)))
	return nil
}

func (s *session) maySTLS() bool { return s.srv.TLS != nil && !s.secure }

// stls begins encryption (RFC 2595 section 4).
func (s *session) stls(arg string) error {
	switch {
	case arg != "":
		s.fail("STLS takes no argument")
		return nil
	case s.secure:
		s.fail("the connection is encrypted")
		return nil
	case s.srv.TLS == nil:
		s.fail("encryption is not available")
		return nil
	}
	// Whatever came in plaintext behind STLS may be someone else's words, to
	// be taken for the client's after the handshake.
	if s.discardInput() {
		metricInjected.Inc()
		s.srv.Log.Info("pop3d: discarded plaintext behind STLS", "addr", s.remote)
	}
	s.ok("begin TLS")
	if err := s.flush(); err != nil {
		return fmt.Errorf("pop3d: STLS: %w", err)
	}
	conn := tls.Server(s.raw, s.srv.TLS)
	if err := s.handshake(conn); err != nil {
		return errDone
	}
	s.conn = conn
	s.user = "" // nothing said before counts
	return nil
}

func (s *session) handshake(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(s.srv.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.srv.Log.Debug("pop3d: TLS handshake failed", "addr", s.remote, "err", err)
		return err
	}
	s.secure = true
	return nil
}

// release closes the maildrop and gives up the lock.
func (s *session) release() {
	if s.login == "" {
		return
	}
	login, drop := s.login, s.drop
	s.login, s.drop = "", nil
	s.unwatch()
	s.signedIn.Close()
	defer s.srv.locks.release(login)
	if drop == nil {
		return
	}
	if err := drop.Close(); err != nil {
		s.srv.Log.Error("pop3d: closing a maildrop", "err", err, "login", login)
	}
}

// end lets go of everything, however the session ended.
func (s *session) end() {
	defer s.raw.Close()
	defer s.release()
	if s.w != nil { // a panic left it; what it holds is not to be sent
		s.w = nil
	}
	if conn, ok := s.conn.(*tls.Conn); ok && s.secure {
		_ = conn.Close() // tells the client that nothing is missing
	}
}
