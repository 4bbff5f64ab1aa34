// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// load reads the file back. Devices are connections of the process that is
// gone, so they are not.
func (l *Local) load() error {
	now := time.Now()
	before, err := l.store.primary()
	if err != nil {
		return err
	}
	tx, err := l.store.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	steps := []struct {
		query string
		args  []any
	}{
		{`DELETE FROM devices`, nil},
		{`REPLACE INTO settings VALUES ('host', ?)`, []any{l.RelayHost()}},
		{`DELETE FROM addresses WHERE seen < ?`, []any{now.Add(-l.opt.TTL.Address).UnixMilli()}},
		{`DELETE FROM addresses WHERE login NOT IN (SELECT login FROM addresses ORDER BY seen DESC LIMIT ?)`,
			[]any{l.opt.MaxLogins}},
		// A machine that has another name keeps its ports.
		{`UPDATE OR IGNORE grants SET host = ? WHERE host = ?`, []any{l.RelayHost(), before}},
	}
	if slices.ContainsFunc(l.slots, func(r HostRange) bool { return r.Host == before }) {
		steps = steps[:len(steps)-1]
	}
	for _, step := range steps {
		if _, err := tx.Exec(step.query, step.args...); err != nil {
			return err
		}
	}
	err = rows(tx, func(rs *sql.Rows) error {
		a, err := scanAddress(rs)
		if err != nil {
			return err
		}
		a.Seen = now.Add(-age(now, a.Seen))
		u := &login{addr: a}
		u.elem = l.seen.PushBack(u)
		l.logins[a.Login] = u
		return nil
	}, "SELECT "+addressColumns+" FROM addresses ORDER BY seen")
	if err != nil {
		return err
	}
	var moved []grantRow
	err = readGrants(tx, func(g grantRow) {
		slot, ok := l.slots.of(g.host, g.port)
		if !ok {
			moved = append(moved, grantRow{host: g.host, port: g.port})
			return
		}
		// The monotonic clock counts from here on.
		e := &grant{login: g.login, slot: slot,
			granted: now.Add(-age(now, time.UnixMilli(g.granted))), used: now.Add(-age(now, time.UnixMilli(g.used)))}
		if g.held > 0 {
			// Its conversation was cut by the restart and is coming back.
			e.heldUntil = now.Add(l.opt.TTL.Hold)
		}
		l.insert(e)
	})
	if err != nil {
		return err
	}
	if err := (change{grants: moved, beats: true, hosts: l.hosts(now)}).apply(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// commit hands a reserved grant to the writer.
func (l *Local) commit(e *grant) {
	l.mu.Lock()
	switch {
	case l.closed:
		l.settle(e, fmt.Errorf("closed"))
	case l.store == nil:
		l.settle(e, nil)
	default:
		l.urgent = append(l.urgent, e)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake already
	}
}

// write is the writer: it commits grants as they come, all that wait in one
// transaction, and the rest every flushEvery. It ends with Close.
func (l *Local) write() {
	defer close(l.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-l.wake:
			l.commitGrants()
		case <-tick.C:
			err := l.flush()
			if (err != nil) != failing {
				failing = err != nil
				l.opt.Log("writing presence to its file", "file", l.opt.Path, "ok", !failing, "error", err)
			}
		case <-l.stop:
			l.commitGrants()
			if err := l.flush(); err != nil {
				l.opt.Log("writing presence at shutdown", "file", l.opt.Path, "error", err)
			}
			if l.store != nil {
				_ = l.store.write(change{beats: true}) // else a reader sees the hosts for DeviceTTL more
			}
			return
		}
	}
}

// commitGrants commits every grant that waits.
func (l *Local) commitGrants() {
	l.mu.Lock()
	waiting := l.urgent
	l.urgent = nil
	var c change
	for _, e := range waiting {
		c.grants = append(c.grants, l.row(e.slot))
	}
	l.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	err := l.store.write(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range waiting {
		l.settle(e, err)
	}
}

// flush writes what is written behind, a batch at a time. What could not be
// written is tried again at the next tick.
func (l *Local) flush() error {
	for {
		l.mu.Lock()
		l.sweep(time.Now())
		c, more := l.collect()
		l.mu.Unlock()
		if l.store == nil || c.rows() == 0 {
			return nil
		}
		if err := l.store.write(c); err != nil {
			l.mu.Lock()
			l.uncollect(c)
			l.mu.Unlock()
			return err
		}
		l.commitGrants()
		if !more {
			return nil
		}
	}
}

func (l *Local) row(slot int) grantRow {
	host, port := l.slots.place(slot)
	e := l.bySlot[slot]
	if e == nil {
		return grantRow{host: host, port: port}
	}
	r := grantRow{host: host, port: port, login: e.login, granted: e.granted.UnixMilli(), used: e.used.UnixMilli()}
	if e.held(time.Now()) {
		r.held = e.heldUntil.UnixMilli()
	}
	return r
}

func (c change) rows() int {
	n := 0
	if c.beats {
		n = 1
	}
	return n + len(c.grants) + len(c.logins) + len(c.gone) + len(c.devices) + len(c.left) + len(c.hosts)
}

// collect takes up to flushRows of what is to be written and says whether
// there is more.
func (l *Local) collect() (c change, more bool) {
	if now := time.Now(); l.store != nil && now.Sub(l.beat) >= HeartbeatEvery {
		l.beat = now
		c.beats, c.hosts = true, l.hosts(now)
	}
	for slot := range l.dirtySlots {
		if c.rows() == flushRows {
			return c, true
		}
		delete(l.dirtySlots, slot)
		// A reserved grant is written by its commit; until then the file
		// keeps whom the port was taken from.
		if e := l.bySlot[slot]; e == nil || e.ready == nil {
			c.grants = append(c.grants, l.row(slot))
		}
	}
	for name := range l.dirtyLogins {
		if c.rows() == flushRows {
			return c, true
		}
		delete(l.dirtyLogins, name)
		if u := l.logins[name]; u != nil {
			c.logins = append(c.logins, u.addr)
		} else {
			c.gone = append(c.gone, name)
		}
	}
	for k := range l.dirtyDevices {
		if c.rows() == flushRows {
			return c, true
		}
		delete(l.dirtyDevices, k)
		if u := l.logins[k.login]; u != nil && u.devices[k.id] != nil {
			c.devices = append(c.devices, u.devices[k.id].Device)
		} else {
			c.left = append(c.left, k)
		}
	}
	return c, false
}

// uncollect marks a change again that could not be written.
func (l *Local) uncollect(c change) {
	for _, g := range c.grants {
		if slot, ok := l.slots.of(g.host, g.port); ok {
			l.dirtySlots[slot] = struct{}{}
		}
	}
	for _, a := range c.logins {
		l.markLogin(a.Login)
	}
	for _, name := range c.gone {
		l.markLogin(name)
	}
	for _, d := range c.devices {
		l.markDevice(deviceKey{d.Login, d.ID})
	}
	for _, k := range c.left {
		l.markDevice(k)
	}
}

// markLogin notes that a login's row is to be written. While the file cannot be
// written the marks are bounded; beyond the bound the file misses changes until
// the login is seen again.
func (l *Local) markLogin(name string) {
	if l.store != nil && len(l.dirtyLogins) < maxMarks {
		l.dirtyLogins[name] = struct{}{}
	}
}

// markDevice is markLogin for a device.
func (l *Local) markDevice(k deviceKey) {
	if l.store != nil && len(l.dirtyDevices) < maxMarks {
		l.dirtyDevices[k] = struct{}{}
	}
}
