// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// spaceEvery is how long a look at the file system's free space holds.
	spaceEvery = 100 * time.Millisecond
	// roomToGoOn is the free octets at which writers that wait for room go on.
	roomToGoOn = 1 << 20
	// smallDisk is the octets of a file system below which smallMemtable is
	// used: Pebble keeps memtables+1 logs of that size.
	smallDisk = 4 << 30
	// spareName is a file that does nothing but take room, so that there is some
	// when the disk is full: for a start, which writes what is in the log into
	// tables, and for deletions.
	spareName = "spare"
	// spareEvery is how often it is seen to that there is a spare file.
	spareEvery = time.Minute
	// openPatience is how long a start waits for room on a full disk.
	openPatience = 5 * time.Second
	// reclaimPause is the least pause between two attempts to give room back.
	reclaimPause = 2 * time.Second
)

// space is the free room of the file system, as last seen.
type space struct {
	sync.Mutex
	seen  time.Time
	free  int64
	taken int64 // since
}

// room returns an error that wraps ErrFull unless size octets more can be
// taken. They count as taken then, if that is said, until the file system is
// looked at again.
func (s *Store) room(size int64, take bool) error {
	if s.o.MinFree < 0 {
		return nil
	}
	p := &s.space
	p.Lock()
	defer p.Unlock()
	if time.Since(p.seen) > spaceEvery {
		usage, err := s.fs.GetDiskUsage(s.dir)
		if errors.Is(err, vfs.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("looking for free space: %w", err)
		}
		p.seen, p.free, p.taken = time.Now(), int64(usage.AvailBytes), 0
	}
	// Pebble writes a body twice: into its log and into a table.
	need := 2*size + 1<<10
	if p.free-p.taken-need < s.o.MinFree {
		select {
		case s.full <- struct{}{}:
		default: // reclaim knows
		}
		return fmt.Errorf("%w: %d octets are free, %d are kept for deletions", ErrFull, p.free, s.o.MinFree)
	}
	if take {
		p.taken += need
	}
	return nil
}

// reclaim gives the file system back what removed messages took, while mail is
// refused for want of room. Pebble does so as new mail comes; none does then.
// It takes a tenth of the time at the most.
func (s *Store) reclaim() {
	spare := time.NewTicker(spareEvery)
	defer spare.Stop()
	s.keepSpare()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-spare.C:
			s.keepSpare()
			continue
		case <-s.full:
		}
		if s.freed.Swap(0) == 0 {
			continue
		}
		start := time.Now()
		err := s.db.Flush()
		if err == nil {
			err = s.db.Compact(s.ctx, []byte{keyChunk}, []byte{keyChunk + 1}, false)
		}
		if err != nil && s.ctx.Err() == nil {
			s.o.Log.Error("mailstore: giving room back", "err", err)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(max(reclaimPause, 9*time.Since(start))):
		}
	}
}

// waitForRoom gives Pebble a file system whose writes wait while the disk is
// full instead of failing: a failed write to its log would end the process.
// room keeps that from happening unless somebody else fills the disk.
func (s *Store) waitForRoom(fs vfs.FS) vfs.FS {
	return vfs.OnDiskFull(fs, func() {
		s.o.Log.Error("mailstore: the disk is full: writers wait until there is room", "err", ErrFull)
		s.useSpare()
		for began := time.Now(); !s.closed.Load() && (s.opened.Load() || time.Since(began) < openPatience); {
			usage, err := s.fs.GetDiskUsage(s.dir)
			if err != nil || usage.AvailBytes >= roomToGoOn {
				break
			}
			time.Sleep(spaceEvery)
		}
	})
}

// spareSize is the octets of the spare file; 0 where the disk may be filled.
func (s *Store) spareSize() int64 {
	if s.o.MinFree < 0 {
		return 0
	}
	return (memtables - 1) * int64(s.memtableSize())
}

// keepSpare makes the spare file if there is none and room for it.
func (s *Store) keepSpare() {
	size := s.spareSize()
	if _, err := s.fs.Stat(s.path(spareName)); err == nil || size == 0 {
		return
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || int64(usage.AvailBytes) < s.o.MinFree+2*size {
		return
	}
	f, err := s.fs.Create(s.path(spareName), vfs.WriteCategoryUnspecified)
	if err != nil {
		s.o.Log.Error("mailstore: keeping some room", "err", err)
		return
	}
	if err := errors.Join(f.Preallocate(0, size), f.Close()); err != nil {
		s.o.Log.Info("mailstore: this disk keeps no room for a start when it is full", "err", err)
	}
}

// useSpare gives up the spare file where there is less room than it has.
func (s *Store) useSpare() {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || int64(usage.AvailBytes) >= s.spareSize() {
		return
	}
	if s.fs.Remove(s.path(spareName)) == nil {
		_ = syncDir(s.fs, s.dir) // some file systems free the room then
		s.o.Log.Error("mailstore: the disk is full: the room that was kept is used", "err", ErrFull)
	}
}

// memtableSize suits the disk.
func (s *Store) memtableSize() uint64 {
	if usage, err := s.fs.GetDiskUsage(s.dir); err == nil && usage.TotalBytes < smallDisk {
		return smallMemtable
	}
	return memtable
}

// isFull says whether an error is that of a full disk.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Quotas bound the octets that logins and domains keep; 0 is no bound.
type Quotas struct {
	Login   int64            // of each login that Logins does not name
	Logins  map[string]int64 // by login
	Domains map[string]int64 // by domain, all its logins together
	// Set is one that was set for a login while the store is open, before those above;
	// may be nil.
	Set func(login string) (octets int64, ok bool)
}

func (q *Quotas) of(login string) int64 {
	if q.Set != nil {
		if n, ok := q.Set(login); ok {
			return n
		}
	}
	if n, ok := q.Logins[login]; ok {
		return n
	}
	return q.Login
}

func domainOf(login string) string { return login[strings.LastIndexByte(login, '@')+1:] }

// fits says whether size octets more may come into a, whose lock is held.
func (s *Store) fits(a *account, size int64) error {
	check := func(quota, used int64) error {
		switch {
		case quota == 0 || used+size <= quota:
			return nil
		case size > quota:
			return fmt.Errorf("%w of %d octets", ErrTooLarge, quota)
		default:
			return fmt.Errorf("%w of %d octets", ErrQuota, quota)
		}
	}
	if err := check(s.o.Quotas.of(a.login), a.octets()); err != nil {
		return err
	}
	if used := s.domains[domainOf(a.login)]; used != nil {
		return check(s.o.Quotas.Domains[domainOf(a.login)], used.Load())
	}
	return nil
}

// grew notes that a login keeps n octets more, or fewer.
func (s *Store) grew(login string, n int64) {
	if used := s.domains[domainOf(login)]; used != nil {
		used.Add(n)
	}
}

// countDomains adds up what the domains with a quota use.
func (s *Store) countDomains() error {
	s.domains = make(map[string]*atomic.Int64, len(s.o.Quotas.Domains))
	for domain := range s.o.Quotas.Domains {
		s.domains[domain] = new(atomic.Int64)
	}
	if len(s.domains) == 0 {
		return nil
	}
	return s.eachAccount(func(login string, id uint64) error {
		used := s.domains[domainOf(login)]
		if used == nil {
			return nil
		}
		boxes, err := s.loadMailboxes(s.db, id)
		for _, box := range boxes {
			used.Add(box.octets)
		}
		return err
	})
}
