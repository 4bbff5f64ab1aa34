// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// outbox is the bounded queue of one connection. Its writer takes all that is
// queued at once. A frame too many throws the queue away: the client is told
// that it is behind, and dropped, to come back by its offset.
type outbox struct {
	mu     sync.Mutex
	frames [][]byte
	size   int
	ended  bool          // nothing more is queued; the writer ends after what is
	wake   chan struct{} // something was queued, or it ended
	room   chan struct{} // the writer has taken the queue
	done   chan struct{} // closed when the writer has ended
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{})}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put queues an encoded frame; it never waits.
func (o *outbox) put(f []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	if len(o.frames) >= queueFrames || o.size+len(f) > queueBytes {
		o.finish(frame.ErrBehind, "you read too slowly", true)
		return
	}
	o.frames, o.size = append(o.frames, f), o.size+len(f)
	poke(o.wake)
}

// putSlowly waits until the queue is at most half full; for history, which
// is as fast as its reader.
func (o *outbox) putSlowly(ctx context.Context, f []byte) error {
	for {
		o.mu.Lock()
		free := len(o.frames) < queueFrames/2 && o.size+len(f) <= queueBytes/2
		o.mu.Unlock()
		if free {
			o.put(f)
			return nil
		}
		select {
		case <-o.room:
		case <-o.done:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end queues an error frame, or nothing when code is empty, as the last.
func (o *outbox) end(code, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.finish(code, text, false)
	}
}

func (o *outbox) finish(code, text string, forget bool) {
	if forget {
		o.frames = nil
	}
	if code != "" {
		droppedTotal.WithLabelValues(code).Inc()
		o.frames = append(o.frames, frame.Encode(&frame.Frame{T: frame.TError, Code: code, Text: text, Fatal: true}))
	}
	o.ended = true
	poke(o.wake)
}

// write sends what is queued until end, or until the connection fails, and
// closes the connection.
func (o *outbox) write(c Conn) {
	defer close(o.done)
	for range o.wake {
		o.mu.Lock()
		frames, ended := o.frames, o.ended
		o.frames, o.size = nil, 0
		o.mu.Unlock()
		poke(o.room)
		if len(frames) > 0 {
			wait := writeWait
			if ended {
				wait = closeWait
			}
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			err := c.Write(ctx, frames...)
			cancel()
			if err != nil {
				o.end("", "")
				c.Close("the connection does not take frames")
				return
			}
		}
		if ended {
			c.Close("over")
			return
		}
	}
}

// wait returns when the writer has ended, at most after d.
func (o *outbox) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
}
