// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// journalEvery is how long a change waits for others, to be written with them.
const journalEvery = 50 * time.Millisecond

// journal keeps the grants of this process' hosts in a file, so that everybody
// has the same port also when Redis and this process were lost together. It is
// written behind, all that waits in one transaction.
type journal struct {
	store  *store
	memory *memory
	log    Logger

	mu    sync.Mutex
	dirty map[place]struct{} // at most one a port

	wake chan struct{}
	stop chan struct{}
	done chan struct{} // closed when the writer has ended
}

// openJournal reads the file into the memory and begins to write. primary is
// the primary name of the last run, if any. An error names the file.
func openJournal(path string, hosts slots, ttl TTLs, m *memory, log Logger) (j *journal, primary string, err error) {
	s, err := openStore(path)
	if err != nil {
		return nil, "", fmt.Errorf("opening %s: %w", path, err)
	}
	j = &journal{store: s, memory: m, log: log, dirty: make(map[place]struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if primary, err = j.load(hosts, ttl); err != nil {
		_ = s.Close()
		return nil, "", fmt.Errorf("reading %s: %w", path, err)
	}
	m.changed = j.mark
	go j.write()
	return j, primary, nil
}

func (j *journal) load(hosts slots, ttl TTLs) (primary string, err error) {
	if primary, err = j.store.primary(); err != nil {
		return "", err
	}
	now := time.Now()
	var gone []grantRow
	err = readGrants(j.store, func(g grantRow) {
		e := remembered{place: place{g.host, g.port}, login: g.login,
			granted: now.Add(-age(now, time.UnixMilli(g.granted))), used: now.Add(-age(now, time.UnixMilli(g.used)))}
		if _, ok := hosts.of(g.host, g.port); !ok || now.Sub(e.used) > ttl.Grant {
			gone = append(gone, grantRow{host: g.host, port: g.port})
			return
		}
		if g.held > 0 {
			// Its conversation was cut by the restart and is coming back.
			e.heldUntil = now.Add(ttl.Hold)
		}
		j.memory.load(e)
	})
	if err != nil || len(gone) == 0 {
		return primary, err
	}
	return primary, j.store.write(change{grants: gone})
}

// setPrimary keeps the primary name for the next run.
func (j *journal) setPrimary(host string) {
	if _, err := j.store.Exec(`REPLACE INTO settings VALUES ('host', ?)`, host); err != nil {
		j.log("writing the journal of grants", "ok", false, "error", err)
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

// write is the writer; it ends with close. What could not be written is tried
// again.
func (j *journal) write() {
	defer close(j.done)
	failing := false
	for stopping := false; ; {
		select {
		case <-j.wake:
			select { // for more to come
			case <-time.After(journalEvery):
			case <-j.stop:
				stopping = true
			}
		case <-j.stop:
			stopping = true
		}
		err := j.flush()
		if (err != nil) != failing {
			failing = err != nil
			j.log("writing the journal of grants", "ok", !failing, "error", err)
		}
		if stopping {
			return
		}
		if failing {
			select {
			case <-time.After(flushEvery):
			case <-j.stop:
				return
			}
			j.mark(place{}) // wakes; a place that is no port
		}
	}
}

// flush writes everything that waits.
func (j *journal) flush() error {
	j.mu.Lock()
	dirty := j.dirty
	j.dirty = make(map[place]struct{})
	j.mu.Unlock()
	delete(dirty, place{})
	rows := make([]grantRow, 0, len(dirty))
	for at := range dirty {
		rows = append(rows, j.memory.row(at))
	}
	for page := range slices.Chunk(rows, flushRows) {
		if err := j.store.write(change{grants: page}); err != nil {
			for _, g := range rows {
				j.mark(place{g.host, g.port})
			}
			return err
		}
	}
	return nil
}

// close writes what waits and closes the file.
func (j *journal) close() error {
	close(j.stop)
	<-j.done
	return j.store.Close()
}
