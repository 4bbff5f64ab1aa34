// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"slices"
	"sync"

	"github.com/chmail/chmail/chatrelay/chat"
)

// memory is a Store without a disk. The zero value is empty.
type memory struct {
	settings
	mu sync.Mutex
	of map[string][]chat.Subscription // login → oldest first

	lang map[string]string // address → language

	shown string // endpoint of the last that showed something
}

var _ Store = (*memory)(nil)

// PutSubscription implements Store.
func (m *memory) PutSubscription(_ context.Context, login string, s chat.Subscription, most int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string][]chat.Subscription{}
	}
	m.drop(s.Endpoint)
	m.of[login] = append(m.of[login], s)
	m.of[login] = m.of[login][max(0, len(m.of[login])-most):]
	return nil
}

// Language implements Store.
func (m *memory) Language(_ context.Context, p chat.Person) (string, error) {
	return m.lang[p.Addr], nil
}

// Subscriptions implements Store.
func (m *memory) Subscriptions(_ context.Context, login string) ([]chat.Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.of[login]), nil
}

// NoteShown implements Store.
func (m *memory) NoteShown(_ context.Context, _, endpoint string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown = endpoint
	return nil
}

// DropSubscription implements Store.
func (m *memory) DropSubscription(_ context.Context, _, endpoint string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(endpoint)
	return nil
}

func (m *memory) drop(endpoint string) {
	for login, list := range m.of {
		m.of[login] = slices.DeleteFunc(list, func(s chat.Subscription) bool { return s.Endpoint == endpoint })
	}
}
