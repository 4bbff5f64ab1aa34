// SPDX-License-Identifier: GPL-3.0-or-later

// Package signin is the one check of logins and passwords, for every door: POP3,
// IMAP, submission and the desk.
//
// A sign-in passes, in this order: the bounds of wrong sign-ins (bounds.go), so
// that nobody guesses without an end; the memory of recent answers, so that a
// program that polls costs no password hash; and the queue for hashes (queue.go),
// which are few at a time. Attempts with the same login and password at the same
// time share one answer.
package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/seal"
)

// Doors, as they are called in logs and figures.
const (
	POP3       = "pop3"
	IMAP       = "imap"
	Submission = "submission"
	Desk       = "desk"
)

const (
	// DefaultFirst and DefaultLongest are how long refusals take.
	DefaultFirst, DefaultLongest = time.Second, 8 * time.Second
	// DefaultRemember is how long a verified password counts without its hash.
	DefaultRemember = 10 * time.Minute

	maxTracked  = 65536            // logins, prefixes or answers in one table; the least recent is forgotten
	maxLogin    = 320              // octets, RFC 5321 section 4.5.3.1
	maxPassword = 1024             // octets
	maxToken    = 16 << 10         // octets
	maxKnown    = 16               // prefixes that a login is known from; the oldest is forgotten
	forgetIn    = 10 * time.Minute // after the last refusal the next one takes First again
	// refusedRetry is when an address may come again that is refused.
	refusedRetry = time.Minute
	checkFor     = time.Minute // the longest that a check may take, with the wait for a place
)

// ErrWrong: there is no such login, or that is not its password or token.
var ErrWrong = errors.New("login or password is wrong")

// errChanged: it was the password when the check began.
var errChanged = errors.New("the password has been changed meanwhile")

// BusyError refuses a sign-in before its password was looked at: there were too
// many, or too many wrong ones. It says nothing about the password.
type BusyError struct{ After time.Duration } // when to come again

func (e *BusyError) Error() string {
	return fmt.Sprintf("too many sign-ins, or too many wrong ones: come again in %v", e.After)
}

// Attempt is one try to sign in.
type Attempt struct {
	Door     string
	Login    string     // as it was typed; may be empty where there is a token
	As       string     // whom the client wants to be; nobody else than Login, or empty
	Password string     // the account's, or one of a device
	Token    string     // an OAuth 2.0 bearer token instead of a password (RFC 7628)
	Addr     netip.Addr // of the client; the zero Addr where it is not known
}

// Accounts know the passwords. Errors other than those that wrap ErrWrong mean
// that the password cannot be checked now. Logins come normalised. An unknown
// login should take as long as a wrong password.
type Accounts interface {
	Verify(ctx context.Context, login, password string) error
}

// Existing is what Accounts may be as well: a token opens no account that is not there.
type Existing interface {
	Exists(ctx context.Context, login string) (bool, error)
}

// Devices know the passwords of devices, which open every door but the desk. They
// are random, so that checking one costs little.
type Devices interface {
	Verify(ctx context.Context, login, password string) (bool, error)
}

// Tokens know whose a bearer token is, and until when. The errors are as those of
// Accounts.
type Tokens interface {
	Verify(ctx context.Context, token string) (login string, until time.Time, err error)
}

// Options of a Check. What is zero is its default.
type Options struct {
	Accounts  Accounts
	Devices   Devices                            // nil: there are none
	Tokens    Tokens                             // nil: none are taken
	Normalize func(login string) (string, error) // nil: strings.ToLower
	Domain    string                             // of a login that was typed without one; empty: it stays as it is
	// The first refusal of a login or a prefix takes First, each further one twice
	// as long, up to Longest.
	First, Longest time.Duration
	Remember       time.Duration // how long a verified password or token counts without another check
	Hashes         int           // passwords checked at once; default: the number of processors
	// Reputation is told of wrong passwords and right ones. Who is met worse waits, or is
	// refused, where the login has not signed in before. Nil: everybody is met alike.
	Reputation *reputation.Table
	Log        *slog.Logger // nil: nothing is logged
}

// Check checks sign-ins. Its methods may be called from any goroutine.
type Check struct {
	opts     Options
	key      seal.Key        // of this process: what is remembered reveals no password
	refusals *limit.Refusals // by login and by prefix
	hashes   *queue

	mu       sync.Mutex
	sessions map[string]map[*Session]struct{} // by login
	changes  uint64                           // how often Changed was called
	lastID   uint64                           // of a person
	bounds   bounds
	people   *limit.Table[person]     // logins that have signed in
	right    *limit.Table[verified]   // by secret
	wrong    *limit.Table[time.Time]  // by secret, until when
	running  map[string]*verification // checks under way, by secret
}

// person is what is remembered of a login that has signed in or was changed.
// Strangers cannot fill the table of them.
type person struct {
	id      uint64                     // another one after each change
	changed uint64                     // Check.changes at the last change
	known   map[netip.Prefix]time.Time // where the login has signed in, and when
}

// verified is a password or token that was right.
type verified struct {
	login  string
	person uint64 // its id
	until  time.Time
}

// verification is a check under way, which equal attempts share.
type verification struct {
	Attempt
	login, secret string
	from          netip.Prefix
	known         bool         // the login is known from there
	remote        netip.Prefix // from, but the zero Prefix for this machine
	counters      []counter
	began         uint64 // Check.changes then

	done  chan struct{} // closed when there is an answer
	right verified
	err   error
}

// New returns a check.
func New(o Options) *Check {
	if o.Normalize == nil {
		o.Normalize = func(s string) (string, error) { return strings.ToLower(s), nil }
	}
	if o.First == 0 {
		o.First = DefaultFirst
	}
	if o.Longest == 0 {
		o.Longest = max(o.First, DefaultLongest)
	}
	if o.Remember == 0 {
		o.Remember = DefaultRemember
	}
	if o.Hashes == 0 {
		o.Hashes = runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Check{
		opts:     o,
		refusals: limit.NewRefusals(o.First, max(o.First, o.Longest), forgetIn, maxTracked),
		hashes:   newQueue(o.Hashes),
		sessions: make(map[string]map[*Session]struct{}),
		bounds:   newBounds(),
		people:   limit.NewTable[person](maxTracked),
		right:    limit.NewTable[verified](maxTracked),
		wrong:    limit.NewTable[time.Time](maxTracked),
		running:  make(map[string]*verification),
	}
	c.key = make(seal.Key, 32)
	_, _ = rand.Read(c.key) // it never fails
	return c
}

// Tokens reports whether bearer tokens are taken (OAUTHBEARER, XOAUTH2).
func (c *Check) Tokens() bool { return c.opts.Tokens != nil }

// SignIn checks an attempt. A refusal, which wraps ErrWrong, returns only after its
// delay, the same for unknown logins. A *BusyError refuses before the password is
// looked at. Any other error: it cannot be checked now. Who gets a session closes it.
func (c *Check) SignIn(ctx context.Context, a Attempt) (*Session, error) {
	start := time.Now()
	login, err := c.login(a)
	var s *Session
	if err == nil {
		err = c.meet(ctx, a.Addr, login)
	}
	if err == nil {
		s, err = c.check(ctx, a, login)
	}
	metricSignIns.WithLabelValues(a.Door, result(err)).Inc()
	if !errors.Is(err, ErrWrong) {
		if err == nil {
			c.refusals.Forget("login " + s.Login)
			c.opts.Reputation.Good(a.Addr)
		}
		return s, err
	}
	keys := []string{"login " + login}
	if from := limit.Remote(a.Addr); from.IsValid() {
		keys = append(keys, "prefix "+from.String())
	}
	t := time.NewTimer(time.Until(start.Add(c.refusals.Add(start, keys...))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil, err
}

// meet lets an attempt wait, or refuses it, by what is known of its address. Where the
// login has signed in before, it is met as anybody.
func (c *Check) meet(ctx context.Context, from netip.Addr, login string) error {
	level := c.opts.Reputation.Level(from)
	if level == reputation.Fine {
		return nil
	}
	c.mu.Lock()
	p, _ := c.people.Get(login)
	_, known := p.known[limit.Prefix(from)]
	c.mu.Unlock()
	switch {
	case known:
	case level >= reputation.Refused:
		return &BusyError{After: refusedRetry}
	default:
		wait := time.NewTimer(level.Delay())
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// login is the login of an attempt in its normal form. All that cannot be one
// counts as one, the empty one.
func (c *Check) login(a Attempt) (string, error) {
	switch {
	case a.Token != "" && a.Login == "" && len(a.Token) <= maxToken:
		return "", nil
	case a.As != "" && a.As != a.Login,
		a.Token == "" && a.Password == "", len(a.Password) > maxPassword, len(a.Token) > maxToken,
		a.Token != "" && c.opts.Tokens == nil:
		return "", ErrWrong
	}
	login, err := c.normal(a.Login)
	if err != nil {
		return "", errors.Join(ErrWrong, err)
	}
	return login, nil
}

func (c *Check) normal(login string) (string, error) {
	if len(login) > maxLogin {
		return "", errors.New("the login is too long")
	}
	login, err := c.opts.Normalize(strings.TrimSpace(login))
	if err == nil && login != "" && c.opts.Domain != "" && !strings.Contains(login, "@") {
		login += "@" + c.opts.Domain
	}
	if err == nil && (login == "" || len(login) > maxLogin) {
		err = errors.New("not a login")
	}
	return login, err
}

// secret is a keyed hash of what an attempt proves itself with.
func (c *Check) secret(a Attempt, login string) string {
	kind, proof := "password", a.Password
	switch {
	case a.Token != "":
		kind, proof = "token", a.Token
	case a.Door == Desk: // the passwords of devices are not good there
		kind = "desk"
	}
	var body []byte
	for _, part := range []string{kind, login, proof} {
		body = binary.BigEndian.AppendUint64(body, uint64(len(part)))
		body = append(body, part...)
	}
	return string(c.key.Sum(body))
}

// check answers an attempt, without the delay of refusals.
func (c *Check) check(ctx context.Context, a Attempt, login string) (*Session, error) {
	from := limit.Prefix(a.Addr)
	v := &verification{Attempt: a, login: login, secret: c.secret(a, login), from: from, remote: limit.Remote(a.Addr),
		done: make(chan struct{})}
	v, err := c.begin(v)
	if err != nil {
		return nil, err
	}
	select {
	case <-v.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if v.err != nil {
		return nil, v.err
	}
	return c.accept(v.right, from)
}

// begin finds the answer to v in what is remembered, or a check of the same
// under way, or begins one.
func (c *Check) begin(v *verification) (*verification, error) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	p, _ := c.people.Get(v.login)
	_, v.known = p.known[v.from]
	v.counters = countersOf(v)
	// Before anything is looked up: a remembered password could be guessed, too.
	if wait := c.bounds.wait(v.counters, now); wait > 0 {
		return nil, &BusyError{After: wait}
	}
	if right, ok := c.right.Get(v.secret); ok && now.Before(right.until) {
		if p, ok := c.people.Get(right.login); ok && p.id == right.person {
			metricRemembered.Inc()
			v.right = right
			close(v.done)
			return v, nil
		}
	}
	if until, ok := c.wrong.Get(v.secret); ok && now.Before(until) {
		metricRemembered.Inc()
		return nil, ErrWrong
	}
	if same := c.running[v.secret]; same != nil {
		return same, nil
	}
	v.began = c.changes
	c.running[v.secret] = v
	c.bounds.begin(v.counters)
	go c.run(v) // ends with the check, after checkFor at the latest
	return v, nil
}

// run checks a password or token, and remembers the answer.
func (c *Check) run(v *verification) {
	ctx, cancel := context.WithTimeout(context.Background(), checkFor)
	defer cancel()
	login, until, err := c.verify(ctx, v)
	now := time.Now()
	if most := now.Add(c.opts.Remember); until.IsZero() || until.After(most) {
		until = most
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && c.changedSince(login, v.began):
		err = errChanged
	case err == nil:
		v.right = verified{login, c.personOf(login), until}
		c.right.Change(v.secret, func(r *verified) { *r = v.right })
	case errors.Is(err, ErrWrong) && c.changes == v.began:
		if !v.known { // its owner mistypes, too
			c.opts.Reputation.Fault(v.Addr, reputation.WrongPassword)
		}
		c.wrong.Change(v.secret, func(t *time.Time) { *t = until })
	}
	c.bounds.end(v.counters, now, errors.Is(err, ErrWrong))
	delete(c.running, v.secret)
	v.err = err
	close(v.done)
}

func (c *Check) changedSince(login string, began uint64) bool {
	p, _ := c.people.Get(login)
	return p.changed > began
}

// personOf is the id of a login that has signed in.
func (c *Check) personOf(login string) (id uint64) {
	c.people.Change(login, func(p *person) {
		if p.id == 0 {
			c.lastID++
			p.id = c.lastID
		}
		id = p.id
	})
	return id
}

// errPanic: who knows had a panic, which was logged.
var errPanic = errors.New("checking a password: a panic, which was logged")

// verify asks who knows.
func (c *Check) verify(ctx context.Context, v *verification) (login string, until time.Time, err error) {
	err = errPanic // unless it comes back
	defer safely.Recover(c.opts.Log, "checking a password")
	if v.Token != "" {
		return c.verifyToken(ctx, v)
	}
	if v.Door != Desk && c.opts.Devices != nil {
		if ok, err := c.opts.Devices.Verify(ctx, v.login, v.Password); ok || err != nil {
			return v.login, until, err
		}
	}
	key := v.login
	if v.remote.IsValid() && !v.known {
		key = v.remote.String()
	}
	if err := c.hashes.take(ctx, v.known, key); err != nil {
		return v.login, until, err
	}
	defer c.hashes.release()
	// Others that began at the same time may have been wrong meanwhile.
	if wait := c.overdrawn(v); wait > 0 {
		return v.login, until, &BusyError{After: wait}
	}
	defer func(began time.Time) { metricCheckSeconds.Observe(time.Since(began).Seconds()) }(time.Now())
	return v.login, until, c.opts.Accounts.Verify(ctx, v.login, v.Password)
}

// verifyToken asks whose a token is, who must be the login where one was given.
func (c *Check) verifyToken(ctx context.Context, v *verification) (login string, until time.Time, err error) {
	login, until, err = c.opts.Tokens.Verify(ctx, v.Token)
	if err != nil {
		return v.login, time.Time{}, err
	}
	login, err = c.normal(login)
	if err != nil || v.login != "" && login != v.login {
		return v.login, time.Time{}, errors.Join(ErrWrong, err)
	}
	if accounts, ok := c.opts.Accounts.(Existing); ok {
		if there, err := accounts.Exists(ctx, login); err != nil || !there {
			return v.login, time.Time{}, cmp.Or(err, ErrWrong)
		}
	}
	return login, until, nil
}

// overdrawn says how long v would have to wait if it came now.
func (c *Check) overdrawn(v *verification) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounds.spent(v.counters, time.Now())
}

// Changed is told that a login was added, its password changed or its account
// removed: its sessions end at once, and nothing that was remembered of it counts.
func (c *Check) Changed(login string) {
	if normal, err := c.normal(login); err == nil {
		login = normal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.people.Change(login, func(p *person) { p.id, p.changed = 0, c.changes })
	c.wrong = limit.NewTable[time.Time](maxTracked) // whose they are is not known
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

// accept makes a session, and remembers where it came from.
func (c *Check) accept(right verified, from netip.Prefix) (*Session, error) {
	s := &Session{Login: right.login, check: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := false
	c.people.Change(s.Login, func(p *person) {
		if changed = p.id != right.person; !changed {
			p.seen(from, time.Now())
		}
	})
	if changed {
		return nil, errChanged
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	if c.sessions[s.Login] == nil {
		c.sessions[s.Login] = make(map[*Session]struct{})
	}
	c.sessions[s.Login][s] = struct{}{}
	return s, nil
}

// seen remembers where the login has signed in.
func (p *person) seen(from netip.Prefix, now time.Time) {
	if p.known == nil {
		p.known = make(map[netip.Prefix]time.Time)
	}
	p.known[from] = now
	if len(p.known) <= maxKnown {
		return
	}
	oldest := from
	for prefix, at := range p.known {
		if at.Before(p.known[oldest]) {
			oldest = prefix
		}
	}
	delete(p.known, oldest)
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
