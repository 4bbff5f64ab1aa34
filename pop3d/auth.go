// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/guard/signin"
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
		return s.signIn(signin.Attempt{Login: user, Password: arg})
	}
	return nil
}

// mechanisms are those of SASL.
func (s *session) mechanisms() []string {
	if s.srv.SignIns.Tokens() {
		return []string{"PLAIN", signin.OAuthBearer, signin.XOAuth2}
	}
	return []string{"PLAIN"}
}

// auth is AUTH (RFC 5034) with the mechanism PLAIN (RFC 4616) or one that carries a
// bearer token. Without an argument it lists the mechanisms, as clients older than
// CAPA ask.
func (s *session) auth(arg string) error {
	if arg == "" {
		s.ok("mechanisms follow")
		if s.mayAuthenticate() {
			for _, name := range s.mechanisms() {
				s.reply(name)
			}
		}
		s.reply(".")
		return nil
	}
	mechanism, response, initial := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case !slices.Contains(s.mechanisms(), mechanism):
		s.fail("unknown mechanism")
		return nil
	case !s.mayAuthenticate():
		s.fail(refusePlaintext)
		return nil
	}
	if !initial {
		limit := maxTokenLine
		if mechanism == signin.Plain {
			limit = maxAuthLine
		}
		line, err := s.ask("", limit)
		switch {
		case errors.Is(err, errLineTooLong):
			s.fail("line too long")
			return nil
		case err != nil:
			return errDone // the client went away
		}
		response = line
	}
	if response == "*" { // RFC 5034 section 4
		s.fail("cancelled")
		return nil
	}
	decoded, err := base64.StdEncoding.DecodeString(response)
	a, ok := signin.Parse(mechanism, decoded)
	if err != nil || !ok {
		s.fail("not a response of " + mechanism)
		return nil
	}
	return s.signIn(a)
}

// ask sends a challenge and reads the answer.
func (s *session) ask(challenge string, limit int) (string, error) {
	s.reply("+ ", base64.StdEncoding.EncodeToString([]byte(challenge)))
	line, err := s.timedLine(limit)
	return string(line), err
}

// signIn checks the password or token, locks and opens the maildrop, and renews
// presence.
func (s *session) signIn(a signin.Attempt) error {
	srv := s.srv
	a.Door, a.Addr = signin.POP3, s.remote
	if err := s.flush(); err != nil { // a refusal takes its time
		return errDone
	}
	signedIn, err := srv.SignIns.SignIn(srv.closing, a)
	if err != nil {
		return s.refuse(a, err)
	}
	canonical := signedIn.Login
	if !srv.locks.take(canonical) {
		signedIn.Close()
		s.inUse(canonical)
		return nil
	}
	s.login, s.signedIn = canonical, signedIn
	s.unwatch = context.AfterFunc(signedIn.Context(), func() { _ = s.raw.Close() }) // which ends the session
	ctx, cancel := context.WithTimeout(srv.ctx, storageTimeout)
	defer cancel()
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
	srv.Log.Info("pop3d: signed in", "login", canonical, "addr", s.remote, "messages", drop.Count())
	s.ok("welcome")
	return nil
}

func (s *session) inUse(login string) {
	metricLogins.WithLabelValues("in_use").Inc()
	s.srv.Log.Debug("pop3d: maildrop in use", "login", login, "addr", s.remote)
	s.fail("[IN-USE] another session has this maildrop open")
}

// refuse answers a sign-in that was not accepted.
func (s *session) refuse(a signin.Attempt, err error) error {
	var busy *signin.BusyError
	var disabled *signin.DisabledError
	switch {
	case s.srv.isClosing():
		return errDone
	case errors.Is(err, signin.ErrWrong):
		metricLogins.WithLabelValues("refused").Inc()
		s.srv.Log.Info("pop3d: sign-in refused", "login", a.Login, "addr", s.remote)
		if a.Token != "" {
			if _, err := s.ask(signin.BearerRefused, maxAuthLine); err != nil {
				return errDone
			}
		}
		s.fail("[AUTH] login or password is wrong")
	case errors.As(err, &disabled):
		metricLogins.WithLabelValues("refused").Inc()
		s.srv.Log.Info("pop3d: sign-in refused", "login", a.Login, "addr", s.remote, "err", err)
		s.fail("[AUTH] " + disabled.Error())
	case errors.As(err, &busy):
		metricLogins.WithLabelValues("busy").Inc()
		s.srv.Log.Info("pop3d: sign-in refused", "login", a.Login, "addr", s.remote, "err", err)
		s.fail("[SYS/TEMP] too many sign-ins, or too many wrong ones: come again later")
	default:
		metricLogins.WithLabelValues("error").Inc()
		s.srv.Log.Error("pop3d: checking a password", "err", err, "login", a.Login, "addr", s.remote)
		s.fail("[SYS/TEMP] signing in does not work just now")
		return nil
	}
	if s.failures++; s.failures >= maxFailures {
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
