// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/file"
	"github.com/chmail/chmail/presence/internal/shared"
)

// place is a port of a relay host.
type place struct {
	host string
	port int
}

// remembered is a grant of this process' hosts as this process knows it, on
// the monotonic clock.
type remembered struct {
	place
	login     string
	granted   time.Time
	used      time.Time
	heldUntil time.Time

	fromFile bool      // read from the journal, and not confirmed by Redis since
	saved    time.Time // when it was last marked for the journal
}

// saveEvery is how far the journal may lag behind in when a grant was used.
const saveEvery = time.Minute

// memory is the grants of this process' hosts that it knows of. There is one a
// port, which bounds it.
type memory struct {
	changed func(place) // tells the journal of a change; called under the lock

	mu      sync.Mutex
	byPlace map[place]*remembered
	byLogin map[string]*remembered
}

func newMemory() *memory {
	return &memory{changed: func(place) {}, byPlace: make(map[place]*remembered),
		byLogin: make(map[string]*remembered)}
}

func placeOf(g presence.Grant) place { return place{strings.ToLower(g.Host), g.Port} }

func (m *memory) insert(e *remembered) {
	m.forget(m.byLogin[e.login])
	m.forget(m.byPlace[e.place])
	m.byLogin[e.login], m.byPlace[e.place] = e, e
	m.mark(e)
}

func (m *memory) mark(e *remembered) {
	e.saved = time.Now()
	m.changed(e.place)
}

func (m *memory) forget(e *remembered) {
	if e != nil {
		delete(m.byLogin, e.login)
		delete(m.byPlace, e.place)
		m.changed(e.place)
	}
}

// put remembers a grant that was just made or renewed.
func (m *memory) put(g presence.Grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.byLogin[g.Login]
	if e == nil || e.place != placeOf(g) {
		e = &remembered{place: placeOf(g), login: g.Login, granted: now.Add(-shared.Age(now, g.Granted))}
		m.insert(e)
	}
	e.used, e.fromFile = now, false
	if now.Sub(e.saved) > saveEvery {
		m.mark(e)
	}
}

// learn remembers a grant that Redis knows of, unless something newer is known.
func (m *memory) learn(g presence.Grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := m.byLogin[g.Login]
	if same != nil && same.place == placeOf(g) {
		same.fromFile = false
		return
	}
	for _, e := range []*remembered{same, m.byPlace[placeOf(g)]} {
		if e != nil && !e.fromFile {
			return
		}
	}
	now := time.Now()
	m.insert(&remembered{place: placeOf(g), login: g.Login,
		granted: now.Add(-shared.Age(now, g.Granted)), used: now.Add(-shared.Age(now, g.Renewed))})
}

// load remembers a grant of the journal.
func (m *memory) load(e remembered) {
	e.fromFile, e.saved = true, time.Now()
	m.byLogin[e.login], m.byPlace[e.place] = &e, &e
}

func (m *memory) drop(login string, at place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil && e.place == at {
		m.forget(e)
	}
}

// hold notes that a conversation is on a port, for a time; zero ends it.
func (m *memory) hold(login string, at place, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil && e.place == at {
		e.used = time.Now()
		was := e.heldUntil.After(e.used)
		e.heldUntil = e.used.Add(d)
		if was != (d > 0) {
			m.mark(e)
		}
	}
}

// heldBy returns the login whose conversation is on a port.
func (m *memory) heldBy(at place) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byPlace[at]
	if e == nil || !e.heldUntil.After(time.Now()) {
		return remembered{}, false
	}
	return *e, true
}

// of returns where a login had its port, or the zero place.
func (m *memory) of(login string) place {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil {
		return e.place
	}
	return place{}
}

// row is the journal's row of a port.
func (m *memory) row(at place) file.Grant {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byPlace[at]
	if e == nil {
		return file.Grant{Host: at.host, Port: at.port}
	}
	return file.Grant{Host: at.host, Port: at.port, Login: e.login, Granted: e.granted, Used: e.used,
		Held: e.heldUntil.After(time.Now())}
}

// all lists the grants of a host, the one used latest in front: where two want
// one port, the later has it.
func (m *memory) all(host string) []remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []remembered
	for _, e := range m.byPlace {
		if e.host == host {
			list = append(list, *e)
		}
	}
	slices.SortFunc(list, func(a, b remembered) int { return b.used.Compare(a.used) })
	return list
}
