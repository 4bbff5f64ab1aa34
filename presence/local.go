// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// flushEvery bounds how far the file lags behind memory in what is written
	// behind: addresses, devices and renewals.
	flushEvery = 500 * time.Millisecond
	// flushRows is the most rows of a transaction that is written behind, so
	// that a new grant waits for little.
	flushRows = 2000
	// maxMarks bounds the logins, and the devices, that wait to be written; beyond
	// it the file misses changes, memory does not.
	maxMarks = 2_000_000
	// defaultMaxLogins bounds the first database; about 500 bytes a login.
	defaultMaxLogins = 1_000_000
)

// LocalOptions configures OpenLocal.
type LocalOptions struct {
	Path      string                            // SQLite file; empty keeps everything in memory only
	Ranges    []HostRange                       // ports granted; the first host is the primary one
	ID        string                            // of this process, for Hosts; may be empty
	Probe     func(host string, port int) error // called before a port is newly granted; may be nil
	MaxLogins int                               // logins kept; the oldest address is dropped; zero means 1,000,000
	TTL       TTLs
	Log       Logger // may be nil
}

// Local is the Directory of one machine. Everything is answered from memory.
// A new grant is committed to the file before Grant returns, so that a restart
// of any kind gives everyone the same port; the rest is written behind by at
// most a second for others to read with ReadLocal.
//
// Lifetimes are measured on the monotonic clock: setting the machine's clock
// ends no lease and frees no port.
type Local struct {
	opt   LocalOptions
	meter *meter
	store *store // nil without a file

	slots   slots
	started time.Time
	beat    time.Time // last heartbeat written to the file

	mu     sync.Mutex
	closed bool
	logins map[string]*login
	seen   *list.List // of *login with the oldest sighting in front
	beats  *list.List // of *device with the oldest heartbeat in front

	left    bool // it grants nothing more
	byLogin map[string]*grant
	bySlot  []*grant          // every port, range after range
	idle    *list.List        // of *grant with the one idle for longest in front
	blocked map[int]time.Time // slot → until

	urgent       []*grant // waiting for the commit
	dirtySlots   map[int]struct{}
	dirtyLogins  map[string]struct{}
	dirtyDevices map[deviceKey]struct{}

	wake chan struct{}
	stop chan struct{}
	done chan struct{} // closed when the writer has ended
}

type login struct {
	addr    Address
	elem    *list.Element
	devices map[string]*device
}

type device struct {
	Device
	elem *list.Element
}

type deviceKey struct{ login, id string }

var _ Directory = (*Local)(nil)

// OpenLocal opens the directory of one machine, reading back the grants and
// addresses of its file. An error names the file or option that is wrong.
func OpenLocal(opt LocalOptions) (*Local, error) {
	ranges, err := checkRanges(opt.Ranges)
	if err == nil && len(ranges) == 0 {
		err = errors.New("no host and range of ports")
	}
	if err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	if opt.MaxLogins <= 0 {
		opt.MaxLogins = defaultMaxLogins
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	if opt.Probe == nil {
		opt.Probe = func(string, int) error { return nil }
	}
	opt.TTL = opt.TTL.withDefaults()
	l := &Local{
		opt:          opt,
		meter:        newMeter("local"),
		slots:        ranges,
		started:      time.Now(),
		logins:       make(map[string]*login),
		seen:         list.New(),
		beats:        list.New(),
		byLogin:      make(map[string]*grant),
		bySlot:       make([]*grant, slots(ranges).len()),
		idle:         list.New(),
		blocked:      make(map[int]time.Time),
		dirtySlots:   make(map[int]struct{}),
		dirtyLogins:  make(map[string]struct{}),
		dirtyDevices: make(map[deviceKey]struct{}),
		wake:         make(chan struct{}, 1),
		stop:         make(chan struct{}),
		done:         make(chan struct{}),
	}
	if opt.Path != "" {
		s, err := openStore(opt.Path)
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", opt.Path, err)
		}
		l.store = s
		if err := l.load(); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("reading %s: %w", opt.Path, err)
		}
	}
	go l.write()
	return l, nil
}

// RelayHost implements Directory.
func (l *Local) RelayHost() string { return l.slots[0].Host }

// Hosts implements Directory.
func (l *Local) Hosts(ctx context.Context) (hs []Host, err error) {
	defer l.meter.done("hosts", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	return l.hosts(time.Now()), nil
}

// hosts are this process', unless it is leaving.
func (l *Local) hosts(now time.Time) (hs []Host) {
	if l.left {
		return nil
	}
	for _, r := range l.slots {
		hs = append(hs, Host{Name: r.Host, ID: l.opt.ID, Ports: r.Range.String(), Started: l.started, Heartbeat: now})
	}
	slices.SortFunc(hs, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hs
}

// Leave implements Directory.
func (l *Local) Leave(ctx context.Context) (err error) {
	defer l.meter.done("leave", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	l.left = true
	return nil
}

// Close writes what is still to be written and closes the file.
func (l *Local) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	if l.store == nil {
		return nil
	}
	if err := l.store.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", l.opt.Path, err)
	}
	return nil
}

// lock locks for one operation, unless the context or the directory is at its end.
func (l *Local) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	return nil
}

// Renew implements Directory.
func (l *Local) Renew(ctx context.Context, a Address) (err error) {
	defer l.meter.done("renew", time.Now(), &err)
	if err := checkLogin(a.Login); err != nil {
		return err
	}
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	l.renew(a, time.Now())
	return nil
}

// renew keeps a newest address and returns its login, nil when it is too old to keep.
func (l *Local) renew(a Address, now time.Time) *login {
	a.Host = cut(a.Host)
	a.Seen = now.Add(-age(now, a.Seen))
	u := l.logins[a.Login]
	switch {
	case now.Sub(a.Seen) > l.opt.TTL.Address:
		return u
	case u == nil:
		u = &login{addr: a}
		l.logins[a.Login] = u
		u.elem = l.seen.PushBack(u)
	case u.addr.Seen.After(a.Seen):
		return u
	default:
		u.addr = a
		l.seen.MoveToBack(u.elem)
	}
	// Sightings arrive in order, or nearly: this looks at a neighbour or two.
	for e := u.elem.Prev(); e != nil && e.Value.(*login).addr.Seen.After(a.Seen); e = u.elem.Prev() {
		l.seen.MoveBefore(u.elem, e)
	}
	l.markLogin(a.Login)
	if len(l.logins) > l.opt.MaxLogins {
		l.forget(l.seen.Front().Value.(*login))
	}
	return u
}

// forget drops a login's address and devices.
func (l *Local) forget(u *login) {
	for _, d := range u.devices {
		l.disconnect(u, d)
	}
	l.seen.Remove(u.elem)
	delete(l.logins, u.addr.Login)
	l.markLogin(u.addr.Login)
}

// Lookup implements Directory.
func (l *Local) Lookup(ctx context.Context, login string) (a Address, err error) {
	defer l.meter.done("lookup", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return Address{}, err
	}
	defer l.mu.Unlock()
	u := l.logins[login]
	if u == nil || time.Since(u.addr.Seen) > l.opt.TTL.Address {
		return Address{}, fmt.Errorf("looking up %s: %w", login, ErrUnknown)
	}
	return u.addr, nil
}

// Addresses implements Directory.
func (l *Local) Addresses(ctx context.Context, limit int) (as []Address, err error) {
	defer l.meter.done("addresses", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	now := time.Now()
	for e := l.seen.Back(); e != nil && len(as) < limit; e = e.Prev() {
		a := e.Value.(*login).addr
		if now.Sub(a.Seen) > l.opt.TTL.Address {
			break
		}
		as = append(as, a)
	}
	return as, nil
}

// sweep forgets what has expired; both lists have the oldest in front.
func (l *Local) sweep(now time.Time) {
	for e := l.beats.Front(); e != nil; e = l.beats.Front() {
		d := e.Value.(*device)
		if now.Sub(d.Heartbeat) <= l.opt.TTL.Device {
			break
		}
		l.disconnect(l.logins[d.Login], d)
	}
	for e := l.seen.Front(); e != nil; e = l.seen.Front() {
		u := e.Value.(*login)
		if now.Sub(u.addr.Seen) <= l.opt.TTL.Address {
			break
		}
		l.forget(u)
	}
}
