// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/file"
	"github.com/chmail/chmail/presence/internal/shared"
)

const (
	// journalDelay is how long a change waits for others, to be written with them.
	journalDelay = 50 * time.Millisecond
	// journalRetry is how long after a failure the journal is written again.
	journalRetry = 500 * time.Millisecond
	// journalRows is the most rows of a transaction.
	journalRows = 2000
)

// journal keeps the grants of this process' hosts in a file, so that everybody
// has the same port also when Redis and this process were lost together. A
// goroutine writes the changes, all that wait in one transaction.
type journal struct {
	file    *file.File
	memory  *memory
	log     *slog.Logger
	primary string // name of the last run, empty when there was none

	mu    sync.Mutex
	dirty map[place]struct{} // at most one a port

	wake chan struct{}
	stop chan struct{}
	done chan struct{} // closed when the writer has ended
}

// openJournal reads the file into the memory and begins to write. An error
// names the file.
func openJournal(path string, hosts presence.HostRanges, ttl presence.TTLs, m *memory, log *slog.Logger) (*journal,
	error) {
	f, err := file.Open(path)
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, memory: m, log: log, dirty: make(map[place]struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err = j.load(hosts, ttl); err != nil {
		_ = f.Close()
		return nil, err
	}
	m.changed = j.mark
	go j.write()
	return j, nil
}

func (j *journal) load(hosts presence.HostRanges, ttl presence.TTLs) (err error) {
	if j.primary, err = j.file.Primary(); err != nil {
		return err
	}
	now := time.Now()
	var gone []file.Grant
	err = j.file.Grants(func(g file.Grant) {
		e := remembered{place: place{g.Host, g.Port}, login: g.Login,
			granted: now.Add(-shared.Age(now, g.Granted)), used: now.Add(-shared.Age(now, g.Used))}
		if !hosts.Contains(g.Host, g.Port) || now.Sub(e.used) > ttl.Grant {
			gone = append(gone, file.Grant{Host: g.Host, Port: g.Port})
			return
		}
		if g.Held {
			// Its conversation was cut by the restart and is coming back.
			e.heldUntil = now.Add(ttl.Hold)
		}
		j.memory.load(e)
	})
	if err != nil {
		return err
	}
	return j.file.Write(file.Change{Grants: gone})
}

// setPrimary keeps the primary name for the next run.
func (j *journal) setPrimary(host string) {
	if err := j.file.Write(file.Change{Primary: host}); err != nil {
		j.log.Error("writing the journal of grants", "ok", false, "err", err)
	}
}

// mark notes that a port's row is to be written.
func (j *journal) mark(at place) {
	j.mu.Lock()
	j.dirty[at] = struct{}{}
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default: // it is awake already
	}
}

// write is the writer; it ends with close. After a failure it tries again.
func (j *journal) write() {
	defer close(j.done)
	var retry <-chan time.Time // after a failure
	failing := false
	for stopping := false; !stopping; {
		select {
		case <-retry:
		case <-j.wake:
			select { // for more to come
			case <-time.After(journalDelay):
			case <-j.stop:
				stopping = true
			}
		case <-j.stop:
			stopping = true
		}
		retry = nil
		shared.Guard(j.log, "writing the journal of grants", func() {
			err := j.flush()
			if (err != nil) != failing {
				failing = err != nil
				j.log.Error("writing the journal of grants", "ok", !failing, "err", err)
			}
		})
		if failing {
			retry = time.After(journalRetry)
		}
	}
}

// flush writes everything that waits.
func (j *journal) flush() error {
	j.mu.Lock()
	dirty := j.dirty
	j.dirty = make(map[place]struct{})
	j.mu.Unlock()
	rows := make([]file.Grant, 0, len(dirty))
	for at := range dirty {
		rows = append(rows, j.memory.row(at))
	}
	for page := range slices.Chunk(rows, journalRows) {
		if err := j.file.Write(file.Change{Grants: page}); err != nil {
			j.mu.Lock()
			defer j.mu.Unlock()
			for at := range dirty {
				j.dirty[at] = struct{}{}
			}
			return err
		}
	}
	return nil
}

// close writes the changes that wait and closes the file.
func (j *journal) close() error {
	close(j.stop)
	<-j.done
	return j.file.Close()
}
