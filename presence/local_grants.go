// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"container/list"
	"context"
	"fmt"
	"time"
)

// grant is an entry of the second database in memory.
type grant struct {
	login     string
	slot      int
	granted   time.Time
	used      time.Time // last mail or conversation
	heldUntil time.Time
	elem      *list.Element

	// ready is closed when the grant was committed, refused or given up; nil
	// afterwards. Until then nobody else sees the grant or takes its port.
	ready  chan struct{}
	err    error  // why it was refused
	victim *grant // whom the port was taken from, until the commit
}

func (e *grant) held(now time.Time) bool { return e.heldUntil.After(now) }

func (l *Local) live(e *grant, now time.Time) bool {
	return e != nil && e.ready == nil && (e.held(now) || now.Sub(e.used) <= l.opt.TTL.Grant)
}

func (l *Local) view(e *grant, now time.Time) Grant {
	host, port := l.slots.place(e.slot)
	return Grant{Login: e.login, Host: host, Port: port, Granted: e.granted, Renewed: e.used, Held: e.held(now)}
}

// Grant implements Directory.
func (l *Local) Grant(ctx context.Context, login string) (g Grant, err error) {
	defer l.meter.done("grant", time.Now(), &err)
	if err := checkLogin(login); err != nil {
		return Grant{}, err
	}
	for probes := 0; probes < maxProbes; {
		if err := l.lock(ctx); err != nil {
			return Grant{}, err
		}
		now := time.Now()
		e := l.byLogin[login]
		switch {
		case l.left:
			l.mu.Unlock()
			return Grant{}, fmt.Errorf("granting a port to %s: %w: this relay host is leaving", login, ErrUnavailable)
		case e == nil:
			if e = l.reserve(login, now); e == nil {
				l.mu.Unlock()
				return Grant{}, fmt.Errorf("granting a port of %s to %s: %w", l.slots, login, ErrNoPort)
			}
			l.mu.Unlock()
			probes++
			if err := l.opt.Probe(l.slots.place(e.slot)); err != nil {
				l.giveUp(e, err)
				continue
			}
			l.commit(e)
		case e.ready != nil: // another call is granting it
			l.mu.Unlock()
		default:
			l.touch(e, now)
			g = l.view(e, now)
			l.mu.Unlock()
			l.meter.renewed.Inc()
			return g, nil
		}
		if g, err = l.await(ctx, e); err != nil || g.Port != 0 {
			return g, err
		}
	}
	return Grant{}, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, maxProbes, ErrNoPort)
}

// await waits for a reserved grant. A zero Grant says that it was given up and
// that the caller tries again.
func (l *Local) await(ctx context.Context, e *grant) (Grant, error) {
	l.mu.Lock()
	ready := e.ready
	l.mu.Unlock()
	if ready != nil {
		select {
		case <-ready:
		case <-ctx.Done():
			return Grant{}, fmt.Errorf("granting a port to %s: %w", e.login, ctx.Err())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.err != nil {
		return Grant{}, e.err
	}
	if l.byLogin[e.login] != e {
		return Grant{}, nil
	}
	return l.view(e, time.Now()), nil
}

// reserve takes the first free port for a login, else the one that is idle for
// longest, nil when all are held or blocked.
func (l *Local) reserve(login string, now time.Time) *grant {
	e := &grant{login: login, granted: now, used: now, ready: make(chan struct{})}
	base := 0
	for _, r := range l.slots {
		first, span := r.Range.first(login)-r.Range.Lo, r.Range.span()
		for i := range span {
			at := (first + i) % span
			if slot := base + at; l.bySlot[slot] == nil && !BadPort(r.Range.Lo+at) && !l.isBlocked(slot, now) {
				e.slot = slot
				l.insert(e)
				return e
			}
		}
		base += span
	}
	// Holding moves a grant to the back, so only those held in the last
	// HoldTTL can stand before the one that is wanted.
	for el := l.idle.Front(); el != nil; el = el.Next() {
		if v := el.Value.(*grant); v.ready == nil && !v.held(now) {
			l.remove(v)
			e.slot = v.slot
			if now.Sub(v.used) <= l.opt.TTL.Grant {
				e.victim = v
			}
			l.insert(e)
			return e
		}
	}
	return nil
}

func (l *Local) isBlocked(slot int, now time.Time) bool {
	until, ok := l.blocked[slot]
	if ok && !until.After(now) {
		delete(l.blocked, slot)
		return false
	}
	return ok
}

func (l *Local) insert(e *grant) {
	l.byLogin[e.login] = e
	l.bySlot[e.slot] = e
	e.elem = l.idle.PushBack(e)
}

func (l *Local) remove(e *grant) {
	delete(l.byLogin, e.login)
	l.bySlot[e.slot] = nil
	l.idle.Remove(e.elem)
	l.dirtySlots[e.slot] = struct{}{}
}

// touch renews a lease.
func (l *Local) touch(e *grant, now time.Time) {
	e.used = now
	l.idle.MoveToBack(e.elem)
	l.dirtySlots[e.slot] = struct{}{}
}

// giveUp blocks the port of a reserved grant whose probe failed.
func (l *Local) giveUp(e *grant, why error) {
	l.mu.Lock()
	l.block(e.slot, time.Now())
	l.remove(e)
	close(e.ready)
	e.ready = nil
	l.mu.Unlock()
	host, port := l.slots.place(e.slot)
	l.opt.Log("port cannot be had and is skipped", "host", host, "port", port, "for", l.opt.TTL.Blocked, "error", why)
}

func (l *Local) block(slot int, now time.Time) {
	l.blocked[slot] = now.Add(l.opt.TTL.Blocked)
	l.meter.blocked.Inc()
}

// settle ends the wait for the commit of a reserved grant; the lock is held.
func (l *Local) settle(e *grant, err error) {
	victim := e.victim
	e.victim = nil
	if err != nil {
		e.err = fmt.Errorf("granting a port to %s: %w: %w", e.login, ErrUnavailable, err)
		l.remove(e)
		if victim != nil && l.byLogin[victim.login] == nil {
			l.insert(victim)
			l.idle.MoveToFront(victim.elem)
		}
	} else {
		l.meter.granted.Inc()
		if victim != nil {
			l.meter.takeovers.Inc()
		}
	}
	close(e.ready)
	e.ready = nil
}

// GrantOf implements Directory.
func (l *Local) GrantOf(ctx context.Context, login string) (g Grant, err error) {
	defer l.meter.done("grant_of", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return Grant{}, err
	}
	defer l.mu.Unlock()
	now := time.Now()
	if e := l.byLogin[login]; l.live(e, now) {
		return l.view(e, now), nil
	}
	return Grant{}, fmt.Errorf("looking up the grant of %s: %w", login, ErrUnknown)
}

// at returns the grant at a port of a host, nil when there is none.
func (l *Local) at(host string, port int) *grant {
	slot, ok := l.slots.of(host, port)
	if !ok {
		return nil
	}
	return l.bySlot[slot]
}

// Resolve implements Directory.
func (l *Local) Resolve(ctx context.Context, host string, port int) (login string, err error) {
	defer l.meter.done("resolve", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return "", err
	}
	defer l.mu.Unlock()
	if e := l.at(host, port); l.live(e, time.Now()) {
		return e.login, nil
	}
	return "", fmt.Errorf("resolving port %d of %s: %w", port, host, ErrUnknown)
}

// Hold implements Directory. It renews the lease.
func (l *Local) Hold(ctx context.Context, g Grant) (err error) {
	defer l.meter.done("hold", time.Now(), &err)
	return l.use(ctx, g, l.opt.TTL.Hold)
}

// Release implements Directory.
func (l *Local) Release(ctx context.Context, g Grant) (err error) {
	defer l.meter.done("release", time.Now(), &err)
	return l.use(ctx, g, 0)
}

func (l *Local) use(ctx context.Context, g Grant, hold time.Duration) error {
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	now := time.Now()
	e := l.at(g.Host, g.Port)
	if e == nil || e.login != g.Login || e.ready != nil {
		return fmt.Errorf("using port %d of %s for %s: %w", g.Port, g.Host, g.Login, ErrUnknown)
	}
	e.heldUntil = now.Add(hold)
	l.touch(e, now)
	return nil
}

// Block implements Directory.
func (l *Local) Block(ctx context.Context, g Grant) (err error) {
	defer l.meter.done("block", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	e := l.at(g.Host, g.Port)
	if e == nil || e.login != g.Login || e.ready != nil {
		return fmt.Errorf("blocking port %d of %s: %w", g.Port, g.Host, ErrUnknown)
	}
	l.remove(e)
	l.block(e.slot, time.Now())
	l.opt.Log("port cannot be had and is skipped", "host", g.Host, "port", g.Port, "for", l.opt.TTL.Blocked)
	return nil
}

// Grants implements Directory.
func (l *Local) Grants(ctx context.Context, limit int) (gs []Grant, err error) {
	defer l.meter.done("grants", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	now := time.Now()
	for _, e := range l.bySlot {
		if l.live(e, now) {
			gs = append(gs, l.view(e, now))
		}
	}
	return byPort(gs, limit), nil
}
