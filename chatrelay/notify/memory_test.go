// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"slices"
	"sync"
)

// maxLogins bounds Memory; the login of one more has to wait for another's
// subscriptions to go.
const maxLogins = 100_000

// Memory keeps subscriptions until the program ends. The zero value is empty.
type Memory struct {
	mu     sync.Mutex
	of     map[string][]Subscription // login → oldest first
	owners map[string]string         // endpoint → login
}

var _ Subscriptions = (*Memory)(nil)

// Put implements Subscriptions. It errs with ErrFull when it holds too many logins.
func (m *Memory) Put(_ context.Context, login string, s Subscription) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of, m.owners = make(map[string][]Subscription), make(map[string]string)
	}
	m.forget(s.Endpoint)
	if len(m.of[login]) == 0 && len(m.of) >= maxLogins {
		return ErrFull
	}
	for len(m.of[login]) >= PerLogin {
		m.forget(m.of[login][0].Endpoint)
	}
	m.of[login] = append(m.of[login], s)
	m.owners[s.Endpoint] = login
	return nil
}

// Of implements Subscriptions.
func (m *Memory) Of(_ context.Context, login string) ([]Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.of[login]), nil
}

// Forget implements Subscriptions.
func (m *Memory) Forget(_ context.Context, endpoint string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(endpoint)
	return nil
}

func (m *Memory) forget(endpoint string) {
	login, known := m.owners[endpoint]
	if !known {
		return
	}
	delete(m.owners, endpoint)
	m.of[login] = slices.DeleteFunc(m.of[login], func(s Subscription) bool { return s.Endpoint == endpoint })
	if len(m.of[login]) == 0 {
		delete(m.of, login)
	}
}
