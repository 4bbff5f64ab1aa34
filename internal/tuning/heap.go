// SPDX-License-Identifier: GPL-3.0-or-later

package tuning

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Percent of what is in use that may pile up as garbage before it is
// collected. Go's 100 lets a process of many idle connections take twice what
// they need. Collecting sooner costs processor time for each octet that is
// allocated, which is little as long as little is.
const (
	quiet = 25
	busy  = 100

	tick    = 3 * time.Second
	many    = 5 // collections within a tick, from which on the process is busy
	restful = 2 // ticks without any, after which it is quiet
)

// lean lets the process use as little memory as it can afford for as long as
// it runs, unless the environment has GOGC. What a busy time has left over is
// given back to the system when it becomes quiet.
func lean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(quiet)
		go watch() // until the process ends
	}
}

func watch() {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	l := level{percent: quiet, cycles: sample[0].Value.Uint64()}
	for range time.Tick(tick) {
		metrics.Read(sample)
		before := l.percent
		switch l.next(sample[0].Value.Uint64()); {
		case l.percent == before:
		case l.percent == busy:
			debug.SetGCPercent(busy)
		default:
			debug.SetGCPercent(quiet)
			runtime.GC() // a sync.Pool lets go in the second collection
			debug.FreeOSMemory()
		}
	}
}

// level decides by how often the collector runs.
type level struct {
	percent int
	cycles  uint64 // collections until now
	rest    int    // ticks without one
}

func (l *level) next(cycles uint64) {
	n := cycles - l.cycles
	l.cycles = cycles
	if n == 0 {
		l.rest++
	} else {
		l.rest = 0
	}
	switch {
	case n >= many:
		l.percent = busy
	case l.rest >= restful:
		l.percent = quiet
	}
}
