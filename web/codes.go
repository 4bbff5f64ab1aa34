// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/seal"
)

// Programs is what a code that is good once, and the list of a login's programs, ask of
// the relay, which documents each.
type Programs interface {
	Programs(ctx context.Context, login string) ([]chat.Program, error)
	UseCode(ctx context.Context, id string, expires time.Time) (first bool, err error)
	ReturnCode(ctx context.Context, id string) error
}

const (
	setupLife = 15 * time.Minute // of the code in a setup link
	codeID    = 9                // octets
	codeSum   = 16               // octets
	codeHead  = codeSum + codeID + 8
)

// code is what a person carries from one place to another, and what is good once: the
// invitation to register, and the one that signs a program in. Nothing is kept of it until
// it is used; the key says what it is for.
type code struct {
	ID    string
	Until time.Time
	Login string // that it signs in; empty: an invitation
}

// newCode makes a code, short enough to be typed in if need be.
func newCode(key seal.Key, login string, until time.Time) string {
	id := make([]byte, codeID)
	rand.Read(id)
	body := append(binary.BigEndian.AppendUint64(id, uint64(until.UnixMicro())), login...)
	return base64.RawURLEncoding.EncodeToString(append(key.Sum(body)[:codeSum], body...))
}

// openCode reads a code; false: it is none of this key's, or not any more.
func openCode(key seal.Key, text string, now time.Time) (c code, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < codeHead || !key.Fits(raw[:codeSum], raw[codeSum:]) {
		return c, false
	}
	c.ID = base64.RawURLEncoding.EncodeToString(raw[codeSum : codeSum+codeID])
	c.Until = time.UnixMicro(int64(binary.BigEndian.Uint64(raw[codeSum+codeID:])))
	c.Login = string(raw[codeHead:])
	return c, now.Before(c.Until)
}

// setupCode makes a code that signs a program of a login in.
func (s *Server) setupCode(login string) string {
	return newCode(s.keys.setup, login, time.Now().Add(setupLife))
}

// takeSetup uses a setup code and returns whom it signs in; errNoSession: it is not good,
// or not any more. A new password and "Sign out everywhere" end it too.
func (s *Server) takeSetup(ctx context.Context, text string) (login string, err error) {
	c, ok := openCode(s.keys.setup, text, time.Now())
	if !ok {
		return "", errNoSession
	}
	first, err := s.opts.Relay.UseCode(ctx, c.ID, c.Until)
	if err != nil {
		return "", err
	}
	made := chat.Session{Login: c.Login, ID: c.ID, Began: c.Until.Add(-setupLife)}
	good, err := s.opts.Relay.SignedIn(ctx, made)
	if err == nil && !(first && good) {
		err = errNoSession
	}
	return c.Login, err
}

// programs lists the computers of a login whose program has a token.
func (s *Server) programs(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	list, err := s.opts.Relay.Programs(ctx, login)
	if err == nil {
		answer(w, http.StatusOK, list)
	}
	return err
}

// revokeProgram ends the token of a computer, and its connections.
func (s *Server) revokeProgram(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		ID string `json:"id"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	list, err := s.opts.Relay.Programs(ctx, login)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.ID == req.ID {
			s.log.Info("a program was signed out at the desk", "login", login, "addr", s.clientIP(r))
			session := chat.Session{Login: login, ID: p.ID, Began: p.Made, Device: p.Name}
			return s.done(w, s.opts.Relay.EndSession(ctx, session, tokenEnd(session)))
		}
	}
	return refused(w, http.StatusNotFound, "unknown", "There is no such computer.")
}
