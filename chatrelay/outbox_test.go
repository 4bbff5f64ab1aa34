// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"fmt"
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

func TestOutboxOfASlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, c := newOutbox(), &stuckConn{closed: make(chan struct{})}
		for range queueFrames {
			o.put([]byte("x"))
		}
		if o.ended {
			t.Fatal("dropped within its bound")
		}
		o.put([]byte("one too many"))
		if !o.ended || len(o.frames) != 1 || !strings.Contains(string(o.frames[0]), frame.ErrBehind) {
			t.Fatalf("%d frames left", len(o.frames))
		}
		began := time.Now()
		o.write(c)
		<-c.closed
		if d := time.Since(began); d != closeWait {
			t.Errorf("it was given %v", d)
		}
		<-o.done
	})
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
func TestOutboxWritesTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, c := newOutbox(), &keptConn{slow: make(chan struct{})}
		o.put([]byte("0"))
		o.write(c)
		synctest.Wait()
		for i := 1; i < 100; i++ {
			o.put(fmt.Append(nil, i))
		}
		close(c.slow)
		synctest.Wait()
		if c.writes != 2 || len(c.frames) != 100 || o.busy {
			t.Fatalf("%d frames in %d writes, busy %v", len(c.frames), c.writes, o.busy)
		}
		o.put([]byte("100"))
		o.end("", "")
		o.put([]byte("too late"))
		<-o.done
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
func TestOutboxOrder(t *testing.T) {
	t.Parallel()
	o, c := newOutbox(), &keptConn{}
	o.write(c)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				if err := o.putSlowly(t.Context(), fmt.Appendf(nil, "%d %d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	o.end("", "")
	<-o.done
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
	byteStream
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
	c := newStreamConn(e, CarrierQUIC, 0, netip.Addr{}, func(string) error { return nil })
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
