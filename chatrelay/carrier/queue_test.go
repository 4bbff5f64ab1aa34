// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// stuckConn takes nothing.
type stuckConn struct {
	Conn
	closed chan struct{}
}

func (c *stuckConn) Write(ctx context.Context, _ ...[]byte) error {
	if d, ok := ctx.Deadline(); ok {
		time.Sleep(time.Until(d))
	}
	return os.ErrDeadlineExceeded
}
func (c *stuckConn) Close(string) error { close(c.closed); return nil }

func newQueue(c Conn) *Queue { return NewQueue(c, slog.New(slog.DiscardHandler)) }

// A client that takes nothing is dropped within the time of one write, and what
// does not fit the queue is thrown away.
func TestQueueOfAStalledReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &stuckConn{closed: make(chan struct{})}
		q, began := newQueue(c), time.Now()
		q.Put([]byte("x"))
		synctest.Wait() // now the writer is stuck with it
		for range QueueFrames {
			q.Put([]byte("x"))
		}
		if q.Ended() {
			t.Fatal("dropped within its bound")
		}
		q.Put([]byte("one too many"))
		if !q.Ended() || len(q.frames) != 1 || !strings.Contains(string(q.frames[0]), frame.ErrBehind) {
			t.Fatalf("%d frames left", len(q.frames))
		}
		<-c.closed
		if d := time.Since(began); d != writeWait {
			t.Errorf("it was dropped after %v", d)
		}
		<-q.Done()
	})
}

// A last frame has less time.
func TestQueueEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &stuckConn{closed: make(chan struct{})}
		q, began := newQueue(c), time.Now()
		q.End(frame.ErrShutdown, "over")
		q.Wait()
		<-c.closed
		if d := time.Since(began); d != CloseWait {
			t.Errorf("it was given %v", d)
		}
	})
}

// brokenConn panics.
type brokenConn struct{ Conn }

func (brokenConn) Write(context.Context, ...[]byte) error { panic("in Write") }
func (brokenConn) Close(string) error                     { panic("in Close") }

// A panic in a connection ends that connection, and is logged.
func TestQueuePanics(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	q := NewQueue(brokenConn{}, slog.New(slog.NewTextHandler(&log, nil)))
	q.Put([]byte("x"))
	<-q.Done()
	if !strings.Contains(log.String(), "in Write") || !strings.Contains(log.String(), "in Close") {
		t.Errorf("logged was %q", log.String())
	}
	if q.Put([]byte("y")); !q.Ended() {
		t.Error("it goes on")
	}
}

// keptConn keeps what it is given, and counts the writes.
type keptConn struct {
	Conn
	mu     sync.Mutex
	frames []string
	writes int
	closed bool
	slow   chan struct{} // each write waits for it
}

func (c *keptConn) Write(_ context.Context, frames ...[]byte) error {
	if c.slow != nil {
		<-c.slow
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	for _, f := range frames {
		c.frames = append(c.frames, string(f))
	}
	return nil
}

func (c *keptConn) Close(string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// What is queued while one write is under way goes out in the next together.
func TestQueueWritesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &keptConn{slow: make(chan struct{})}
		q := newQueue(c)
		q.Put([]byte("0"))
		synctest.Wait()
		for i := 1; i < 100; i++ {
			q.Put(fmt.Append(nil, i))
		}
		close(c.slow)
		synctest.Wait()
		if c.writes != 2 || len(c.frames) != 100 || q.busy {
			t.Fatalf("%d frames in %d writes, busy %v", len(c.frames), c.writes, q.busy)
		}
		q.Put([]byte("100"))
		q.End("", "")
		q.Put([]byte("too late"))
		<-q.Done()
		for i, f := range c.frames {
			if f != fmt.Sprint(i) {
				t.Fatalf("%q at %d", f, i)
			}
		}
		if len(c.frames) != 101 || !c.closed {
			t.Errorf("%d frames, closed %v", len(c.frames), c.closed)
		}
	})
}

// Many write at once, and nothing is lost or out of its writer's order.
func TestQueueOrder(t *testing.T) {
	t.Parallel()
	c := &keptConn{}
	q := newQueue(c)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				if err := q.PutSlowly(t.Context(), fmt.Appendf(nil, "%d %d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	q.End("", "")
	<-q.Done()
	next := map[int]int{}
	for _, f := range c.frames {
		var w, i int
		fmt.Sscan(f, &w, &i)
		if next[w] != i {
			t.Fatalf("%q instead of %d", f, next[w])
		}
		next[w]++
	}
	if len(c.frames) != 2000 {
		t.Errorf("%d frames", len(c.frames))
	}
}

// eager is a stream that takes whatever it is given, and sends nothing until it
// is written to.
type eager struct {
	Stream
	kept int
}

func (e *eager) TryWriteAll(b []byte) error { e.kept += len(b); return nil }

func (e *eager) SetWriteDeadline(time.Time) error { return nil }

func (e *eager) Write(b []byte) (int, error) { e.kept = 0; return len(b), nil }

// TestStreamIsBounded: a stream whose other side would take any amount is not
// left more than maxAhead before a write that waits.
func TestStreamIsBounded(t *testing.T) {
	t.Parallel()
	e := &eager{}
	c := newStreamConn(e, QUIC, 0, netip.Addr{}, func(string) error { return nil })
	f := make([]byte, 1000)
	for range 3 {
		sent := 0
		for {
			ok, err := c.tryWrite(f)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			sent++
		}
		if e.kept > maxAhead || sent < 10 {
			t.Fatalf("%d octets of %d frames were left to the stream", e.kept, sent)
		}
		if err := c.Write(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
}
