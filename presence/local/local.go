// SPDX-License-Identifier: GPL-3.0-or-later

// Package local keeps the presence of one machine in its process.
//
// Everything is answered from memory. A new grant is committed to an SQLite
// file before Grant returns, so that a restart of any kind gives everyone the
// same port. Renewals of grants and newest addresses follow within half a
// second. Devices are connections of this process and die with it.
//
// Lifetimes are measured on the monotonic clock: setting the machine's clock
// ends no lease and frees no port.
package local

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/file"
	"github.com/chmail/chmail/presence/internal/shared"
)

// DefaultMaxLogins bounds the first database; about 500 bytes a login.
const DefaultMaxLogins = 1_000_000

// Options configures Open.
type Options struct {
	Path      string                            // SQLite file; empty keeps everything in memory only
	ReadOnly  bool                              // reads what the file has; grants and writes nothing
	Ranges    presence.HostRanges               // ports granted; the first host is the primary one
	ID        string                            // of this process, for Hosts; may be empty
	Probe     func(host string, port int) error // called before a port is newly granted; may be nil
	MaxLogins int                               // kept, the newest; zero means DefaultMaxLogins
	TTL       presence.TTLs
	Log       *slog.Logger // nil discards
}

// Directory is the presence of one machine.
type Directory struct {
	opt     Options
	meter   *shared.Meter
	file    *file.File // nil without a file, and after it was read
	slots   slots
	started time.Time

	mu     sync.Mutex
	closed bool

	// The first database.
	logins map[string]*login
	seen   *list.List // of *login with the oldest sighting in front
	beats  *list.List // of *device with the oldest heartbeat in front

	// The second database.
	left    bool // it grants nothing more
	byLogin map[string]*grant
	bySlot  []*grant          // every port, range after range
	idle    *list.List        // of *grant with the one idle for longest in front
	blocked map[int]time.Time // slot → until

	// Changes that are to be written to the file.
	urgent      []*grant // their callers wait for the commit
	dirtySlots  map[int]struct{}
	dirtyLogins map[string]struct{}

	wake chan struct{} // wakes the writer, when something is urgent
	stop chan struct{}
	done chan struct{} // closed when the writer has ended
}

var _ presence.Directory = (*Directory)(nil)

// Open opens the directory of one machine, reading back the grants and
// addresses of its file. An error names the file or option that is wrong.
func Open(opt Options) (*Directory, error) {
	ranges, err := opt.Ranges.Check()
	if err == nil && len(ranges) == 0 {
		err = errors.New("no host and range of ports")
	}
	if err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	opt.MaxLogins = cmp.Or(opt.MaxLogins, DefaultMaxLogins)
	opt.Log = cmp.Or(opt.Log, slog.New(slog.DiscardHandler))
	if opt.Probe == nil {
		opt.Probe = func(string, int) error { return nil }
	}
	opt.TTL = opt.TTL.WithDefaults()
	d := &Directory{
		opt:         opt,
		meter:       shared.NewMeter("local", opt.Log),
		slots:       slots(ranges),
		started:     time.Now(),
		logins:      make(map[string]*login),
		seen:        list.New(),
		beats:       list.New(),
		left:        opt.ReadOnly,
		byLogin:     make(map[string]*grant),
		bySlot:      make([]*grant, slots(ranges).len()),
		idle:        list.New(),
		blocked:     make(map[int]time.Time),
		dirtySlots:  make(map[int]struct{}),
		dirtyLogins: make(map[string]struct{}),
		wake:        make(chan struct{}, 1),
		stop:        make(chan struct{}),
		done:        make(chan struct{}),
	}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	go d.write()
	return d, nil
}

// RelayHost implements presence.Hosts.
func (d *Directory) RelayHost() string { return d.slots[0].Host }

// Hosts implements presence.Hosts: those of this process, unless it is leaving.
func (d *Directory) Hosts(ctx context.Context) (hs []presence.Host, err error) {
	defer d.meter.Done("hosts", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if d.left {
		return nil, nil
	}
	now := time.Now()
	for _, r := range d.slots {
		hs = append(hs, presence.Host{Name: r.Host, ID: d.opt.ID, Ports: r.Range.String(), Started: d.started,
			Heartbeat: now})
	}
	shared.SortHosts(hs)
	return hs, nil
}

// Leave implements presence.Hosts.
func (d *Directory) Leave(ctx context.Context) (err error) {
	defer d.meter.Done("leave", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	d.left = true
	return nil
}

// Close writes the changes that wait and closes the file.
func (d *Directory) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	close(d.stop)
	<-d.done
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

// lock locks for one operation, unless the context or the directory is at its end.
func (d *Directory) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return fmt.Errorf("%w: closed", presence.ErrUnavailable)
	}
	return nil
}
