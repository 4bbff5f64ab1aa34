// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/presence"
)

// Conversations is what the desk, and a browser that came in through a link,
// read of conversations and bring into them; chatrelay.Relay documents each.
type Conversations interface {
	Enter(ctx context.Context, session chat.Session, roomID string) (chatrelay.Entry, error)
	Search(ctx context.Context, login, q, after string, limit int) (hits []chat.Hit, more string, err error)
	Upload(ctx context.Context, v chatrelay.Visitor, in chatrelay.Incoming) (chat.Message, error)
	ServeFile(w http.ResponseWriter, r *http.Request, v chatrelay.Visitor, id string, thumb bool) error
}

// SignIns checks sign-ins; a *signin.Check does.
type SignIns interface {
	SignIn(ctx context.Context, a signin.Attempt) (*signin.Session, error)
}

// signIn begins a session for who knows the password.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var req struct {
		Login    string `json:"login"`
		Password string `json:"password"`
	}
	if !read(w, r, &req) {
		return
	}
	login, err := s.authenticate(r, req.Login, req.Password)
	if err != nil {
		s.signInFailed(w, err, http.StatusUnauthorized)
		return
	}
	s.renew(r.Context(), presence.Address{Login: login, IP: s.clientIP(r), Source: presence.Desk, Seen: time.Now()})
	s.signedIn(w, login, began)
	w.WriteHeader(http.StatusNoContent)
}

// authenticate checks a password and returns the login in its normal form. A refusal
// takes its time, but does not hold up the server's end.
func (s *Server) authenticate(r *http.Request, login, password string) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), signInTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	ip := s.clientIP(r)
	session, err := s.opts.SignIns.SignIn(ctx,
		signin.Attempt{Door: signin.Desk, Login: login, Password: password, Addr: ip})
	if err != nil {
		s.log.Info("a sign-in at the desk was refused", "login", login, "addr", ip, "err", err)
		return "", err
	}
	session.Close() // the cookie is the session
	s.log.Info("a sign-in at the desk", "login", session.Login, "addr", ip)
	return session.Login, nil
}

// signInFailed says why a password was not taken; wrong is the status where it was
// a wrong one.
func (s *Server) signInFailed(w http.ResponseWriter, err error, wrong int) {
	var busy *signin.BusyError
	var disabled *signin.DisabledError
	switch {
	case errors.As(err, &busy):
		tooOften(w, busy.After)
	case errors.As(err, &disabled):
		answer(w, http.StatusForbidden, struct {
			refusal
			Reason string `json:"reason,omitempty"`
		}{refusal{Error: "disabled", Text: disabled.Error()}, disabled.Reason})
	case errors.Is(err, signin.ErrWrong):
		refuse(w, wrong, "credentials", "Login or password is wrong.")
	default:
		retryAfter(w, downRetry)
		refuse(w, http.StatusServiceUnavailable, "unavailable", "Not possible at the moment: try again soon.")
	}
}

// renew tells presence where a login is. It never holds a sign-in up for more
// than renewTimeout, nor does it fail one.
func (s *Server) renew(ctx context.Context, a presence.Address) {
	if s.opts.Presence == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if err := s.opts.Presence.Renew(ctx, a); err != nil {
		s.log.Warn("renewing presence at a sign-in", "login", a.Login, "err", err)
	}
}

// roomTicket is a member's way into a room.
func (s *Server) roomTicket(w http.ResponseWriter, r *http.Request) {
	who, ok := s.member(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	entry, err := s.opts.Relay.Enter(ctx, who, r.PathValue("room"))
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, entry)
}
