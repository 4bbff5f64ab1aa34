// SPDX-License-Identifier: GPL-3.0-or-later

// Package limit bounds how often something is done, by whoever does it: one
// bucket of tokens for each client prefix, link, login or participant, never
// one for everybody. The tables themselves are bounded.
package limit

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Table is a map of bounded size; at the bound the entry that was not asked
// for longest is forgotten.
type Table[V any] struct {
	mu    sync.Mutex
	max   int
	items map[string]*list.Element
	order *list.List // of *row[V], the newest in front
}

type row[V any] struct {
	key   string
	value V
}

// NewTable returns a table of at most max entries.
func NewTable[V any](max int) *Table[V] {
	return &Table[V]{max: max, items: make(map[string]*list.Element), order: list.New()}
}

// Change hands the value under key, new or old, to do while no one else has it.
func (t *Table[V]) Change(key string, do func(*V)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.items[key]
	if ok {
		t.order.MoveToFront(e)
	} else {
		e = t.order.PushFront(&row[V]{key: key})
		t.items[key] = e
		if t.order.Len() > t.max {
			oldest := t.order.Back()
			delete(t.items, t.order.Remove(oldest).(*row[V]).key)
		}
	}
	do(&e.Value.(*row[V]).value)
}

// Has reports whether key is known, without making it newer.
func (t *Table[V]) Has(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.items[key]
	return ok
}

// Get returns the value under key, which becomes newer, and whether there is one.
func (t *Table[V]) Get(key string) (value V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.items[key]
	if ok {
		t.order.MoveToFront(e)
		value = e.Value.(*row[V]).value
	}
	return value, ok
}

// Delete forgets key.
func (t *Table[V]) Delete(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.items[key]; ok {
		t.order.Remove(e)
		delete(t.items, key)
	}
}

// Len is how many keys are known.
func (t *Table[V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.order.Len()
}

// Refusals are the refused sign-ins of keys such as a login or an address
// prefix. The answer to each takes longer than the one before.
type Refusals struct {
	first, longest, forget time.Duration
	of                     *Table[refusal]
}

type refusal struct {
	count int
	last  time.Time
}

// NewRefusals returns the count of refusals of at most max keys. The first
// refusal of a key takes first, each further one twice as long, up to longest.
// Refusals are forgotten when the last one is older than forget.
func NewRefusals(first, longest, forget time.Duration, max int) *Refusals {
	return &Refusals{first: first, longest: longest, forget: forget, of: NewTable[refusal](max)}
}

// Add counts a refusal of each key and returns how long its answer takes: what
// the key with the most refusals asks for.
func (r *Refusals) Add(now time.Time, keys ...string) time.Duration {
	most := 0
	for _, key := range keys {
		r.of.Change(key, func(e *refusal) {
			if now.Sub(e.last) > r.forget {
				e.count = 0
			}
			e.count, e.last = e.count+1, now
			most = max(most, e.count)
		})
	}
	delay := r.first
	for ; most > 1 && delay < r.longest; most-- {
		delay *= 2
	}
	return min(delay, r.longest)
}

// Forget forgets the refusals of a key: its owner knows the password.
func (r *Refusals) Forget(key string) { r.of.Delete(key) }

// Rate is how often something may be done: so many a second, so many at once.
type Rate struct {
	Every rate.Limit
	Burst int
}

// Buckets are the tokens left for each key.
type Buckets struct {
	rate Rate
	of   *Table[*rate.Limiter]
}

// NewBuckets returns full buckets for the keys asked for last, at most max.
func NewBuckets(r Rate, max int) *Buckets {
	return &Buckets{rate: r, of: NewTable[*rate.Limiter](max)}
}

// Wait takes a token of key's bucket, or says how long until there is one.
func (b *Buckets) Wait(key string) (wait time.Duration) {
	b.of.Change(key, func(l **rate.Limiter) {
		if *l == nil {
			*l = rate.NewLimiter(b.rate.Every, b.rate.Burst)
		}
		r := (*l).Reserve()
		if wait = r.Delay(); wait > 0 {
			r.Cancel()
		}
	})
	return wait
}

// Left is how many tokens key's bucket has, of how many, and how long until half of them
// are there.
func (b *Buckets) Left(key string) (left, burst float64, half time.Duration) {
	burst = float64(b.rate.Burst)
	left = burst
	if l, ok := b.of.Get(key); ok && l != nil {
		left = l.Tokens()
	}
	if missing := burst/2 - left; missing > 0 {
		half = time.Duration(missing / float64(b.rate.Every) * float64(time.Second))
	}
	return left, burst, half
}

// Prefix is what is limited as one client: an IPv4 address, an IPv6 /64. It has
// no zone. An IPv4 address in IPv6 form is an IPv4 address.
func Prefix(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// Remote is Prefix, and the zero Prefix for an address of this machine: that may
// be a proxy, which stands for anybody, and is not limited.
func Remote(ip netip.Addr) netip.Prefix {
	if ip.Unmap().IsLoopback() {
		return netip.Prefix{}
	}
	return Prefix(ip)
}
