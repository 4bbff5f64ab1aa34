// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	gosmtp "github.com/chmail/go-smtp"
	"github.com/emersion/go-sasl"

	"github.com/chmail/chmail/guard/signin"
)

// AuthMechanisms implements gosmtp.AuthSession: what EHLO says of AUTH.
func (s *session) AuthMechanisms() []string {
	if s.srv.opts.SignIn == nil || !s.conn.secure && !s.srv.opts.InsecureAuth {
		return nil
	}
	mechanisms := []string{"PLAIN", "LOGIN"}
	if s.srv.opts.SignIn.Tokens() {
		mechanisms = append(mechanisms, "OAUTHBEARER", "XOAUTH2")
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
	switch mechanism {
	case "PLAIN":
		return &plain{s}, nil
	case "LOGIN":
		return &login{session: s}, nil
	default:
		return &bearer{session: s, x: mechanism == "XOAUTH2"}, nil
	}
}

var errMalformed = refusal(501, 5, 5, 2, "The sign-in is malformed")

// plain is PLAIN (RFC 4616).
type plain struct{ *session }

// Next implements sasl.Server.
func (p *plain) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, errMalformed
	}
	return nil, true, p.signIn(string(parts[0]), signin.Attempt{Login: string(parts[1]), Password: string(parts[2])})
}

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
	return nil, true, l.signIn("", signin.Attempt{Login: *l.name, Password: string(response)})
}

// bearer is OAUTHBEARER (RFC 7628), or XOAUTH2, which mail programs had before.
type bearer struct {
	*session
	x      bool
	failed error
}

// Next implements sasl.Server.
func (b *bearer) Next(response []byte) ([]byte, bool, error) {
	if b.failed != nil {
		return nil, false, b.failed // whatever the client says to the reason
	}
	if response == nil {
		return nil, false, nil
	}
	name, token, ok := bearerOf(string(response), b.x)
	if !ok {
		return nil, false, errMalformed
	}
	if err := b.signIn("", signin.Attempt{Login: name, Token: token}); err != nil {
		if refused, ok := errors.AsType[*gosmtp.SMTPError](err); ok && refused.Code == 535 {
			b.failed = err
			return []byte(`{"status":"invalid_token","schemes":"bearer"}`), false, nil
		}
		return nil, false, err
	}
	return nil, true, nil
}

// bearerOf reads the one message of a client.
func bearerOf(s string, x bool) (login, token string, ok bool) {
	fields := strings.Split(s, "\x01")
	if x {
		login, ok = strings.CutPrefix(fields[0], "user=")
	} else {
		gs2 := strings.Split(fields[0], ",")
		if len(gs2) != 3 || gs2[0] != "n" || gs2[2] != "" {
			return "", "", false
		}
		login, ok = strings.CutPrefix(gs2[1], "a=")
		login = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(login)
		ok = ok || gs2[1] == ""
	}
	if !ok {
		return "", "", false
	}
	for _, f := range fields[1:] {
		if value, found := strings.CutPrefix(f, "auth="); found {
			kind, rest, _ := strings.Cut(value, " ")
			if !strings.EqualFold(kind, "Bearer") {
				return "", "", false
			}
			token = strings.TrimSpace(rest)
		}
	}
	return login, token, token != ""
}

// signIn checks an attempt. as is whom the client wants to be: nobody else but itself.
func (s *session) signIn(as string, a signin.Attempt) error {
	a.Door, a.Addr = signin.Submission, s.conn.ip
	if as != "" && !strings.EqualFold(as, a.Login) {
		return s.wrongSignIn(a.Login, refusal(535, 5, 7, 8, "One cannot sign in as somebody else"))
	}
	access, err := s.srv.opts.SignIn.SignIn(s.conn.ctx, a)
	if err != nil {
		if errors.Is(err, signin.ErrWrong) {
			return s.wrongSignIn(a.Login, refusal(535, 5, 7, 8, "Login or password is wrong"))
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
	s.log.Debug("signed in", "login", s.login)
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
