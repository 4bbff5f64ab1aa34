// SPDX-License-Identifier: GPL-3.0-or-later

// Package signin is the one check of logins and passwords, for every door: POP3,
// IMAP, submission and the desk.
package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/guard/limit"
)

// Doors, as they are called in logs and figures.
const (
	POP3       = "pop3"
	IMAP       = "imap"
	Submission = "submission"
	Desk       = "desk"
)

const (
	maxLogins = 16384            // logins whose refusals are remembered; beyond it the oldest is forgotten
	forgetIn  = 10 * time.Minute // after the last refusal
)

// ErrWrong: there is no such login, or that is not its password or token.
var ErrWrong = errors.New("login or password is wrong")

// BusyError refuses a sign-in before its password was looked at: there were too
// many, or too many wrong ones. It says nothing about the password.
type BusyError struct{ After time.Duration } // when to come again

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many sign-ins, or too many wrong ones: come again in %v", e.After)
}

// Attempt is one try to sign in.
type Attempt struct {
	Door     string
	Login    string     // as it was typed
	Password string     // the account's, or one of a device
	Token    string     // an OAuth 2.0 bearer token instead of a password (RFC 7628)
	Addr     netip.Addr // of the client; the zero Addr where it is not known
}

// Accounts know the passwords. Errors other than those that wrap ErrWrong mean
// that the password cannot be checked now. Logins come normalised.
type Accounts interface {
	Verify(ctx context.Context, login, password string) error
}

// Options of a Check.
type Options struct {
	Accounts  Accounts
	Normalize func(login string) (string, error) // nil: strings.ToLower
	// The first refusal of a login takes First, each further one twice as long,
	// up to Longest.
	First, Longest time.Duration
}

// Check checks sign-ins. Its methods may be called from any goroutine.
type Check struct {
	opts     Options
	refusals *limit.Refusals // by login

	mu       sync.Mutex
	sessions map[string]map[*Session]struct{} // by login
}

// New returns a check.
func New(o Options) *Check {
	if o.Normalize == nil {
		o.Normalize = func(s string) (string, error) { return strings.ToLower(s), nil }
	}
	return &Check{opts: o, refusals: limit.NewRefusals(o.First, max(o.First, o.Longest), forgetIn, maxLogins),
		sessions: make(map[string]map[*Session]struct{})}
}

// Tokens reports whether bearer tokens are taken (OAUTHBEARER, XOAUTH2).
func (c *Check) Tokens() bool { return false }

// SignIn checks an attempt. A refusal, which wraps ErrWrong, returns only after its
// delay, the same for unknown logins. A *BusyError refuses before the password is
// looked at. Any other error: it cannot be checked now. Who gets a session closes it.
func (c *Check) SignIn(ctx context.Context, a Attempt) (*Session, error) {
	start := time.Now()
	login, err := c.opts.Normalize(a.Login)
	if err != nil {
		login, err = "", errors.Join(ErrWrong, err)
	}
	s := c.session(login) // before the check: a password that is changed meanwhile ends it
	if err == nil {
		err = c.opts.Accounts.Verify(ctx, login, a.Password)
	}
	if err == nil {
		c.refusals.Forget(login)
		return s, nil
	}
	s.Close()
	if errors.Is(err, ErrWrong) {
		t := time.NewTimer(time.Until(start.Add(c.refusals.Add(start, login))))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return nil, err
}

// Changed is told that a login's password was changed or its account removed: its
// sessions end at once, and nothing that was remembered of it counts.
func (c *Check) Changed(login string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.sessions[login] {
		s.end()
	}
	delete(c.sessions, login)
}

// Session is a sign-in that was accepted.
type Session struct {
	Login string // in its normal form

	check *Check
	ctx   context.Context
	end   context.CancelFunc
}

func (c *Check) session(login string) *Session {
	s := &Session{Login: login, check: c}
	s.ctx, s.end = context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[login] == nil {
		c.sessions[login] = make(map[*Session]struct{})
	}
	c.sessions[login][s] = struct{}{}
	return s
}

// Context ends when the login's password is changed, its account is removed, or the
// session is closed. context.AfterFunc on it closes the connection.
func (s *Session) Context() context.Context { return s.ctx }

// Close ends the session.
func (s *Session) Close() {
	s.end()
	s.check.mu.Lock()
	defer s.check.mu.Unlock()
	delete(s.check.sessions[s.Login], s)
	if len(s.check.sessions[s.Login]) == 0 {
		delete(s.check.sessions, s.Login)
	}
}
