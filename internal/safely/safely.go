// SPDX-License-Identifier: GPL-3.0-or-later

// Package safely keeps a panic from ending more than the job in which it
// happened.
package safely

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Panicked is told of each panic by its job. It is set before any job begins, where
// figures are kept.
var Panicked = func(job string) {}

// Recover is deferred by a job: a panic of the job is counted and logged.
func Recover(log *slog.Logger, job string) {
	if p := recover(); p != nil {
		Panicked(job)
		log.Error("panic", "job", job, "reason", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}
