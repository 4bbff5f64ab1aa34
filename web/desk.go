// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/presence"
)

// Conversations is what the desk, and a browser that came in through a link,
// read of conversations and bring into them; chatrelay.Relay documents each.
type Conversations interface {
	Rooms(ctx context.Context, login string, limit int, before time.Time) ([]chat.Summary, error)
	Enter(ctx context.Context, session chat.Session, roomID string) (chatrelay.Entry, error)
	Search(ctx context.Context, login, q, after string, limit int) (hits []chat.Hit, more string, err error)
	Upload(ctx context.Context, v chatrelay.Visitor, in chatrelay.Incoming) (chat.Message, error)
	ServeFile(w http.ResponseWriter, r *http.Request, v chatrelay.Visitor, id string, thumb bool) error
}

// signIn checks a login and a password. Whatever is wrong, the answer is the
// same and takes the same time, longer with each refusal of that login or
// client.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var req struct {
		Login    string `json:"login"`
		Password string `json:"password"`
	}
	if !read(w, r, &req) {
		return
	}
	ip := s.clientIP(r)
	login, err := "", error(nil)
	possible := len(req.Login) <= maxLogin && len(req.Password) <= maxPassword && req.Login != "" && req.Password != ""
	if possible {
		login, err = s.opts.Normalize(req.Login)
		possible = err == nil && login != "" && len(login) <= maxLogin
	}
	if !possible {
		login = "" // all that cannot be a login counts as one
	}
	prefix := limit.Prefix(ip).String()
	wait := s.limits.signIn.Wait(prefix)
	if wait == 0 {
		wait = s.limits.login.Wait(login)
	}
	if wait > 0 {
		signInsTotal.WithLabelValues("limited").Inc()
		tooOften(w, wait)
		return
	}
	select {
	case s.signIns <- struct{}{}:
	default:
		signInsTotal.WithLabelValues("limited").Inc()
		retryAfter(w, time.Second)
		refuse(w, http.StatusServiceUnavailable, "busy", "Many people sign in just now: try again.")
		return
	}
	ok := func() bool {
		defer func() { <-s.signIns }()
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		return possible && s.opts.Authenticate(ctx, login, req.Password) == nil
	}()
	if !ok {
		signInsTotal.WithLabelValues("refused").Inc()
		s.log.Info("a sign-in at the desk was refused", "login", login, "addr", ip)
		delay := s.refused.Add(time.Now(), "login "+login, "prefix "+prefix)
		select {
		case <-time.After(time.Until(began.Add(delay))):
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
		}
		refuse(w, http.StatusUnauthorized, "credentials", "Login or password is wrong.")
		return
	}
	signInsTotal.WithLabelValues("accepted").Inc()
	s.renew(r.Context(), presence.Address{Login: login, IP: ip, Source: presence.Desk, Seen: time.Now()})
	s.signedIn(w, login, began)
	w.WriteHeader(http.StatusNoContent)
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

// rooms lists the conversations of a login, newest first.
func (s *Server) rooms(w http.ResponseWriter, r *http.Request) {
	who, ok := s.member(w, r)
	if !ok {
		return
	}
	limit, before := 50, time.Time{}
	var err error
	if given := r.FormValue("limit"); given != "" {
		limit, err = strconv.Atoi(given)
	}
	if given := r.FormValue("before"); given != "" && err == nil {
		before, err = time.Parse(time.RFC3339Nano, given)
	}
	if err != nil || limit < 1 {
		refuse(w, http.StatusBadRequest, "bad-request", "limit is a positive number, before a time of RFC 3339.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	list, err := s.opts.Relay.Rooms(ctx, who.Login, min(limit, maxRooms), before)
	if err != nil {
		s.failed(w, err)
		return
	}
	if list == nil {
		list = []chat.Summary{}
	}
	answer(w, http.StatusOK, struct {
		Me    string         `json:"me"`
		Rooms []chat.Summary `json:"rooms"`
	}{who.Login, list})
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
