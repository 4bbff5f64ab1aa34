// SPDX-License-Identifier: GPL-3.0-or-later

// Package safely keeps a panic from ending more than the job in which it
// happened.
package safely

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var panicsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "chmail_panics_total", Help: "Panics that ended one job and nothing else, by the kind of job.",
}, []string{"job"})

// Recover is deferred by a job: a panic of the job is counted and logged.
func Recover(log *slog.Logger, job string) {
	if p := recover(); p != nil {
		panicsTotal.WithLabelValues(job).Inc()
		log.Error("panic", "job", job, "reason", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}
