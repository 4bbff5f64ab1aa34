// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	appendsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_rooms_appends_total",
		Help: "Messages given to be stored, by result (stored, repeated, refused, failed).",
	}, []string{"result"})
	appendsStored   = appendsTotal.WithLabelValues("stored")
	appendsRepeated = appendsTotal.WithLabelValues("repeated")
	appendsRefused  = appendsTotal.WithLabelValues("refused")
	appendsFailed   = appendsTotal.WithLabelValues("failed")

	batchSize = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "chmail_rooms_batch_size",
		Help:    "Writes that shared one commit.",
		Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
	})
	commitSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "chmail_rooms_commit_seconds",
		Help:    "Time from the begin of a batch to the end of its commit.",
		Buckets: []float64{.0001, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
	})
)
