// SPDX-License-Identifier: GPL-3.0-or-later

package shared

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/chmail/chmail/presence"
)

var (
	grantsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_grants_total",
		Help: "Ports granted, by store (local, redis) and kind (new, renewed).",
	}, []string{"store", "kind"})
	takeoversTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_takeovers_total",
		Help: "Grants taken over from the login idle for longest because the range was full.",
	}, []string{"store"})
	blockedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_blocked_total",
		Help: "Ports taken out of the range because their socket could not be had.",
	}, []string{"store"})
	unavailableTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_unavailable_total",
		Help: "Calls that failed because the database did not answer.",
	}, []string{"store"})
	seconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "chmail_presence_seconds",
		Help:    "Time a call took, by store and operation.",
		Buckets: []float64{.00001, .0001, .0005, .001, .002, .005, .01, .02, .05, .1, 1},
	}, []string{"store", "op"})
)

// Meter is the counters of one implementation, looked up once.
type Meter struct {
	Granted, Renewed, Takeovers, Blocked, unavailable prometheus.Counter

	ops map[string]prometheus.Observer
	log *slog.Logger
}

// NewMeter has the counters of an implementation, "local" or "redis".
func NewMeter(store string, log *slog.Logger) *Meter {
	m := &Meter{
		Granted:     grantsTotal.WithLabelValues(store, "new"),
		Renewed:     grantsTotal.WithLabelValues(store, "renewed"),
		Takeovers:   takeoversTotal.WithLabelValues(store),
		Blocked:     blockedTotal.WithLabelValues(store),
		unavailable: unavailableTotal.WithLabelValues(store),
		ops:         make(map[string]prometheus.Observer),
		log:         log,
	}
	for _, op := range []string{"renew", "lookup", "addresses", "connect", "disconnect", "devices",
		"grant", "grant_of", "resolve", "hold", "release", "block", "grants",
		"all_devices", "hosts", "leave", "publish", "rules"} {
		m.ops[op] = seconds.WithLabelValues(store, op)
	}
	return m
}

// Done records one call; it is deferred, itself, with the time the call began.
// A panic of the call becomes its error: the goroutine that serves a mail or a
// chat does not take the process along.
func (m *Meter) Done(op string, began time.Time, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: %w: %w", op, presence.ErrUnavailable, errPanic)
		logPanic(m.log, op, p)
	}
	m.ops[op].Observe(time.Since(began).Seconds())
	if errors.Is(*err, presence.ErrUnavailable) {
		m.unavailable.Inc()
	}
}

// Guard runs a part of a goroutine that lives on. A panic is logged and ends
// that part alone; Guard says whether there was none.
func Guard(log *slog.Logger, what string, f func()) (ended bool) {
	defer func() {
		if p := recover(); p != nil {
			logPanic(log, what, p)
		}
	}()
	f()
	return true
}

func logPanic(log *slog.Logger, what string, p any) {
	log.Error("a bug of this program: please report it", "doing", what, "err", p, "stack", string(debug.Stack()))
}
