// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"net/http"
	"time"

	"github.com/chmail/chmail/mall"
)

const langLife = 365 * 24 * time.Hour

func (s *Server) memberRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /language", s.language)
}

// language keeps the language that the reader chose.
func (s *Server) language(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if lang := f.Get("lang"); isLanguage(lang) {
		s.setCookie(w, langCookie, lang, langLife)
		if m := visitor(r).Member; m != nil {
			if err := s.store.SetLang(r.Context(), m.ID, lang); err != nil {
				s.failed(w, r, err)
				return
			}
		}
	}
	see(w, r, localPath(f.Get("back")))
}

// member is the member who asks. Otherwise it has answered: with the page to sign in
// at, which keeps what was typed, or with what becoming a member means.
func (s *Server) member(w http.ResponseWriter, r *http.Request) (mall.Visitor, bool) {
	v := visitor(r)
	if v.Member == nil {
		s.missing(w, r)
		return v, false
	}
	return v, true
}

// login is the login that asks, member or not, such as staff. Otherwise it has
// answered as member does.
func (s *Server) login(w http.ResponseWriter, r *http.Request) (mall.Visitor, bool) {
	v := visitor(r)
	if v.Login == "" {
		s.missing(w, r)
		return v, false
	}
	return v, true
}
