// SPDX-License-Identifier: GPL-3.0-or-later

// Package tuning fits Go's garbage collector to a server of many idle
// connections.
//
// Go lets a process grow to twice of what it needs before it collects. After
// some mail that is 78 MB instead of 62, and with 5,000 idle chats 25 MB more
// over WebSocket and some 100 MB more over QUIC (measured beside GOGC=100 in the
// environment; bench/relay.sh idle). Collecting sooner costs processor time for
// each octet that is allocated, so a busy server collects as seldom as Go does.
package tuning

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Percent of the memory in use that may pile up as garbage.
	quiet = 25
	busy  = 100

	tick    = 3 * time.Second
	many    = 5 // collections in one tick that make the process busy
	restful = 2 // ticks without a collection that make it quiet again
)

// Server is for the beginning of main. It does nothing where the environment
// has GOGC.
func Server() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(quiet)
		go watch() // until the process ends
	}
}

// watch changes between quiet and busy. It gives the memory of a busy time back
// to the system afterwards.
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
