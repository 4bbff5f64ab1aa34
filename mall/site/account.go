// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"net/http"

	"github.com/chmail/chmail/mall/store"
)

const (
	accountListed  = 20
	accountWritten = 50 // proofs of consent that are shown
)

func (s *Server) accountRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /account", s.account)
	mux.HandleFunc("POST /account", s.accountSave)
}

// accountData is what is known about a member.
type accountData struct {
	Login     string
	Personal  store.Personal
	Inquiries []store.Inquiry
	Proofs    []store.Consent
	Form      *form
}

// account shows a member what is known about them, and what they agreed to.
func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	d := accountData{Login: v.Login, Form: blank()}
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
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d.Proofs = d.Proofs[:min(len(d.Proofs), accountWritten)]
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("mall.account"), Template: "account", Data: d})
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
