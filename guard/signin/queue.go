// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"context"
	"sync"
	"time"
)

const (
	maxWaiting = 4096 // checks that wait in a lane
	maxTurns   = 256  // of them, those of one prefix or login
	waitFor    = 20 * time.Second
)

// queue lets a few password checks run at a time. Those that wait have two lanes,
// for logins at prefixes that they are known from and for all others, which take
// turns. In a lane prefixes and logins take turns. So whoever sends many attempts
// waits for themselves.
type queue struct {
	mu    sync.Mutex
	free  int
	lanes [2]lane
	turn  int // the lane that is served next
}

type lane struct {
	waiting int
	flows   map[string]*flow
	order   []*flow // by their turns; each has waiters
}

// flow is what waits of one prefix or login.
type flow struct {
	key     string
	waiters []*waiter
}

type waiter struct {
	ready chan struct{} // closed when it has its place
	gone  bool          // it waits no longer
}

func newQueue(places int) *queue {
	q := &queue{free: places}
	for i := range q.lanes {
		q.lanes[i].flows = make(map[string]*flow)
	}
	return q
}

// take waits for a place, which release gives back. It errs with a *BusyError when
// too many wait or the wait takes too long.
func (q *queue) take(ctx context.Context, known bool, key string) error {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	l := &q.lanes[0]
	if !known {
		l = &q.lanes[1]
	}
	w := l.add(key)
	q.mu.Unlock()
	if w == nil {
		return &BusyError{After: pendingRetry}
	}
	metricWaiting.Inc()
	defer metricWaiting.Dec()
	ctx, cancel := context.WithTimeout(ctx, waitFor)
	defer cancel()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // at the last moment
		return nil
	default:
		w.gone = true
		l.waiting--
		return &BusyError{After: pendingRetry}
	}
}

func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range q.lanes {
		l := &q.lanes[q.turn]
		q.turn = (q.turn + 1) % len(q.lanes)
		if w := l.next(); w != nil {
			close(w.ready)
			return
		}
	}
	q.free++
}

// add lets somebody wait; nil: there are too many already.
func (l *lane) add(key string) *waiter {
	f := l.flows[key]
	if f == nil {
		f = &flow{key: key}
	}
	if l.waiting >= maxWaiting || len(f.waiters) >= maxTurns {
		return nil
	}
	if len(f.waiters) == 0 {
		l.flows[key] = f
		l.order = append(l.order, f)
	}
	w := &waiter{ready: make(chan struct{})}
	f.waiters = append(f.waiters, w)
	l.waiting++
	return w
}

// next takes out whose turn it is; nil: nobody waits.
func (l *lane) next() *waiter {
	for len(l.order) > 0 {
		f := l.order[0]
		l.order = l.order[1:]
		w := f.waiters[0]
		if f.waiters = f.waiters[1:]; len(f.waiters) > 0 {
			l.order = append(l.order, f)
		} else {
			delete(l.flows, f.key)
		}
		if !w.gone {
			l.waiting--
			return w
		}
	}
	return nil
}
