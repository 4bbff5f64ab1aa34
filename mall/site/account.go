// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

const (
	accountListed  = 20
	accountWritten = 50 // proofs of consent, and uses, that are shown
)

func (s *Server) accountRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /account", s.account)
	mux.HandleFunc("POST /account", s.accountSave)
	mux.HandleFunc("GET /account/export", s.export)
	mux.HandleFunc("POST /account/erase", s.erase)
}

// accountData is what is known about a member.
type accountData struct {
	Login     string
	Personal  store.Personal
	Inquiries []store.Inquiry
	Proofs    []store.Consent
	Uses      []store.Use
	Passkeys  []store.Passkey
	Made      bool // the mall made the account
	Bare      bool // and nobody knows its password
	Form      *form

	HasPasskeys bool // members can have them
}

// account shows a member what is known about them, and what they agreed to.
func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	if v, ok := s.member(w, r); ok {
		s.accountPage(w, r, http.StatusOK, v, blank())
	}
}

func (s *Server) accountPage(w http.ResponseWriter, r *http.Request, status int, v mall.Visitor, f *form) {
	d := accountData{Login: v.Login, Form: f, Made: v.Member.Made, Bare: v.Member.Bare,
		HasPasskeys: s.mall.HasPasskeys()}
	for what, given := range agreed(v.Member) {
		if given {
			d.Form.Values.Set(what, "yes")
		}
	}
	var err error
	if d.Personal, err = s.mall.Personal(*v.Member); err == nil {
		d.Inquiries, err = s.store.InquiriesOf(r.Context(), v.Member.ID, "", accountListed)
	}
	if err == nil {
		d.Proofs, err = s.store.Consents(r.Context(), v.Member.ID)
	}
	if err == nil {
		d.Passkeys, err = s.store.Passkeys(r.Context(), v.Member.ID)
	}
	if err == nil {
		d.Uses, err = s.store.Uses(r.Context(), v.Member.ID, accountWritten)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d.Proofs = d.Proofs[:min(len(d.Proofs), accountWritten)]
	s.page(w, r, status, page{Title: tongue(r).Say("mall.account"), Template: "account", Data: d})
}

// agreed is what a member agrees to now.
func agreed(m *store.Member) map[string]bool {
	return map[string]bool{store.ConsentPublicity: m.Publicity, store.ConsentRecord: m.Record}
}

// accountSave takes what a member agrees to from now on.
func (s *Server) accountSave(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	for what, before := range agreed(v.Member) {
		if f.On(what) == before {
			continue
		}
		err := s.store.SetConsent(r.Context(), store.Consent{Member: v.Member.ID, What: what, Given: f.On(what),
			Addr: s.clientIP(r).String(), Wording: tongue(r).Say("mall.consent." + what)})
		if err != nil {
			s.failed(w, r, err)
			return
		}
	}
	see(w, r, "/account")
}

// export gives a member all that is known about them.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	var b bytes.Buffer
	if err := s.mall.Export(r.Context(), *v.Member, &b); err != nil {
		s.failed(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="mall-`+v.Member.ID+`.json"`)
	send(w, r, http.StatusOK, b.Bytes())
}

// erase takes a member out of the mall, once they have typed their login for it.
func (s *Server) erase(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if !strings.EqualFold(f.Get("erase"), v.Login) {
		f.Fail("erase", tongue(r).Say("mall.erase.wrong", "login", v.Login))
		s.accountPage(w, r, http.StatusUnprocessableEntity, v, f)
		return
	}
	err := s.mall.Erase(r.Context(), v.Member.ID)
	if errors.Is(err, store.ErrWorks) {
		f.Fail("erase", tongue(r).Say("mall.erase.works"))
		s.accountPage(w, r, http.StatusConflict, v, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.setCookie(w, sessionCookie, "", -time.Second)
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, request{tongue: of(r).tongue}))
	s.notice(w, r, http.StatusOK, "erased")
}
