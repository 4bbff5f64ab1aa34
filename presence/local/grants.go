// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
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

func (d *Directory) live(e *grant, now time.Time) bool {
	return e != nil && e.ready == nil && (e.held(now) || now.Sub(e.used) <= d.opt.TTL.Grant)
}

func (d *Directory) view(e *grant, now time.Time) presence.Grant {
	host, port := d.slots.place(e.slot)
	return presence.Grant{Login: e.login, Host: host, Port: port, Granted: e.granted, Renewed: e.used,
		Held: e.held(now)}
}

// Grant implements presence.Grants.
func (d *Directory) Grant(ctx context.Context, login string) (g presence.Grant, err error) {
	defer d.meter.Done("grant", time.Now(), &err)
	if err := shared.CheckLogin(login); err != nil {
		return g, err
	}
	for probes := 0; probes < shared.MaxProbes; {
		e, reserved, err := d.renewOrReserve(ctx, login)
		if err != nil {
			return g, err
		}
		if reserved {
			probes++
			if d.probe(e) != nil {
				continue
			}
			d.commit(e)
		}
		if g, err = d.await(ctx, e); err != nil || g.Port != 0 {
			return g, err
		}
	}
	return g, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, shared.MaxProbes, presence.ErrNoPort)
}

// probe asks whether a reserved port can be had, and gives it up otherwise.
func (d *Directory) probe(e *grant) (err error) {
	err = errors.New("the probe panicked") // unless it comes back
	defer func() {
		if err != nil {
			d.giveUp(e, err)
		}
	}()
	return d.opt.Probe(d.slots.place(e.slot))
}

// renewOrReserve returns the grant of a login, renewed, or one that another
// call is making, or one that it reserved for the caller to make.
func (d *Directory) renewOrReserve(ctx context.Context, login string) (e *grant, reserved bool, err error) {
	if err := d.lock(ctx); err != nil {
		return nil, false, err
	}
	defer d.mu.Unlock()
	if d.left {
		return nil, false, fmt.Errorf("granting a port to %s: %w: this relay host is leaving",
			login, presence.ErrUnavailable)
	}
	now := time.Now()
	if e = d.byLogin[login]; e == nil {
		if e = d.reserve(login, now); e == nil {
			return nil, false, fmt.Errorf("granting a port of %s to %s: %w",
				presence.HostRanges(d.slots), login, presence.ErrNoPort)
		}
		return e, true, nil
	}
	if e.ready == nil {
		d.touch(e, now)
		d.meter.Renewed.Inc()
	}
	return e, false, nil
}

// await waits for a grant that is being made. A zero Grant says that it was
// given up and that the caller tries again.
func (d *Directory) await(ctx context.Context, e *grant) (presence.Grant, error) {
	d.mu.Lock()
	ready := e.ready
	d.mu.Unlock()
	if ready != nil {
		select {
		case <-ready:
		case <-ctx.Done():
			return presence.Grant{}, fmt.Errorf("granting a port to %s: %w", e.login, ctx.Err())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.err != nil || d.byLogin[e.login] != e {
		return presence.Grant{}, e.err
	}
	return d.view(e, time.Now()), nil
}

// reserve takes the first free port for a login, else the one that is idle for
// longest, nil when all are held or blocked.
func (d *Directory) reserve(login string, now time.Time) *grant {
	e := &grant{login: login, granted: now, used: now, ready: make(chan struct{})}
	base := 0
	for _, r := range d.slots {
		first, span := r.Range.First(login)-r.Range.Lo, r.Range.Span()
		for i := range span {
			at := (first + i) % span
			slot := base + at
			if d.bySlot[slot] == nil && !presence.BadPort(r.Range.Lo+at) && !d.isBlocked(slot, now) {
				e.slot = slot
				d.insert(e)
				return e
			}
		}
		base += span
	}
	// Holding moves a grant to the back, so only those held in the last
	// HoldTTL can stand before the one that is wanted.
	for el := d.idle.Front(); el != nil; el = el.Next() {
		if v := el.Value.(*grant); v.ready == nil && !v.held(now) {
			d.remove(v)
			e.slot = v.slot
			if now.Sub(v.used) <= d.opt.TTL.Grant {
				e.victim = v
			}
			d.insert(e)
			return e
		}
	}
	return nil
}

func (d *Directory) isBlocked(slot int, now time.Time) bool {
	until, ok := d.blocked[slot]
	if ok && !until.After(now) {
		delete(d.blocked, slot)
		return false
	}
	return ok
}

func (d *Directory) insert(e *grant) {
	d.byLogin[e.login] = e
	d.bySlot[e.slot] = e
	e.elem = d.idle.PushBack(e)
}

func (d *Directory) remove(e *grant) {
	delete(d.byLogin, e.login)
	d.bySlot[e.slot] = nil
	d.idle.Remove(e.elem)
	d.markSlot(e.slot)
}

// touch renews a lease.
func (d *Directory) touch(e *grant, now time.Time) {
	e.used = now
	d.idle.MoveToBack(e.elem)
	d.markSlot(e.slot)
}

// giveUp blocks the port of a reserved grant whose probe failed.
func (d *Directory) giveUp(e *grant, why error) {
	d.mu.Lock()
	d.block(e.slot, time.Now())
	d.remove(e)
	close(e.ready)
	e.ready = nil
	d.mu.Unlock()
	host, port := d.slots.place(e.slot)
	d.opt.Log.Warn("port cannot be had and is skipped", "relay", host, "port", port, "for", d.opt.TTL.Blocked,
		"err", why)
}

func (d *Directory) block(slot int, now time.Time) {
	d.blocked[slot] = now.Add(d.opt.TTL.Blocked)
	d.meter.Blocked.Inc()
}

// settle ends the wait for the commit of a reserved grant; the lock is held.
func (d *Directory) settle(e *grant, err error) {
	victim := e.victim
	e.victim = nil
	if err != nil {
		e.err = fmt.Errorf("granting a port to %s: %w: %w", e.login, presence.ErrUnavailable, err)
		d.remove(e)
		if victim != nil && d.byLogin[victim.login] == nil {
			d.insert(victim)
			d.idle.MoveToFront(victim.elem)
		}
	} else {
		d.meter.Granted.Inc()
		if victim != nil {
			d.meter.Takeovers.Inc()
		}
	}
	close(e.ready)
	e.ready = nil
}

// GrantOf implements presence.Directory.
func (d *Directory) GrantOf(ctx context.Context, login string) (g presence.Grant, err error) {
	defer d.meter.Done("grant_of", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return presence.Grant{}, err
	}
	defer d.mu.Unlock()
	now := time.Now()
	if e := d.byLogin[login]; d.live(e, now) {
		return d.view(e, now), nil
	}
	return presence.Grant{}, fmt.Errorf("looking up the grant of %s: %w", login, presence.ErrUnknown)
}

// at returns the grant at a port of a host, nil when there is none.
func (d *Directory) at(host string, port int) *grant {
	slot, ok := d.slots.of(host, port)
	if !ok {
		return nil
	}
	return d.bySlot[slot]
}

// Resolve implements presence.Directory.
func (d *Directory) Resolve(ctx context.Context, host string, port int) (login string, err error) {
	defer d.meter.Done("resolve", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return "", err
	}
	defer d.mu.Unlock()
	if e := d.at(host, port); d.live(e, time.Now()) {
		return e.login, nil
	}
	return "", fmt.Errorf("resolving port %d of %s: %w", port, host, presence.ErrUnknown)
}

// Hold implements presence.Directory. It renews the lease.
func (d *Directory) Hold(ctx context.Context, g presence.Grant) (err error) {
	defer d.meter.Done("hold", time.Now(), &err)
	return d.use(ctx, g, d.opt.TTL.Hold)
}

// Release implements presence.Directory.
func (d *Directory) Release(ctx context.Context, g presence.Grant) (err error) {
	defer d.meter.Done("release", time.Now(), &err)
	return d.use(ctx, g, 0)
}

func (d *Directory) use(ctx context.Context, g presence.Grant, hold time.Duration) error {
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	now := time.Now()
	e := d.at(g.Host, g.Port)
	if e == nil || e.login != g.Login || e.ready != nil {
		return fmt.Errorf("using port %d of %s for %s: %w", g.Port, g.Host, g.Login, presence.ErrUnknown)
	}
	e.heldUntil = now.Add(hold)
	d.touch(e, now)
	return nil
}

// Block implements presence.Directory.
func (d *Directory) Block(ctx context.Context, g presence.Grant) (err error) {
	defer d.meter.Done("block", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	e := d.at(g.Host, g.Port)
	if e == nil || e.login != g.Login || e.ready != nil {
		return fmt.Errorf("blocking port %d of %s: %w", g.Port, g.Host, presence.ErrUnknown)
	}
	d.remove(e)
	d.block(e.slot, time.Now())
	d.opt.Log.Warn("port cannot be had and is skipped", "relay", g.Host, "port", g.Port, "for", d.opt.TTL.Blocked)
	return nil
}

// Grants implements presence.Directory.
func (d *Directory) Grants(ctx context.Context, limit int) (gs []presence.Grant, err error) {
	defer d.meter.Done("grants", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	now := time.Now()
	for _, e := range d.bySlot {
		if d.live(e, now) {
			gs = append(gs, d.view(e, now))
		}
	}
	return shared.GrantsByPort(gs, limit), nil
}
