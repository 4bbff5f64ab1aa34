// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxBatch bounds the steps of a batch, but for those of its last call.
const maxBatch = 256

// maxRunning bounds the batches on their way: two, so that Redis works on one
// while this process reads the answers to the other.
const maxRunning = 2

// batches sends the steps of calls made at the same time together: while one
// batch is on its way, the next gathers. Most of what a small step costs, both
// here and in Redis, are the system calls of its round trip.
type batches struct {
	mu      sync.Mutex
	waiting []*passenger
	running int // goroutines that send them
}

// passenger is the steps of a call.
type passenger struct {
	ctx  context.Context // of the call
	cmds []*redis.Cmd
	done chan struct{} // closed when they are answered, or not sent as the call has ended
}

// shares says whether a call goes in batches. Not on a Cluster, where a slot that
// moves, or a server that hangs, would hold up calls on others; nor who has longer
// than a mail waits, as listings and the keeper, which ask for much at once.
func (r *Redis) shares(ctx context.Context) bool {
	if _, single := r.client.(*redis.Client); !single {
		return false
	}
	until, limited := ctx.Deadline()
	return limited && time.Until(until) <= r.opt.Timeout
}

// share sends commands in a batch. It says whether they were answered before
// ctx ended; otherwise they are not to be touched.
func (r *Redis) share(ctx context.Context, cmds []*redis.Cmd) bool {
	p := &passenger{ctx, cmds, make(chan struct{})}
	b := &r.batches
	b.mu.Lock()
	b.waiting = append(b.waiting, p)
	if b.running < maxRunning {
		b.running++
		go r.sendBatches()
	}
	b.mu.Unlock()
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// sendBatches ends when nothing waits.
func (r *Redis) sendBatches() {
	for {
		batch := r.batches.next()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), r.opt.Timeout)
		// An error of the pipeline is also the error of its commands.
		_, _ = r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, p := range batch {
				if err := p.ctx.Err(); err != nil {
					for _, cmd := range p.cmds {
						cmd.SetErr(err)
					}
					continue
				}
				for _, cmd := range p.cmds {
					_ = pipe.Process(ctx, cmd)
				}
			}
			return nil
		})
		cancel()
		for _, p := range batch {
			close(p.done)
		}
	}
}

// next takes a batch of those that wait.
func (b *batches) next() []*passenger {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, steps := 0, 0
	for n < len(b.waiting) && steps < maxBatch {
		steps += len(b.waiting[n].cmds)
		n++
	}
	if n == 0 {
		b.running--
		b.waiting = nil
		return nil
	}
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return batch
}
