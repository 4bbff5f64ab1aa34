// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
)

// Accounts is what people change of their own accounts.
type Accounts interface {
	// SetPassword sets a password and ends the login's mail sessions.
	SetPassword(ctx context.Context, login, password string) error
	AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error)
	AddAppPassword(ctx context.Context, login, name string) (password string, err error)
	RevokeAppPassword(ctx context.Context, login, name string) error
}

// accountRoutes are the paths of a login's own account.
func (s *Server) accountRoutes(mux *http.ServeMux) {
	if s.opts.Accounts == nil {
		return
	}
	s.handlePreferences(mux, map[string]preference{
		"GET /desk/app-passwords":    s.appPasswords,
		"POST /desk/app-passwords":   s.addAppPassword,
		"DELETE /desk/app-passwords": s.revokeAppPassword,
		"POST /desk/password":        s.changePassword,
	})
}

// changePassword sets a new password for who knows the current one. All sessions of
// the login end but this one, which begins anew.
func (s *Server) changePassword(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Current  string `json:"current"`
		Password string `json:"password"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	if err := password.Check(req.Password); err != nil {
		return err
	}
	if _, err := s.authenticate(r, login, req.Current); err != nil {
		s.signInFailed(w, err, http.StatusForbidden)
		return errAnswered
	}
	// From here on it is done to the end, also for a browser that has gone away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workTimeout)
	defer cancel()
	if err := s.opts.Accounts.SetPassword(ctx, login, req.Password); err != nil {
		return err
	}
	s.log.Info("a password was changed at the desk", "login", login, "addr", s.clientIP(r))
	if err := s.opts.Relay.SignOut(ctx, login); err != nil {
		return err
	}
	s.signedIn(w, login, time.Now())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// appPasswords lists the devices of a login.
func (s *Server) appPasswords(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	list, err := s.opts.Accounts.AppPasswords(ctx, login)
	if err == nil {
		answer(w, http.StatusOK, list)
	}
	return err
}

// addAppPassword makes a password for a device, which its owner sees once.
func (s *Server) addAppPassword(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Name string `json:"name"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	made, err := s.opts.Accounts.AddAppPassword(ctx, login, req.Name)
	if err == nil {
		s.log.Info("an app password was made at the desk", "login", login, "addr", s.clientIP(r))
		w.Header().Set("Cache-Control", "no-store")
		answer(w, http.StatusCreated, map[string]string{"password": made})
	}
	return err
}

func (s *Server) revokeAppPassword(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Name string `json:"name"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	return s.done(w, s.opts.Accounts.RevokeAppPassword(ctx, login, req.Name))
}

// accountFailed says an error of the accounts, and whether it was one.
func accountFailed(w http.ResponseWriter, err error) bool {
	switch {
	case errors.Is(err, password.ErrUnfit):
		refuse(w, http.StatusBadRequest, "password", err.Error())
	case errors.Is(err, apppassword.ErrName):
		refuse(w, http.StatusBadRequest, "device", err.Error())
	case errors.Is(err, apppassword.ErrUnknown):
		refuse(w, http.StatusNotFound, "unknown", err.Error())
	case errors.Is(err, apppassword.ErrNone):
		refuse(w, http.StatusNotFound, "no-app-passwords", "Devices have no passwords of their own here.")
	case errors.Is(err, apppassword.ErrFull):
		refuse(w, http.StatusConflict, "full", err.Error())
	default:
		return false
	}
	return true
}

var _ SignIns = (*signin.Check)(nil)
