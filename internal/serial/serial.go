// SPDX-License-Identifier: GPL-3.0-or-later

// Package serial runs functions one after the other without a goroutine that
// waits for them.
package serial

import "sync"

// Queue runs functions in the order in which they are posted, in a goroutine
// that lives while there are some. The zero value is ready. A Queue has no
// bound of its own: whoever posts has one. A function must not panic.
type Queue struct {
	mu      sync.Mutex
	waiting []func()
	running bool
}

// Post queues f. It never waits.
func (q *Queue) Post(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// Wait returns when everything posted before has run. A function of the queue
// must not call it.
func (q *Queue) Wait() {
	done := make(chan struct{})
	q.Post(func() { close(done) })
	<-done
}

func (q *Queue) run() {
	for {
		q.mu.Lock()
		now := q.waiting
		q.waiting = nil
		q.running = len(now) > 0
		q.mu.Unlock()
		if len(now) == 0 {
			return
		}
		for _, f := range now {
			f()
		}
	}
}
