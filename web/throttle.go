// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// table is a map of bounded size; at the bound the entry that was not asked
// for longest is forgotten.
type table[V any] struct {
	mu    sync.Mutex
	max   int
	items map[string]*list.Element
	order *list.List // of *row[V], the newest in front
}

type row[V any] struct {
	key   string
	value V
}

func newTable[V any](max int) *table[V] {
	return &table[V]{max: max, items: make(map[string]*list.Element), order: list.New()}
}

// change hands the value under key, new or old, to do while no one else has it.
func (t *table[V]) change(key string, do func(*V)) {
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

// has reports whether key is known, without making it newer.
func (t *table[V]) has(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.items[key]
	return ok
}

// throttles are the tables of what was asked lately, and of refused sign-ins.
type throttles struct {
	page, post, link, signIn, login *table[*rate.Limiter]
	refused                         *table[refusals]
}

func newThrottles() throttles {
	buckets := func() *table[*rate.Limiter] { return newTable[*rate.Limiter](maxTracked) }
	return throttles{page: buckets(), post: buckets(), link: buckets(), signIn: buckets(), login: buckets(),
		refused: newTable[refusals](maxTracked)}
}

// wait takes a token of key's bucket, or says how long until there is one.
func (l limit) wait(t *table[*rate.Limiter], key string) (wait time.Duration) {
	t.change(key, func(b **rate.Limiter) {
		if *b == nil {
			*b = rate.NewLimiter(l.every, l.burst)
		}
		r := (*b).Reserve()
		if wait = r.Delay(); wait > 0 {
			r.Cancel()
		}
	})
	return wait
}

// refusals are the refused sign-ins of one login or prefix.
type refusals struct {
	count int
	last  time.Time
}

// refuse counts a refused sign-in and returns how long its answer takes: the
// same for everything that can be wrong, longer with each refusal.
func (t throttles) refuse(now time.Time, keys ...string) time.Duration {
	most := 0
	for _, key := range keys {
		t.refused.change(key, func(r *refusals) {
			if now.Sub(r.last) > refusalDecay {
				r.count = 0
			}
			r.count, r.last = r.count+1, now
			most = max(most, r.count)
		})
	}
	delay := minRefusal
	for ; most > 1 && delay < maxRefusal; most-- {
		delay *= 2
	}
	return min(delay, maxRefusal)
}
