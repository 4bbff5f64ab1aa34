// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"runtime"
	"syscall"
)

// direct opens a file whose reads and writes go past the page cache.
const direct = syscall.O_DIRECT

// inBackground gives the calling goroutine a thread of its own that gives way
// to all others. It lasts as long as the goroutine.
func inBackground() {
	runtime.LockOSThread()
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) // of this thread; an error leaves it as it is
}
