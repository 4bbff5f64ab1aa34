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
	"sync"
	"time"
)

const (
	maxLogins = 16384            // logins whose refusals are remembered; beyond it an arbitrary one is forgotten
	forgetIn  = 10 * time.Minute // after the last refusal
)

// PlainAuth knows the passwords; an error refuses.
type PlainAuth interface {
	AuthPlain(login, password string) error
}

// Auth refuses slowly. It holds up nobody who knows the password.
type Auth struct {
	next     PlainAuth
	first    time.Duration // what the first refusal takes
	longest  time.Duration // doubled with each further one, up to this
	now      func() time.Time
	mu       sync.Mutex
	refusals map[string]refusal // by lower-case login
}

type refusal struct {
	count int
	last  time.Time
}

// New returns a guard before next.
func New(next PlainAuth, first, longest time.Duration) *Auth {
	return &Auth{next: next, first: first, longest: max(first, longest),
		now: time.Now, refusals: make(map[string]refusal)}
}

// AuthPlain implements PlainAuth. A refusal returns only after its
// delay, counted from the call.
func (a *Auth) AuthPlain(login, password string) error {
	start := a.now()
	err := a.next.AuthPlain(login, password)
	key := strings.ToLower(login)
	if err == nil {
		a.mu.Lock()
		delete(a.refusals, key)
		a.mu.Unlock()
		return nil
	}
	time.Sleep(a.refused(key) - a.now().Sub(start))
	return err
}

// refused counts a refusal and returns how long it shall take.
func (a *Auth) refused(key string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	r := a.refusals[key]
	if now.Sub(r.last) > forgetIn {
		r.count = 0
	}
	if _, known := a.refusals[key]; !known && len(a.refusals) >= maxLogins {
		for other := range a.refusals {
			delete(a.refusals, other)
			break
		}
	}
	delay := a.first
	for range min(r.count, 16) {
		delay = min(2*delay, a.longest)
	}
	a.refusals[key] = refusal{r.count + 1, now}
	return delay
}
