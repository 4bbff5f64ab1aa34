// SPDX-License-Identifier: GPL-3.0-or-later

package store

import "syscall"

// direct opens a file whose reads and writes go past the page cache.
const direct = syscall.O_DIRECT
