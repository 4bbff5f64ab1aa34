// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// outbox is the bounded queue of one connection. Its writer is a goroutine
// that lives while there is something to write, and takes all that is queued
// at once. A frame too many throws the queue away: the client is told that it
// is behind, and dropped, to come back by its offset.
type outbox struct {
	mu     sync.Mutex
	conn   Conn // nil until write
	frames [][]byte
	spare  [][]byte // for the next queue, while this one is written
	size   int
	busy   bool          // the writer is there
	ended  bool          // nothing more is queued; the writer closes the connection after what is
	room   chan struct{} // the writer has taken the queue
	done   chan struct{} // closed when the connection has been closed
}

func newOutbox() *outbox {
	return &outbox{room: make(chan struct{}, 1), done: make(chan struct{})}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write begins to send to c, which the outbox closes at its end.
func (o *outbox) write(c Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn = c
	o.wake()
}

// wake sees to it that there is a writer, if there is something for it to do.
func (o *outbox) wake() {
	if !o.busy && o.conn != nil && (len(o.frames) > 0 || o.ended) {
		o.busy = true
		go o.drain()
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
	o.wake()
}

// tryWriter is a Conn that may send a frame at once, without waiting for
// anything.
type tryWriter interface {
	tryWrite(f []byte) (bool, error)
}

// send is put for a frame that comes alone: it is written here and now, if
// that is possible without waiting. To wake a writer costs as much as to write.
func (o *outbox) send(f []byte) {
	o.mu.Lock()
	if c, ok := o.conn.(tryWriter); ok && !o.busy && !o.ended && len(o.frames) == 0 {
		sent, err := c.tryWrite(f)
		if err != nil {
			o.finish("", "", true)
		}
		if sent {
			o.mu.Unlock()
			return
		}
	}
	o.mu.Unlock()
	o.put(f)
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
	o.wake()
}

// drain sends what is queued until there is nothing more. After end, or when
// the connection fails, it closes the connection.
func (o *outbox) drain() {
	for {
		o.mu.Lock()
		frames, ended := o.frames, o.ended
		if len(frames) == 0 && !ended {
			o.busy = false
			o.mu.Unlock()
			return
		}
		o.frames, o.spare, o.size = o.spare, nil, 0
		o.mu.Unlock()
		poke(o.room)
		why := "over"
		if len(frames) > 0 {
			wait := writeWait
			if ended {
				wait = closeWait
			}
			if o.conn.Write(within(wait), frames...) != nil {
				o.end("", "")
				ended, why = true, "the connection does not take frames"
			}
		}
		if ended {
			o.conn.Close(why)
			close(o.done) // busy stays: there is no other writer
			return
		}
		clear(frames)
		o.mu.Lock()
		if cap(frames) <= queueFrames/4 {
			o.spare = frames[:0]
		}
		o.mu.Unlock()
	}
}

// wait returns when the connection has been closed, at most after d.
func (o *outbox) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
}
