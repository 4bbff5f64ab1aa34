// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/presence"
)

const maxDeviceName = 64 // characters; cut

// deviceToken trades a password, or the code of a setup link, for the token of a program on a person's computer. The
// token is a sealed session like the desk's cookie, which goes in the field Authorization.
// It lives until it is signed out, or until every session of its login ends.
func (s *Server) deviceToken(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var req struct {
		Login    string `json:"login"`
		Password string `json:"password"`
		Device   string `json:"device"`
		Code     string `json:"code"` // of a setup link, instead of the login and the password
	}
	if !read(w, r, &req) {
		return
	}
	device := clean.Line(req.Device, maxDeviceName, 4*maxDeviceName)
	if device == "" {
		refuse(w, http.StatusBadRequest, "device", "Name the computer that the token is for.")
		return
	}
	var login string
	if req.Code == "" {
		var err error
		if login, err = s.authenticate(r, req.Login, req.Password); err != nil {
			s.signInFailed(w, err, http.StatusUnauthorized)
			return
		}
	} else {
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		var err error
		switch login, err = s.takeSetup(ctx, req.Code); {
		case errors.Is(err, errNoSession):
			refuse(w, http.StatusForbidden, "code",
				"The setup link was used, or is too old: load the page that showed it again.")
			return
		case err != nil:
			s.failed(w, err)
			return
		}
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
