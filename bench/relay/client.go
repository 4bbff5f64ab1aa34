// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// line is one open connection of a member of a room.
type line interface {
	say(text []byte) error
	ping() error
	close()
}

// heard counts deliveries, and keeps their times while it is asked to.
type heard struct {
	n     atomic.Int64
	keep  atomic.Bool
	lost  atomic.Int64 // connections that failed
	why   atomic.Value // the error of one of them, as a string
	mu    sync.Mutex
	times []time.Duration
}

// delivery notes a message whose text begins with when it was sent.
func (h *heard) delivery(sent []byte) {
	h.n.Add(1)
	if !h.keep.Load() {
		return
	}
	ns, err := strconv.ParseInt(string(sent), 10, 64)
	if err != nil {
		return
	}
	d := time.Since(time.Unix(0, ns))
	h.mu.Lock()
	h.times = append(h.times, d)
	h.mu.Unlock()
}

// stamp is how many digits of a text are the time at which it was sent.
const stamp = 19

// text is a message of 128 octets.
func text() []byte {
	b := make([]byte, 0, 128)
	b = strconv.AppendInt(b, time.Now().UnixNano(), 10)
	for len(b) < 128 {
		b = append(b, "conversation "[len(b)%13])
	}
	return b
}

// talk sends messages, one member after the other, so that rate deliveries a
// second follow. size is that of the rooms.
func talk(ctx context.Context, lines []line, size, rate int) error {
	every := time.Second * time.Duration(size) / time.Duration(rate)
	next := time.Now()
	for i := 0; ; i++ {
		if d := time.Until(next); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		next = next.Add(every)
		// Neighbours in the list share a room: a stride keeps all rooms busy.
		if err := lines[i*size%len(lines)+i*size/len(lines)%size].say(text()); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
}

// hearts are the connections that keep their heartbeats, also while others are
// still connecting.
type hearts struct {
	mu    sync.Mutex
	lines []line
}

func (h *hearts) add(l line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, l)
}

// beat sends every connection's heartbeat, evenly over each interval.
func (h *hearts) beat(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	sent, part := 0, 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		h.mu.Lock()
		lines := h.lines
		h.mu.Unlock()
		for part += float64(len(lines)) * float64(10*time.Millisecond) / float64(every); part >= 1; part-- {
			lines[sent%len(lines)].ping()
			sent++
		}
	}
}

// each opens all lines, so many at once.
func each(n, parallel int, open func(i int) (line, error)) ([]line, error) {
	lines := make([]line, n)
	var next atomic.Int64
	errs := make(chan error, parallel)
	var wg sync.WaitGroup
	for range min(n, parallel) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				l, err := open(i)
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
				lines[i] = l
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
		return lines, nil
	}
}
