// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
)

// Queue is the bounded queue of frames for one connection. Its writer is a
// goroutine that lives while there is something to write, and takes all that
// is queued at once. When a frame does not fit, the queue is thrown away: the
// client is told that it is behind and is dropped, to come back by its offset.
// A connection that takes nothing for 10 s is dropped too.
//
// Its methods may be called at the same time.
type Queue struct {
	conn Conn
	log  *slog.Logger
	room chan struct{} // gets a token when the writer has taken what was queued
	done chan struct{} // closed when the connection has been closed

	mu     sync.Mutex
	frames [][]byte
	spare  [][]byte // for the next frames, while these are written
	size   int      // octets of frames
	busy   bool     // there is a writer
	ended  bool     // nothing more is queued; the writer closes the connection after frames
}

// NewQueue returns the queue in front of c, which it closes at its end.
func NewQueue(c Conn, log *slog.Logger) *Queue {
	return &Queue{conn: c, log: log, room: make(chan struct{}, 1), done: make(chan struct{})}
}

// wake starts a writer if there is none and something to do for it; mu is held.
func (q *Queue) wake() {
	if !q.busy && (len(q.frames) > 0 || q.ended) {
		q.busy = true
		go q.drain()
	}
}

// Put queues an encoded frame, which nobody may change any more. It never
// waits. After End it does nothing.
func (q *Queue) Put(f []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(f)
}

func (q *Queue) put(f []byte) {
	if q.ended {
		return
	}
	if len(q.frames) >= QueueFrames || q.size+len(f) > queueBytes {
		q.frames = nil
		q.finish(frame.ErrBehind, "you read too slowly")
		return
	}
	q.frames, q.size = append(q.frames, f), q.size+len(f)
	q.wake()
}

// tryWriter is a Conn that can send a frame at once, without waiting for
// anything. tryWrite reports false when it would have to wait; then nothing
// was sent.
type tryWriter interface {
	tryWrite(f []byte) (bool, error)
}

// Send is Put for a frame that comes alone: the frame is written here and now
// if that is possible without waiting, since to start a writer costs as much
// as to write.
func (q *Queue) Send(f []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.conn.(tryWriter); ok && !q.busy && !q.ended && len(q.frames) == 0 {
		sent, err := c.tryWrite(f)
		if err != nil {
			q.finish("", "")
		}
		if sent {
			return
		}
	}
	q.put(f)
}

// PutSlowly is Put that waits until the queue is at most half full: history is
// as fast as its reader. It returns context.Canceled when the connection has
// been closed, and the error of ctx.
func (q *Queue) PutSlowly(ctx context.Context, f []byte) error {
	for {
		q.mu.Lock()
		free := len(q.frames) < QueueFrames/2 && q.size+len(f) <= queueBytes/2
		q.mu.Unlock()
		if free {
			q.Put(f)
			return nil
		}
		select {
		case <-q.room:
		case <-q.done:
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// End queues an error frame, or nothing when code is empty, as the last one.
// Only the first End counts. It does not wait.
func (q *Queue) End(code, text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended {
		q.finish(code, text)
	}
}

// finish is End; mu is held.
func (q *Queue) finish(code, text string) {
	if code != "" {
		Counted.Dropped(code)
		q.frames = append(q.frames, frame.Encode(&frame.Frame{T: frame.TError, Code: code, Text: text, Fatal: true}))
	}
	q.ended = true
	q.wake()
}

// Ended reports whether nothing more is queued: End was called, the connection
// failed, or its client was behind.
func (q *Queue) Ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

// Done is closed when the connection has been closed.
func (q *Queue) Done() <-chan struct{} { return q.done }

// Wait returns when the connection has been closed: at most 12 s after End.
func (q *Queue) Wait() {
	t := time.NewTimer(writeWait + CloseWait)
	defer t.Stop()
	select {
	case <-q.done:
	case <-t.C:
	}
}

// drain is the writer: it sends what is queued until there is nothing more.
// After End, or when the connection fails, it closes the connection, and busy
// stays, so that there is no other writer.
func (q *Queue) drain() {
	for {
		q.mu.Lock()
		frames, ended := q.frames, q.ended
		if len(frames) == 0 && !ended {
			q.busy = false
			q.mu.Unlock()
			return
		}
		q.frames, q.spare, q.size = q.spare, nil, 0
		q.mu.Unlock()
		select {
		case q.room <- struct{}{}:
		default:
		}
		why := "over"
		if len(frames) > 0 && q.write(frames, ended) != nil {
			q.End("", "")
			ended, why = true, "the connection does not take frames"
		}
		if ended {
			q.shut(why)
			return
		}
		clear(frames)
		q.mu.Lock()
		if cap(frames) <= QueueFrames/4 {
			q.spare = frames[:0]
		}
		q.mu.Unlock()
	}
}

// errPanic: the connection's own code panicked.
var errPanic = errors.New("a panic, which was logged")

// write sends frames; the last ones have less time.
func (q *Queue) write(frames [][]byte, last bool) (err error) {
	err = errPanic // unless Write returns
	defer safely.Recover(q.log, "writing to a connection")
	wait := writeWait
	if last {
		wait = CloseWait
	}
	err = q.conn.Write(Within(wait), frames...)
	return err
}

// shut closes the connection.
func (q *Queue) shut(why string) {
	defer close(q.done)
	defer safely.Recover(q.log, "closing a connection")
	q.conn.Close(why) // an error means that it is gone already
}
