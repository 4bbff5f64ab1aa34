// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/chmail/chmail/addresses"
)

// Mail is what people set for their own mail.
type Mail interface {
	// MailOf is what a login has set, and what it keeps.
	MailOf(ctx context.Context, login string) (MailSettings, error)
	// SetMail sets the rules of a login. Its errors wrap those of addresses.
	SetMail(ctx context.Context, login string, r addresses.Rules) error
}

// MailSettings are the rules of a login, and what its mail takes.
type MailSettings struct {
	addresses.Rules
	Used  int64 `json:"used"`  // octets
	Quota int64 `json:"quota"` // octets; 0: no bound
}

const maxMailSettings = 96 << 10 // octets of rules: 50 filters of 300 characters, each escaped, and a notice

// mailRoutes are the paths of a login's own mail.
func (s *Server) mailRoutes(mux *http.ServeMux) {
	if s.opts.Mail == nil {
		return
	}
	s.handlePreferences(mux, map[string]preference{"GET /desk/mail": s.mailSettings, "PUT /desk/mail": s.setMail})
}

func (s *Server) mailSettings(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	m, err := s.opts.Mail.MailOf(ctx, login)
	if err == nil {
		answer(w, http.StatusOK, m)
	}
	return err
}

func (s *Server) setMail(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	rules, err := given[addresses.Rules](w, r, maxMailSettings)
	if err != nil {
		return err
	}
	err = s.opts.Mail.SetMail(ctx, login, rules)
	for _, e := range []struct {
		is   error
		code string
	}{{addresses.ErrLoop, "circle"}, {addresses.ErrUnknown, "nobody"}, {addresses.ErrFull, "full"},
		{addresses.ErrUnfit, "unfit"}} {
		if errors.Is(err, e.is) {
			return refused(w, http.StatusBadRequest, e.code, err.Error())
		}
	}
	return s.done(w, err)
}
