// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"net/netip"
	"sync"
	"time"

	"github.com/chmail/chmail/guard/limit"
)

const (
	// maxFailures is how many refused sign-ins a connection survives.
	maxFailures = 5
	// maxFailureDelay is the longest that a refusal waits; the wait doubles
	// with each failure of the client's network.
	maxFailureDelay = 16 * time.Second
	// forgetFailures is how long a network's failures are remembered.
	forgetFailures = 15 * time.Minute
	// maxFailureEntries bounds the networks remembered; beyond it old ones are
	// forgotten first, then any.
	maxFailureEntries = 10_000
)

// network is what counts as one client: an IPv4 address, or an IPv6 /64,
// which one customer commonly has.
func network(ip netip.Addr) netip.Addr { return limit.Prefix(ip).Addr() }

// locks is the set of logins whose maildrop is open (RFC 1939 section 4).
type locks struct {
	mu   sync.Mutex
	held map[string]struct{}
}

func (l *locks) take(login string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.held[login]; taken {
		return false
	}
	if l.held == nil {
		l.held = make(map[string]struct{})
	}
	l.held[login] = struct{}{}
	return true
}

func (l *locks) release(login string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, login)
}

// failures remembers refused sign-ins by network, so that a guesser gains
// nothing from a new connection.
type failures struct {
	mu  sync.Mutex
	net map[netip.Addr]failure
}

type failure struct {
	count int
	last  time.Time
}

// add counts one more failure and returns how many there are.
func (f *failures) add(from netip.Addr, now time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.net == nil {
		f.net = make(map[netip.Addr]failure)
	}
	e := f.net[from]
	if now.Sub(e.last) > forgetFailures {
		e.count = 0
	}
	if _, known := f.net[from]; !known && len(f.net) >= maxFailureEntries {
		f.makeRoom(now)
	}
	e.count++
	e.last = now
	f.net[from] = e
	return e.count
}

func (f *failures) makeRoom(now time.Time) {
	for from, e := range f.net {
		if now.Sub(e.last) > forgetFailures {
			delete(f.net, from)
		}
	}
	// A tenth at once, so that a flood does not search the table each time.
	for from := range f.net {
		if len(f.net) <= maxFailureEntries*9/10 {
			return
		}
		delete(f.net, from)
	}
}

// failureDelay doubles from first with each failure, up to maxFailureDelay.
func failureDelay(first time.Duration, count int) time.Duration {
	delay := first
	for ; count > 1 && delay < maxFailureDelay; count-- {
		delay *= 2
	}
	return min(delay, maxFailureDelay)
}
