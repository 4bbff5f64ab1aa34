// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/presence"
)

const maxDeviceName = 64 // characters; cut

// deviceToken trades a password for the token of a program on a person's computer. The
// token is a sealed session like the desk's cookie, which goes in the field Authorization.
// It lives until it is signed out, or until every session of its login ends.
func (s *Server) deviceToken(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var req struct {
		Login    string `json:"login"`
		Password string `json:"password"`
		Device   string `json:"device"`
	}
	if !read(w, r, &req) {
		return
	}
	device := clean.Line(req.Device, maxDeviceName, 4*maxDeviceName)
	if device == "" {
		refuse(w, http.StatusBadRequest, "device", "Name the computer that the token is for.")
		return
	}
	login, err := s.authenticate(r, req.Login, req.Password)
	if err != nil {
		s.signInFailed(w, err, http.StatusUnauthorized)
		return
	}
	s.log.Info("a program was signed in", "login", login, "addr", s.clientIP(r))
	s.renew(r.Context(), presence.Address{Login: login, IP: s.clientIP(r), Source: presence.Agent, Seen: time.Now()})
	answer(w, http.StatusCreated, map[string]string{"login": login, "token": s.sealSession(
		session{chat.Session{Login: login, ID: newClaim(), Began: began, Device: device}, began})})
}

// bearer is the token of a request that has one (RFC 6750 section 2.1).
func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}
