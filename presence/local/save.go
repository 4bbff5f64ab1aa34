// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"errors"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/file"
	"github.com/chmail/chmail/presence/internal/shared"
)

const (
	// flushEvery bounds how far the file lags behind memory in addresses and in
	// renewals of grants.
	flushEvery = 500 * time.Millisecond
	// flushRows is the most rows of a transaction that nobody waits for, so that
	// a new grant waits for little.
	flushRows = 2000
)

// open reads the file and prepares it for this run.
func (d *Directory) open() (err error) {
	switch {
	case d.opt.Path == "":
		return nil
	case d.opt.ReadOnly:
		f, err := file.OpenReadOnly(d.opt.Path)
		if err != nil {
			return err
		}
		_, err = d.load(f)
		return errors.Join(err, f.Close())
	}
	if d.file, err = file.Open(d.opt.Path); err != nil {
		return err
	}
	change, err := d.load(d.file)
	if err == nil {
		err = d.file.Write(change)
	}
	if err != nil {
		return errors.Join(err, d.file.Close())
	}
	return nil
}

// load reads a file into memory and returns the change that the file needs.
func (d *Directory) load(f *file.File) (file.Change, error) {
	now := time.Now()
	change := file.Change{Primary: d.RelayHost()}
	err := f.Addresses(func(a presence.Address) {
		a.Seen = now.Add(-shared.Age(now, a.Seen))
		u := &login{addr: a}
		u.elem = d.seen.PushBack(u)
		d.logins[a.Login] = u
	})
	if err != nil {
		return change, err
	}
	for len(d.logins) > d.opt.MaxLogins {
		d.forget(d.seen.Front().Value.(*login))
	}
	before, err := f.Primary()
	if err != nil {
		return change, err
	}
	renamed := !presence.HostRanges(d.slots).Has(before)
	err = f.Grants(func(g file.Grant) {
		host := g.Host
		if renamed && host == before {
			host = d.RelayHost() // a machine that has another name keeps its ports
		}
		slot, ok := d.slots.of(host, g.Port)
		ok = ok && d.bySlot[slot] == nil
		if !ok || host != g.Host {
			change.Grants = append(change.Grants, file.Grant{Host: g.Host, Port: g.Port})
		}
		if !ok {
			return
		}
		// The monotonic clock counts from here on.
		e := &grant{login: g.Login, slot: slot,
			granted: now.Add(-shared.Age(now, g.Granted)), used: now.Add(-shared.Age(now, g.Used))}
		if g.Held {
			e.heldUntil = now.Add(d.opt.TTL.Hold) // its conversation was cut by the restart and is coming back
		}
		d.insert(e)
		if host != g.Host {
			change.Grants = append(change.Grants, d.row(slot))
		}
	})
	return change, err
}

// commit hands a reserved grant to the writer.
func (d *Directory) commit(e *grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		d.settle(e, errors.New("closed"))
	case d.file == nil:
		d.settle(e, nil)
	default:
		d.urgent = append(d.urgent, e)
		select {
		case d.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// write is the writer: it commits grants as they come, all that wait in one
// transaction, and the rest every flushEvery. It ends with Close.
func (d *Directory) write() {
	defer close(d.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		stopping := false
		select {
		case <-d.wake:
			shared.Guard(d.opt.Log, "committing grants", d.commitGrants)
			continue
		case <-tick.C:
		case <-d.stop:
			stopping = true
		}
		shared.Guard(d.opt.Log, "writing presence", func() {
			d.commitGrants()
			err := d.flush()
			if (err != nil) != failing {
				failing = err != nil
				d.opt.Log.Error("writing presence to its file", "ok", !failing, "err", err)
			}
		})
		if stopping {
			return
		}
	}
}

// commitGrants commits every grant that waits.
func (d *Directory) commitGrants() {
	d.mu.Lock()
	waiting := d.urgent
	d.urgent = nil
	var change file.Change
	for _, e := range waiting {
		change.Grants = append(change.Grants, d.row(e.slot))
	}
	d.mu.Unlock()
	if len(waiting) == 0 {
		return
	}
	err := errors.New("the writer panicked") // unless it comes back
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, e := range waiting {
			d.settle(e, err)
		}
	}()
	err = d.file.Write(change)
}

// flush forgets expired entries and writes the changed ones, some rows at a
// time. After a failure the next tick tries again.
func (d *Directory) flush() error {
	for more := true; more; {
		d.mu.Lock()
		d.sweep(time.Now())
		var change file.Change
		change, more = d.changed()
		d.mu.Unlock()
		if rows(change) == 0 {
			return nil
		}
		if err := d.file.Write(change); err != nil {
			d.mu.Lock()
			d.markAgain(change)
			d.mu.Unlock()
			return err
		}
		d.commitGrants()
	}
	return nil
}

func rows(c file.Change) int { return len(c.Grants) + len(c.Addresses) + len(c.Forgotten) }

// changed takes up to flushRows rows that are to be written, and says whether
// there are more.
func (d *Directory) changed() (change file.Change, more bool) {
	for slot := range d.dirtySlots {
		if rows(change) == flushRows {
			return change, true
		}
		delete(d.dirtySlots, slot)
		// A reserved grant is written by its commit; until then the file
		// keeps whom the port was taken from.
		if e := d.bySlot[slot]; e == nil || e.ready == nil {
			change.Grants = append(change.Grants, d.row(slot))
		}
	}
	for name := range d.dirtyLogins {
		if rows(change) == flushRows {
			return change, true
		}
		delete(d.dirtyLogins, name)
		if u := d.logins[name]; u != nil {
			change.Addresses = append(change.Addresses, u.addr)
		} else {
			change.Forgotten = append(change.Forgotten, name)
		}
	}
	return change, false
}

// markAgain marks a change that could not be written.
func (d *Directory) markAgain(change file.Change) {
	for _, g := range change.Grants {
		if slot, ok := d.slots.of(g.Host, g.Port); ok {
			d.markSlot(slot)
		}
	}
	for _, a := range change.Addresses {
		d.markLogin(a.Login)
	}
	for _, name := range change.Forgotten {
		d.markLogin(name)
	}
}

// row is the file's row of a port.
func (d *Directory) row(slot int) file.Grant {
	host, port := d.slots.place(slot)
	e := d.bySlot[slot]
	if e == nil {
		return file.Grant{Host: host, Port: port}
	}
	return file.Grant{Host: host, Port: port, Login: e.login, Granted: e.granted, Used: e.used,
		Held: e.held(time.Now())}
}

// markSlot notes that a port's row is to be written.
func (d *Directory) markSlot(slot int) {
	if d.file != nil {
		d.dirtySlots[slot] = struct{}{}
	}
}

// markLogin notes that a login's row is to be written. While the file cannot be
// written the marks are bounded; beyond the bound the file misses changes until
// the login is seen again.
func (d *Directory) markLogin(name string) {
	if d.file != nil && len(d.dirtyLogins) < 2*d.opt.MaxLogins {
		d.dirtyLogins[name] = struct{}{}
	}
}
