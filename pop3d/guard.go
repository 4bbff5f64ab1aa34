// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"sync"
)

// maxFailures is how many refused sign-ins a connection survives.
const maxFailures = 5

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
