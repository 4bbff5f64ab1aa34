// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"time"

	"github.com/chmail/chmail/guard/limit"
)

// bound is how many wrong sign-ins are let through to the password.
type bound struct {
	burst  int           // at once
	every  time.Duration // and then one each
	atOnce int           // wrong ones and those under way together
}

// The bounds. A password that was wrong a moment ago is not counted again: that is
// a program that polls, and nobody who guesses. A prefix and a login have bounds of
// their own for prefixes that the login is not known from. So strangers use up
// nothing that the login's owner needs.
var (
	pairBound   = bound{burst: 10, every: 30 * time.Second, atOnce: 10}  // a login from a prefix
	loginBound  = bound{burst: 50, every: 10 * time.Second, atOnce: 50}  // a login from all unknown prefixes
	prefixBound = bound{burst: 50, every: 10 * time.Second, atOnce: 256} // a prefix, whatever the login
)

// pendingRetry is when to come again where many sign-ins are under way.
const pendingRetry = 2 * time.Second

// tally counts the sign-ins of a key.
type tally struct {
	wrong   float64 // fewer with time
	at      time.Time
	pending int // under way
}

// counter is a key and its bound.
type counter struct {
	bound
	key string
}

// bounds are the tallies of all keys.
type bounds struct{ of *limit.Table[tally] }

func newBounds() bounds { return bounds{limit.NewTable[tally](3 * maxTracked)} }

// countersOf are what a sign-in counts for. This machine has no bound for all logins
// together: it may be a proxy, which stands for anybody.
func countersOf(v *verification) (list []counter) {
	if v.login != "" {
		list = append(list, counter{pairBound, "pair " + v.login + " " + v.from.String()})
	}
	if v.known {
		return list
	}
	if v.login != "" {
		list = append(list, counter{loginBound, "login " + v.login})
	}
	if v.remote.IsValid() {
		list = append(list, counter{prefixBound, "prefix " + v.remote.String()})
	}
	return list
}

// wait says how long until one more sign-in may begin, 0: now.
func (b bounds) wait(list []counter, now time.Time) time.Duration {
	wait := b.spent(list, now)
	for _, c := range list {
		t, _ := b.of.Get(c.key)
		t.drain(c.bound, now)
		if t.wrong+float64(t.pending) > float64(c.atOnce-1) {
			wait = max(wait, pendingRetry)
		}
	}
	return wait
}

// spent is wait without those under way.
func (b bounds) spent(list []counter, now time.Time) (wait time.Duration) {
	for _, c := range list {
		t, _ := b.of.Get(c.key)
		t.drain(c.bound, now)
		if over := t.wrong - float64(c.burst-1); over > 0 {
			wait = max(wait, time.Duration(over*float64(c.every)))
		}
	}
	return wait
}

// begin counts a sign-in under way; end counts it as over, and perhaps as wrong.
func (b bounds) begin(list []counter) {
	for _, c := range list {
		b.of.Change(c.key, func(t *tally) { t.pending++ })
	}
}

func (b bounds) end(list []counter, now time.Time, wrong bool) {
	for _, c := range list {
		b.of.Change(c.key, func(t *tally) {
			t.drain(c.bound, now)
			t.pending = max(t.pending-1, 0) // the table may have forgotten it
			if wrong {
				t.wrong++
			}
		})
	}
}

func (t *tally) drain(b bound, now time.Time) {
	t.wrong = max(0, t.wrong-float64(now.Sub(t.at))/float64(b.every))
	t.at = now
}
