// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// key is what collapses.
type key struct{ endpoint, topic string }

// push is one note on its way to one browser.
type push struct {
	login   string
	sub     Subscription
	note    Note
	payload []byte
	until   time.Time // of no use afterwards
	tried   int
}

// job is the place of a key in the queue.
type job struct {
	key   key
	push  *push
	due   time.Time
	order uint64 // among jobs due at the same time
	index int    // in the heap; -1 while a sender has it
	next  *push  // came while a sender had it
}

// queue holds at most one job a key, ordered by when it is due. A key is with
// one sender at a time.
type queue struct {
	mu     sync.Mutex
	jobs   map[key]*job
	due    jobs
	order  uint64
	closed bool
	wake   chan struct{} // holds a value when the queue may have something sooner
	report func(*push, error)
}

func newQueue(report func(*push, error)) *queue {
	return &queue{jobs: make(map[key]*job), wake: make(chan struct{}, 1), report: report}
}

// add queues p, in the place of an older push of the same key.
func (q *queue) add(k key, p *push) error {
	q.mu.Lock()
	replaced, err := q.put(k, p)
	q.mu.Unlock()
	if replaced != nil {
		q.report(replaced, ErrReplaced)
	}
	return err
}

func (q *queue) put(k key, p *push) (replaced *push, err error) {
	if q.closed {
		return nil, ErrClosed
	}
	j := q.jobs[k]
	switch {
	case j == nil && len(q.jobs) >= maxQueue:
		return nil, ErrFull
	case j == nil:
		j = &job{key: k, push: p, due: time.Now()}
		q.jobs[k] = j
		q.push(j)
	case j.index < 0:
		replaced, j.next = j.next, p
	default: // a wait that the service asked for goes on
		replaced, j.push = j.push, p
	}
	return replaced, nil
}

func (q *queue) push(j *job) {
	q.order++
	j.order = q.order
	heap.Push(&q.due, j)
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for a job that is due; nil means that ctx is over.
func (q *queue) take(ctx context.Context) *job {
	for ctx.Err() == nil {
		j, wait := q.first()
		if j != nil {
			return j
		}
		timer := time.NewTimer(wait)
		select {
		case <-q.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// first takes the job that is due, or says how long to wait for one.
func (q *queue) first() (*job, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.due) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(q.due[0].due); wait > 0 {
		return nil, wait
	}
	j := heap.Pop(&q.due).(*job)
	if len(q.due) > 0 {
		q.signal() // for the other senders
	}
	return j, 0
}

// done gives a job back. With again, the push is tried after wait, unless a
// newer one came in the meantime: that takes the wait over.
func (q *queue) done(j *job, again bool, wait time.Duration) {
	q.mu.Lock()
	var replaced *push
	switch {
	case q.closed, !again && j.next == nil:
		delete(q.jobs, j.key)
	default:
		if j.next != nil {
			if again {
				replaced = j.push
			}
			j.push, j.next = j.next, nil
		}
		j.due = time.Now()
		if again {
			j.due = j.due.Add(wait)
		}
		q.push(j)
	}
	q.mu.Unlock()
	if replaced != nil {
		q.report(replaced, ErrReplaced)
	}
}

// close refuses further pushes and drops those that wait.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	var dropped []*push
	for _, j := range q.due {
		dropped = append(dropped, j.push)
		delete(q.jobs, j.key)
	}
	q.due = nil
	q.mu.Unlock()
	for _, p := range dropped {
		q.report(p, ErrClosed)
	}
}

// jobs is a heap, the job that is due first on top.
type jobs []*job

func (h jobs) Len() int { return len(h) }
func (h jobs) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].order < h[j].order
	}
	return h[i].due.Before(h[j].due)
}
func (h jobs) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *jobs) Push(x any) {
	j := x.(*job)
	j.index = len(*h)
	*h = append(*h, j)
}
func (h *jobs) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	j.index = -1
	return j
}
