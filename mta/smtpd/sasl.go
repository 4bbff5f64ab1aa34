// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"context"
	"errors"
	"slices"

	gosmtp "github.com/chmail/go-smtp"
	"github.com/emersion/go-sasl"

	"github.com/chmail/chmail/guard/signin"
)

// AuthMechanisms implements gosmtp.AuthSession: what EHLO says of AUTH.
func (s *session) AuthMechanisms() []string {
	if s.srv.opts.SignIn == nil || !s.conn.secure && !s.srv.opts.InsecureAuth {
		return nil
	}
	mechanisms := []string{signin.Plain, "LOGIN"}
	if s.srv.opts.SignIn.Tokens() {
		mechanisms = append(mechanisms, signin.OAuthBearer, signin.XOAuth2)
	}
	return mechanisms
}

// Auth implements gosmtp.AuthSession.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if !s.mu.TryLock() { // BDAT: the message is still on its way
		return nil, refusal(503, 5, 5, 1, "A message is under way")
	}
	defer s.mu.Unlock()
	switch {
	case s.tx != nil:
		return nil, refusal(503, 5, 5, 1, "A message is under way")
	case s.srv.opts.SignIn == nil:
		return nil, refusal(502, 5, 5, 1, "Nobody signs in here")
	case !s.conn.secure && !s.srv.opts.InsecureAuth:
		return nil, refusal(538, 5, 7, 11, "Signing in needs TLS: say STARTTLS first")
	case !slices.Contains(s.AuthMechanisms(), mechanism):
		return nil, refusal(504, 5, 5, 4, "Unknown way to sign in")
	}
	if mechanism == "LOGIN" {
		return &login{session: s}, nil
	}
	return &response{session: s, mechanism: mechanism}, nil
}

var errMalformed = refusal(501, 5, 5, 2, "The sign-in is malformed")

// login is LOGIN (draft-murchison-sasl-login), which old mail programs have alone.
type login struct {
	*session
	asked bool
	name  *string
}

// Next implements sasl.Server.
func (l *login) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case l.name == nil:
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	return nil, true, l.signIn(signin.Attempt{Login: *l.name, Password: string(response)})
}

// response is a mechanism whose client says everything in one response.
type response struct {
	*session
	mechanism string
	failed    error // of a token: it comes after a challenge (RFC 7628 section 3.2.3)
}

// Next implements sasl.Server.
func (r *response) Next(said []byte) ([]byte, bool, error) {
	if r.failed != nil {
		return nil, false, r.failed // whatever the client says to the reason
	}
	if said == nil {
		return nil, false, nil
	}
	a, ok := signin.Parse(r.mechanism, said)
	if !ok {
		return nil, false, errMalformed
	}
	err := r.signIn(a)
	if refused, is := errors.AsType[*gosmtp.SMTPError](err); is && refused.Code == 535 && a.Token != "" {
		r.failed = err
		return []byte(signin.BearerRefused), false, nil
	}
	return nil, err == nil, err
}

// signIn checks an attempt.
func (s *session) signIn(a signin.Attempt) error {
	a.Door, a.Addr = signin.Submission, s.conn.ip
	access, err := s.srv.opts.SignIn.SignIn(s.conn.ctx, a)
	if err != nil {
		if errors.Is(err, signin.ErrWrong) {
			return s.wrongSignIn(a.Login, refusal(535, 5, 7, 8, "Login or password is wrong"))
		}
		if disabled, ok := errors.AsType[*signin.DisabledError](err); ok { // RFC 5248
			return s.wrongSignIn(a.Login, refusal(525, 5, 7, 13, disabled.Error()))
		}
		if busy, ok := errors.AsType[*signin.BusyError](err); ok {
			return s.wrongSignIn(a.Login, refusal(454, 4, 7, 0, "Too many sign-ins, try again in "+inWords(busy.After)))
		}
		s.log.Error("a sign-in cannot be checked", "err", err, "login", a.Login)
		s.srv.refused("AUTH", 454)
		return refusal(454, 4, 7, 0, "The sign-in cannot be checked just now, try again later")
	}
	s.login, s.access = access.Login, access
	s.keep = context.AfterFunc(access.Context(), func() { // the password has changed, or the account is gone
		_ = s.conn.Conn.Close()
	})
	s.conn.signedIn.Store(true)
	s.conn.did()
	s.state.AuthUser = s.login
	s.lookUpName()
	s.log.Info("signed in", "login", s.login)
	return nil
}

// wrongSignIn counts a refused one; a connection has a few.
func (s *session) wrongSignIn(login string, res *gosmtp.SMTPError) error {
	s.log.Info("sign-in refused", "login", login, "code", res.Code)
	s.srv.refused("AUTH", res.Code)
	if s.wrong++; s.wrong >= maxWrong {
		s.conn.endAfter("421 4.7.0 Too many refused sign-ins")
	}
	return res
}
