// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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
	busTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_bus_messages_total",
		Help: "Messages between relay hosts, by what became of them (sent, received, dropped).",
	}, []string{"outcome"})
	seconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "chmail_presence_seconds",
		Help:    "Time a call took, by store and operation.",
		Buckets: []float64{.00001, .0001, .0005, .001, .002, .005, .01, .02, .05, .1, 1},
	}, []string{"store", "op"})
)

// meter is the counters of one store, looked up once.
type meter struct {
	granted, renewed, takeovers, blocked, unavailable prometheus.Counter
	ops                                               map[string]prometheus.Observer
}

func newMeter(store string) *meter {
	m := &meter{
		granted:     grantsTotal.WithLabelValues(store, "new"),
		renewed:     grantsTotal.WithLabelValues(store, "renewed"),
		takeovers:   takeoversTotal.WithLabelValues(store),
		blocked:     blockedTotal.WithLabelValues(store),
		unavailable: unavailableTotal.WithLabelValues(store),
		ops:         make(map[string]prometheus.Observer),
	}
	for _, op := range []string{"renew", "lookup", "addresses", "connect", "disconnect", "devices",
		"grant", "grant_of", "resolve", "hold", "release", "block", "grants",
		"all_devices", "hosts", "leave", "publish"} {
		m.ops[op] = seconds.WithLabelValues(store, op)
	}
	return m
}

// done records one call; it is deferred with the time the call began.
func (m *meter) done(op string, began time.Time, err *error) {
	m.ops[op].Observe(time.Since(began).Seconds())
	if errors.Is(*err, ErrUnavailable) {
		m.unavailable.Inc()
	}
}
