// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/chmail/chmail/presence"
)

const refusePlaintext = "[AUTH] no password over an unencrypted connection, say STLS first"

func (s *session) mayAuthenticate() bool { return s.secure || s.srv.InsecureAuth }

// userName is USER. It says +OK to every name: which exist is nobody's business.
func (s *session) userName(arg string) error {
	switch {
	case !s.mayAuthenticate():
		s.fail(refusePlaintext)
	case arg == "":
		s.fail("USER takes a login")
	default:
		s.user = arg
		s.ok("now the password")
	}
	return nil
}

func (s *session) pass(arg string) error {
	user := s.user
	s.user = ""
	switch {
	case !s.mayAuthenticate():
		s.fail(refusePlaintext)
	case user == "":
		s.fail("USER first")
	default:
		return s.signIn(user, arg)
	}
	return nil
}

// auth is AUTH (RFC 5034) with the mechanism PLAIN (RFC 4616). Without an
// argument it lists the mechanisms, as clients older than CAPA ask.
func (s *session) auth(arg string) error {
	if arg == "" {
		s.ok("mechanisms follow")
		if s.mayAuthenticate() {
			s.reply("PLAIN")
		}
		s.reply(".")
		return nil
	}
	mechanism, response, initial := strings.Cut(arg, " ")
	switch {
	case !strings.EqualFold(mechanism, "PLAIN"):
		s.fail("unknown mechanism")
		return nil
	case !s.mayAuthenticate():
		s.fail(refusePlaintext)
		return nil
	}
	if !initial {
		s.reply("+ ")
		line, err := s.timedLine(maxAuthLine)
		switch {
		case errors.Is(err, errLineTooLong):
			s.fail("line too long")
			return nil
		case err != nil:
			return errDone // the client went away
		}
		response = string(line)
	}
	if response == "*" { // RFC 5034 section 4
		s.fail("cancelled")
		return nil
	}
	login, password, ok := parsePlain(response)
	if !ok {
		s.fail("not a PLAIN response")
		return nil
	}
	return s.signIn(login, password)
}

// parsePlain reads authzid NUL authcid NUL password in base64. Acting for
// someone else is not offered: an authzid must be the login itself.
func parsePlain(response string) (login, password string, ok bool) {
	decoded, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return "", "", false
	}
	parts := bytes.Split(decoded, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return "", "", false
	}
	if len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return "", "", false
	}
	return string(parts[1]), string(parts[2]), true
}

// signIn checks the password, locks and opens the maildrop, and renews presence.
func (s *session) signIn(login, password string) error {
	srv, began := s.srv, time.Now()
	ctx, cancel := context.WithTimeout(srv.ctx, storageTimeout)
	defer cancel()

	canonical, err := srv.checkPassword(ctx, login, password)
	if errors.Is(err, ErrAuth) {
		return s.refuse(login, began)
	}
	if err != nil {
		metricLogins.WithLabelValues("error").Inc()
		srv.Log.Error("pop3d: checking a password", "err", err, "login", login, "addr", s.remote)
		s.fail("[SYS/TEMP] signing in does not work just now")
		return nil
	}

	if !srv.locks.take(canonical) {
		s.inUse(canonical)
		return nil
	}
	s.login = canonical
	drop, err := srv.Maildrops.Open(ctx, canonical)
	if err != nil {
		s.release()
		if errors.Is(err, ErrInUse) {
			s.inUse(canonical)
			return nil
		}
		metricLogins.WithLabelValues("error").Inc()
		srv.Log.Error("pop3d: opening a maildrop", "err", err, "login", canonical)
		s.fail("[SYS/TEMP] the maildrop cannot be opened just now")
		return nil
	}
	s.drop = drop
	s.renewPresence()

	metricLogins.WithLabelValues("ok").Inc()
	srv.Log.Debug("pop3d: signed in", "login", canonical, "addr", s.remote, "messages", drop.Count())
	s.ok("welcome")
	return nil
}

func (s *session) inUse(login string) {
	metricLogins.WithLabelValues("in_use").Inc()
	s.srv.Log.Debug("pop3d: maildrop in use", "login", login, "addr", s.remote)
	s.fail("[IN-USE] another session has this maildrop open")
}

func (srv *Server) checkPassword(ctx context.Context, login, password string) (string, error) {
	if password == "" {
		return "", ErrAuth
	}
	select {
	case srv.passwords <- struct{}{}:
		defer func() { <-srv.passwords }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	canonical, err := srv.Authenticate(ctx, login, password)
	if err == nil && canonical == "" {
		return "", ErrAuth
	}
	return canonical, err
}

// refuse answers a wrong login or password. The answer comes at a time counted
// from the beginning, so that it does not tell an unknown login, which is
// refused quickly, from a wrong password, which takes a hash to refuse.
func (s *session) refuse(login string, began time.Time) error {
	s.failures++
	metricLogins.WithLabelValues("refused").Inc()
	s.srv.Log.Info("pop3d: sign-in refused", "login", login, "addr", s.remote)
	delay := s.srv.refusals.Add(began, network(s.remote).String())
	if err := s.flush(); err != nil {
		return errDone
	}
	if !s.srv.sleep(time.Until(began.Add(delay))) {
		return errDone
	}
	s.fail("[AUTH] login or password is wrong")
	if s.failures >= maxFailures {
		return errDone
	}
	return nil
}

// renewPresence tells where the login is. A sign-in does not depend on it.
func (s *session) renewPresence() {
	if s.srv.Presence == nil || !s.remote.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(s.srv.ctx, presenceTimeout)
	defer cancel()
	err := s.srv.Presence.Renew(ctx, presence.Address{
		Login: s.login, IP: s.remote, Source: presence.POP3, Seen: time.Now(),
	})
	if err != nil {
		metricPresenceFailures.Inc()
		s.srv.Log.Error("pop3d: renewing presence", "err", err, "login", s.login)
	}
}
