// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"container/list"
	"context"
	"fmt"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// login is an entry of the first database.
type login struct {
	addr    presence.Address
	elem    *list.Element
	devices map[string]*device
}

// Renew implements presence.Addresses.
func (d *Directory) Renew(ctx context.Context, a presence.Address) (err error) {
	defer d.meter.Done("renew", time.Now(), &err)
	if a, err = shared.CheckAddress(a); err != nil {
		return err
	}
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	d.renew(a, time.Now())
	return nil
}

// renew keeps a newest address and returns its login, nil when it is too old to keep.
func (d *Directory) renew(a presence.Address, now time.Time) *login {
	a.Seen = now.Add(-shared.Age(now, a.Seen))
	u := d.logins[a.Login]
	switch {
	case now.Sub(a.Seen) > d.opt.TTL.Address:
		return u
	case u == nil:
		u = &login{addr: a}
		d.logins[a.Login] = u
		u.elem = d.seen.PushBack(u)
	case u.addr.Seen.After(a.Seen):
		return u
	default:
		u.addr = a
		d.seen.MoveToBack(u.elem)
	}
	// Sightings arrive in order, or nearly: this looks at a neighbour or two.
	for e := u.elem.Prev(); e != nil && e.Value.(*login).addr.Seen.After(a.Seen); e = u.elem.Prev() {
		d.seen.MoveBefore(u.elem, e)
	}
	d.markLogin(a.Login)
	if len(d.logins) > d.opt.MaxLogins {
		d.forget(d.seen.Front().Value.(*login))
	}
	return u
}

// forget drops a login's address and devices.
func (d *Directory) forget(u *login) {
	for _, dev := range u.devices {
		d.disconnect(u, dev)
	}
	d.seen.Remove(u.elem)
	delete(d.logins, u.addr.Login)
	d.markLogin(u.addr.Login)
}

// Lookup implements presence.Addresses.
func (d *Directory) Lookup(ctx context.Context, login string) (a presence.Address, err error) {
	defer d.meter.Done("lookup", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return a, err
	}
	defer d.mu.Unlock()
	u := d.logins[login]
	if u == nil || time.Since(u.addr.Seen) > d.opt.TTL.Address {
		return a, fmt.Errorf("looking up %s: %w", login, presence.ErrUnknown)
	}
	return u.addr, nil
}

// Addresses implements presence.Addresses.
func (d *Directory) Addresses(ctx context.Context, limit int) (as []presence.Address, err error) {
	defer d.meter.Done("addresses", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	now := time.Now()
	for e := d.seen.Back(); e != nil && len(as) < limit; e = e.Prev() {
		a := e.Value.(*login).addr
		if now.Sub(a.Seen) > d.opt.TTL.Address {
			break
		}
		as = append(as, a)
	}
	return as, nil
}

// sweep forgets expired entries; both lists have the oldest in front.
func (d *Directory) sweep(now time.Time) {
	for e := d.beats.Front(); e != nil; e = d.beats.Front() {
		dev := e.Value.(*device)
		if now.Sub(dev.Heartbeat) <= d.opt.TTL.Device {
			break
		}
		d.disconnect(d.logins[dev.Login], dev)
	}
	for e := d.seen.Front(); e != nil; e = d.seen.Front() {
		u := e.Value.(*login)
		if now.Sub(u.addr.Seen) <= d.opt.TTL.Address {
			break
		}
		d.forget(u)
	}
}
