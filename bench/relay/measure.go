// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/frame"
)

const (
	settle   = 2 * time.Second // between connecting and measuring
	together = 32              // connections opened at once
)

// peer is a server with connections to it.
type peer struct {
	*process
	relay *relayServer // nil: JetStream
	lines []line
}

// gather starts a server of a kind with n connections in rooms of size.
func gather(ctx context.Context, s settings, kind string, n, size int, h *heard, alive *hearts) (*peer, error) {
	if kind == "jetstream" {
		srv, err := startNATS(s)
		if err != nil {
			return nil, err
		}
		p := &peer{process: srv.process}
		p.lines, err = each(n/size*size, together, func(i int) (line, error) {
			return srv.connect(ctx, i, "room."+strconv.Itoa(i/size), h)
		})
		if err != nil {
			srv.stop()
		}
		return p, err
	}
	srv, err := freshRelay(s, fmt.Sprintf("%s-%d", kind, rand.Int32()))
	if err != nil {
		return nil, err
	}
	p := &peer{process: srv.process, relay: srv}
	// Tickets are good for a minute: fetch them as they are used.
	for len(p.lines) < n/size*size {
		_, entries, err := srv.members(min(max(1000/size, 1)*size, n/size*size-len(p.lines)), size)
		if err != nil {
			srv.stop()
			return nil, err
		}
		more, err := each(len(entries), together, func(i int) (line, error) {
			l, err := srv.dial(ctx, kind, len(p.lines)+i, entries[i], h)
			if err == nil {
				alive.add(l)
			}
			return l, err
		})
		if err != nil {
			srv.stop()
			return nil, err
		}
		p.lines = append(p.lines, more...)
	}
	return p, nil
}

func (r *relayServer) dial(ctx context.Context, kind string, i int, e chatrelay.Entry, h *heard) (line, error) {
	if kind == "webtransport" {
		return r.webTransport(ctx, i, e, h)
	}
	return r.webSocket(ctx, i, e, h)
}

// with measures on a server with connections that keep their heartbeat.
func with(ctx context.Context, s settings, kind string, n, size int, measure func(*peer, *heard) error) error {
	h, alive := new(heard), new(hearts)
	beats, stop := context.WithCancel(ctx)
	defer stop()
	go alive.beat(beats, frame.PingEvery)
	p, err := gather(ctx, s, kind, n, size, h, alive)
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	defer p.stop()
	time.Sleep(settle)
	if s.profile != "" && p.relay != nil {
		name := filepath.Join(s.profile, fmt.Sprintf("%s-%d-%d.pprof", kind, n, size))
		if _, err := p.relay.ask(request{Do: "profile", Path: name}); err != nil {
			return err
		}
	}
	err = measure(p, h)
	if s.profile != "" && p.relay != nil {
		_, ended := p.relay.ask(request{Do: "profile"})
		err = errors.Join(err, ended)
	}
	if lost := h.lost.Load(); err == nil && lost > 0 {
		err = fmt.Errorf("%d connections were lost: %v", lost, h.why.Load())
	}
	stop()
	for _, l := range p.lines {
		go l.close()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

// idle measures memory: what so many idle connections add to a server, with
// their heartbeats, after they have settled.
func idle(ctx context.Context, s settings, out *results) error {
	for range s.rounds {
		for _, kind := range s.servers {
			var before int64
			if err := with(ctx, s, kind, 2, 2, func(p *peer, _ *heard) (err error) {
				before, err = p.resident()
				return err
			}); err != nil {
				return err
			}
			if err := with(ctx, s, kind, s.idle, 2, func(p *peer, _ *heard) error {
				time.Sleep(s.span)
				now, err := p.resident()
				out.add("memory a connection, "+strconv.Itoa(s.idle)+" idle", kind, "KB",
					float64(now-before)/float64(s.idle)/1024)
				if p.relay != nil && s.profile != "" {
					a, _ := p.relay.ask(request{Do: "memory"})
					fmt.Println(a.Text)
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// cost measures the server's processor time a delivery at a fixed rate.
func cost(ctx context.Context, s settings, out *results) error {
	for range s.rounds {
		for _, size := range s.sizes {
			for _, kind := range s.servers {
				err := undisturbed(s, out, func(out *results) error {
					return with(ctx, s, kind, s.active, size, func(p *peer, h *heard) error {
						return talking(ctx, s, p, size, s.rate, func() error {
							began, err := p.used()
							if err != nil {
								return err
							}
							from := h.n.Load()
							time.Sleep(s.span)
							ended, err := p.used()
							n := h.n.Load() - from
							if n < int64(float64(s.rate)*s.span.Seconds()*0.6) {
								return fmt.Errorf("%d deliveries instead of %.0f", n, float64(s.rate)*s.span.Seconds())
							}
							out.add(fmt.Sprintf("processor time a delivery, rooms of %d", size), kind, "µs",
								float64((ended-began).Microseconds())/float64(n))
							return err
						})
					})
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// talking measures while messages flow.
func talking(ctx context.Context, s settings, p *peer, size, rate int, measure func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	talked := make(chan error, 1)
	go func() { talked <- talk(ctx, p.lines, size, rate) }()
	time.Sleep(settle / 2)
	err := measure()
	stop()
	return errors.Join(err, <-talked)
}

// latency measures from sending to delivery; the writer's copy counts too.
func latency(ctx context.Context, s settings, out *results) error {
	for range s.rounds {
		for _, size := range s.sizes {
			for _, kind := range s.servers {
				err := undisturbed(s, out, func(out *results) error {
					return with(ctx, s, kind, s.active, size, func(p *peer, h *heard) error {
						err := talking(ctx, s, p, size, s.pace, func() error {
							h.keep.Store(true)
							time.Sleep(s.span)
							h.keep.Store(false)
							return nil
						})
						h.mu.Lock()
						defer h.mu.Unlock()
						if len(h.times) == 0 {
							return errors.New("nothing was delivered")
						}
						slices.Sort(h.times)
						for _, p := range []int{50, 99} {
							out.add(fmt.Sprintf("p%d at %d deliveries/s, rooms of %d", p, s.pace, size), kind, "ms",
								float64(h.times[len(h.times)*p/100].Microseconds())/1000)
						}
						return err
					})
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// reconnect kills the relay under many connections and measures, from the
// start of the next process, until the last is welcome again.
func reconnect(ctx context.Context, s settings, out *results) error {
	for range min(s.rounds, 3) {
		for _, kind := range s.servers {
			if kind == "jetstream" {
				continue
			}
			if err := comeBack(ctx, s, kind, out); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	return nil
}

func comeBack(ctx context.Context, s settings, kind string, out *results) error {
	h, alive := new(heard), new(hearts)
	beats, stop := context.WithCancel(ctx)
	defer stop()
	go alive.beat(beats, frame.PingEvery)
	dir := filepath.Join(s.dir, fmt.Sprintf("again-%s-%d", kind, rand.Int32()))
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	srv, err := startRelay(s, dir, addr)
	if err != nil {
		return err
	}
	var everyone []member
	var lines []line
	for len(everyone) < s.again {
		in, entries, err := srv.members(min(1000, s.again-len(everyone)), 2)
		if err == nil {
			var more []line
			more, err = each(len(entries), together, func(i int) (line, error) {
				l, err := srv.dial(ctx, kind, len(everyone)+i, entries[i], h)
				if err == nil {
					alive.add(l)
				}
				return l, err
			})
			lines = append(lines, more...)
		}
		if err != nil {
			srv.stop()
			return err
		}
		everyone = append(everyone, in...)
	}
	stop()
	srv.stop()
	for _, l := range lines {
		l.close()
	}
	began := time.Now()
	if srv, err = startRelay(s, dir, addr); err != nil {
		return err
	}
	defer srv.stop()
	out.add("until it listens again", kind, "s", time.Since(began).Seconds())
	// Everyone asks for a new ticket, as pages do, then all connect at once.
	a, err := srv.ask(request{Do: "enter", Members: everyone})
	if err != nil {
		return err
	}
	out.add(fmt.Sprintf("until %d have tickets", s.again), kind, "s", time.Since(began).Seconds())
	if s.profile != "" {
		name := filepath.Join(s.profile, kind+"-reconnect.pprof")
		if _, err := srv.ask(request{Do: "profile", Path: name}); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var failed int
	_, err = each(len(everyone), len(everyone), func(i int) (line, error) {
		for wait := 100 * time.Millisecond; ; wait *= 2 {
			l, err := srv.dial(ctx, kind, i, a.Entries[i], h)
			if err == nil || wait > 10*time.Second {
				return l, err
			}
			mu.Lock()
			failed++
			mu.Unlock()
			time.Sleep(wait/2 + rand.N(wait))
		}
	})
	if s.profile != "" {
		_, ended := srv.ask(request{Do: "profile"})
		err = errors.Join(err, ended)
	}
	if err != nil {
		return err
	}
	out.add(fmt.Sprintf("until %d are back", s.again), kind, "s", time.Since(began).Seconds())
	out.add("connections tried in vain", kind, "", float64(failed))
	return nil
}
