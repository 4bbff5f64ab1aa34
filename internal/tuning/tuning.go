// SPDX-License-Identifier: GPL-3.0-or-later

// Package tuning fits Go's runtime to a server of many idle connections that
// writes to disk, synced, nearly all the time.
package tuning

import (
	"os"
	"runtime"
)

// Server is for the beginning of main. The environment's GOGC and GOMAXPROCS
// are left as they are.
func Server() {
	lean()
	spare()
}

// spare lets one more goroutine run than there are processors. One is nearly
// always in a synced write: Go's scheduler would take its place away while it
// waits for the disk, at the cost of waking threads, and what was written would
// be told only when a place is free again. Of a limit that changes later (of a
// container) Go takes no notice then.
func spare() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
