// SPDX-License-Identifier: GPL-3.0-or-later

// Package guard keeps trouble out.
//
// auth.guard stands before an account database where an endpoint has no limits
// of its own, as maddy's submission and imap: a refused sign-in takes the same
// time whether the login exists or not, and longer with each refusal of that
// login, so that neither accounts nor passwords can be found by trying.
package guard

import (
	"strings"
	"time"

	"github.com/chmail/chmail/guard/limit"
)

const (
	maxLogins = 16384            // logins whose refusals are remembered; beyond it the oldest is forgotten
	forgetIn  = 10 * time.Minute // after the last refusal
)

// PlainAuth knows the passwords; an error refuses.
type PlainAuth interface {
	AuthPlain(login, password string) error
}

// Auth refuses slowly. It holds up nobody who knows the password.
type Auth struct {
	next     PlainAuth
	refusals *limit.Refusals // by lower-case login
}

// New returns a guard before next. The first refusal of a login takes first, each
// further one twice as long, up to longest.
func New(next PlainAuth, first, longest time.Duration) *Auth {
	return &Auth{next, limit.NewRefusals(first, max(first, longest), forgetIn, maxLogins)}
}

// AuthPlain implements PlainAuth. A refusal returns only after its delay, counted
// from the call.
func (a *Auth) AuthPlain(login, password string) error {
	start := time.Now()
	err := a.next.AuthPlain(login, password)
	key := strings.ToLower(login)
	if err == nil {
		a.refusals.Forget(key)
		return nil
	}
	time.Sleep(time.Until(start.Add(a.refusals.Add(start, key))))
	return err
}
