// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricDelivered = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mailstore_delivered_total", Help: "Messages put into mailboxes and synced.",
	})
	metricDeliveredOctets = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mailstore_delivered_bytes_total", Help: "Octets of bodies put into mailboxes.",
	})
	metricCommit = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "chmail_mailstore_commit_seconds", Help: "Time from a body that is ready to its synced delivery.",
		Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5},
	})
	metricRemoved = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mailstore_removed_total", Help: "Messages removed from mailboxes.",
	})
	metricExpired = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mailstore_expired_total", Help: "Messages removed because of their age.",
	})
	metricOrphans = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mailstore_orphans_total", Help: "Files of bodies that no message had, removed at a start.",
	})
)
