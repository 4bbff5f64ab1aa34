// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

// The script asks for a ceremony, and posts what the browser made of it with the page's
// own form, in the fields "ticket" and "passkey".
func (s *Server) passkeyRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /passkeys/register", func(w http.ResponseWriter, r *http.Request) {
		f, ok := s.readForm(w, r)
		if !ok {
			return
		}
		c, err := s.mall.BeginRegistering(f.Get("email"))
		s.ceremony(w, r, c, err)
	})
	mux.HandleFunc("POST /passkeys/sign-in", func(w http.ResponseWriter, r *http.Request) {
		c, err := s.mall.BeginPasskeySignIn()
		s.ceremony(w, r, c, err)
	})
	mux.HandleFunc("POST /passkeys/add", func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.member(w, r)
		if !ok {
			return
		}
		c, err := s.mall.BeginPasskey(r.Context(), *v.Member)
		s.ceremony(w, r, c, err)
	})
	mux.HandleFunc("POST /account/passkeys", s.passkeyAdd)
	mux.HandleFunc("POST /account/passkeys/remove", s.passkeyRemove)
	mux.HandleFunc("POST /account/password", s.mailPassword)
}

func (s *Server) ceremony(w http.ResponseWriter, r *http.Request, c mall.Ceremony, err error) {
	if errors.Is(err, mall.ErrPasskey) {
		s.missing(w, r)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	answerJSON(w, c)
}

// passkeyAdd gives a member another passkey.
func (s *Server) passkeyAdd(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	err := s.mall.AddPasskey(r.Context(), *v.Member, f.Get("name"), f.Get("ticket"), f.Get("passkey"))
	switch {
	case errors.Is(err, mall.ErrPasskey), errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrFull):
		f.Fail("name", tongue(r).Say("mall.passkey.failed"))
		s.accountPage(w, r, http.StatusUnprocessableEntity, v, f)
	case err != nil:
		s.failed(w, r, err)
	default:
		see(w, r, "/account")
	}
}

func (s *Server) passkeyRemove(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	err := s.mall.RemovePasskey(r.Context(), *v.Member, f.Get("id"))
	if errors.Is(err, store.ErrState) {
		f.Fail("name", tongue(r).Say("mall.passkey.last"))
		s.accountPage(w, r, http.StatusConflict, v, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, "/account")
}

// mailPassword shows a member without a password one for their mail programs, this once.
func (s *Server) mailPassword(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	made, err := s.mall.MailPassword(r.Context(), *v.Member)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("mall.mailPassword"), Template: "mail-password",
		Data: struct{ Login, Password string }{v.Login, made}})
}
