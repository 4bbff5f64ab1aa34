// SPDX-License-Identifier: GPL-3.0-or-later

//go:build !windows

package carrier

import "syscall"

// mayTry: a socket is written to without waiting.
const mayTry = true

func tryWrite(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
