// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A host whose heartbeats stop for hostTTL is gone. That is shorter than the
// rest of any hold that is kept up, so a jump of Redis' clock that ends holds
// ends the host too, and the keeper makes the holds again before the next grant.
func (r *Redis) hostTTL() time.Duration   { return r.opt.TTL.Hold / 3 }
func (r *Redis) beatEvery() time.Duration { return min(HeartbeatEvery, r.opt.TTL.Hold/10) }

// keep is the keeper; it ends with Close.
func (r *Redis) keep() {
	defer close(r.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with the keeper
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	known := false // the grants of Redis were read into memory
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
		case <-r.kick:
		}
		next := r.beatEvery()
		if err := r.beat(ctx, &known); err != nil {
			r.lost(err)
			next = retryEvery
		} else if r.down.CompareAndSwap(true, false) {
			r.opt.Log("Redis answers again")
		}
		timer.Reset(next)
	}
}

// lost makes calls fail at once until the keeper finds Redis again.
func (r *Redis) lost(err error) {
	if !r.down.CompareAndSwap(false, true) {
		return
	}
	select {
	case <-r.stop:
	default:
		r.opt.Log("Redis does not answer; going on without it", "error", err)
	}
	r.wakeKeeper()
}

func (r *Redis) wakeKeeper() {
	select {
	case r.kick <- struct{}{}:
	default: // it is awake already
	}
}

// beat sends a heartbeat and tells those who wait in awaitHost.
func (r *Redis) beat(ctx context.Context, known *bool) error {
	if r.opt.Host == "" {
		return r.client.Ping(ctx).Err()
	}
	if err := r.announce(ctx, known); err != nil {
		return err
	}
	r.mu.Lock()
	close(r.beaten)
	r.beaten = make(chan struct{})
	r.mu.Unlock()
	return nil
}

// announce makes sure that Redis knows this host, with all its grants.
func (r *Redis) announce(ctx context.Context, known *bool) error {
	if *known {
		if there, err := r.heartbeat(ctx, "beat"); err != nil || there {
			return err
		}
	} else {
		if err := r.hostGrants(ctx, r.opt.Host, r.memory.learn); err != nil {
			return err
		}
		*known = true
	}
	all := r.memory.all()
	for page := range slices.Chunk(all, redisPage) {
		if err := r.restore(ctx, page); err != nil {
			return err
		}
	}
	_, err := r.heartbeat(ctx, "announce")
	return err
}

func (r *Redis) heartbeat(ctx context.Context, mode string) (there bool, err error) {
	args := []any{r.opt.Range.String(), ms(r.hostTTL()), r.keyLease(), mode}
	for _, port := range r.opt.Range.bad() {
		args = append(args, port)
	}
	cmd, err := r.hostRun(ctx, beatScript, r.opt.Host, args...)
	if err != nil {
		return false, err
	}
	n, err := cmd.Int()
	return n == 1, err
}

// awaitHost waits until the keeper has made sure that Redis knows this host.
func (r *Redis) awaitHost(ctx context.Context) error {
	r.mu.Lock()
	beaten := r.beaten
	r.mu.Unlock()
	r.wakeKeeper()
	select {
	case <-beaten:
		return nil
	case <-r.stop:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("%w: restoring the grants: %w", ErrUnavailable, ctx.Err())
	}
}

// restore makes remembered grants of this host again where Redis lost them,
// and the pointers to them.
func (r *Redis) restore(ctx context.Context, page []remembered) error {
	now := time.Now()
	args := []any{r.keyLease()}
	var steps []step
	for _, m := range page {
		args = append(args, m.port, m.login, ms(age(now, m.granted)), ms(age(now, m.used)),
			max(0, ms(m.heldUntil.Sub(now))))
		steps = append(steps, step{pointerScript, []string{r.pointerKey(m.login)},
			[]any{"", r.opt.Host, ms(r.opt.TTL.Grant)}})
	}
	_, err := r.run(ctx, append(steps, r.hostStep(restoreScript, r.opt.Host, args...)), nil)
	return err
}

// remembered is a grant of this host as this process knows it, on the
// monotonic clock.
type remembered struct {
	login     string
	port      int
	granted   time.Time
	used      time.Time
	heldUntil time.Time
}

// memory is the grants of this host that this process knows of. There is one a
// port, which bounds it.
type memory struct {
	mu      sync.Mutex
	byPort  map[int]*remembered
	byLogin map[string]*remembered
}

func newMemory() memory {
	return memory{byPort: make(map[int]*remembered), byLogin: make(map[string]*remembered)}
}

// put remembers a grant that was just made or renewed.
func (m *memory) put(g Grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	e := m.byLogin[g.Login]
	if e == nil || e.port != g.Port {
		m.forget(e)
		m.forget(m.byPort[g.Port])
		e = &remembered{login: g.Login, port: g.Port, granted: now.Add(-age(now, g.Granted))}
		m.byLogin[g.Login], m.byPort[g.Port] = e, e
	}
	e.used = now
}

// learn remembers a grant that Redis knows of, unless something newer is known.
func (m *memory) learn(g Grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byLogin[g.Login] != nil || m.byPort[g.Port] != nil {
		return
	}
	now := time.Now()
	e := &remembered{login: g.Login, port: g.Port,
		granted: now.Add(-age(now, g.Granted)), used: now.Add(-age(now, g.Renewed))}
	m.byLogin[g.Login], m.byPort[g.Port] = e, e
}

func (m *memory) forget(e *remembered) {
	if e != nil {
		delete(m.byLogin, e.login)
		delete(m.byPort, e.port)
	}
}

func (m *memory) drop(login string, port int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil && e.port == port {
		m.forget(e)
	}
}

// hold notes that a conversation is on a port, for a time; zero ends it.
func (m *memory) hold(login string, port int, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil && e.port == port {
		e.used = time.Now()
		e.heldUntil = e.used.Add(d)
	}
}

// heldBy returns the login whose conversation is on a port.
func (m *memory) heldBy(port int) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byPort[port]
	if e == nil || !e.heldUntil.After(time.Now()) {
		return remembered{}, false
	}
	return *e, true
}

// portOf returns the port a login had, or 0.
func (m *memory) portOf(login string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byLogin[login]; e != nil {
		return e.port
	}
	return 0
}

// all lists everything, what is used latest in front: where two want one port,
// the later has it.
func (m *memory) all() []remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]remembered, 0, len(m.byPort))
	for _, e := range m.byPort {
		list = append(list, *e)
	}
	slices.SortFunc(list, func(a, b remembered) int { return b.used.Compare(a.used) })
	return list
}
