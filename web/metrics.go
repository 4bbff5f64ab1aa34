// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	requestsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_web_requests_total",
		Help: "Requests answered, by route and status code.",
	}, []string{"route", "code"})
	requestSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "chmail_web_request_seconds",
		Help:    "Time to answer a request, by route; WebSockets are not in it.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route"})
	panicsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_web_panics_total",
		Help: "Requests that ended in a panic, which was recovered.",
	})
	mishapsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_web_script_errors_total",
		Help: "Pages whose script made a mistake, by page.",
	}, []string{"page"})
	socketsOpen = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chmail_web_sockets",
		Help: "WebSockets open now, by kind (room, device).",
	}, []string{"kind"})
	connsOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_web_connections",
		Help: "TCP connections open now, WebSockets among them.",
	})
	connsRefused = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_web_connections_refused_total",
		Help: "TCP connections closed at once because of a bound.",
	})
)
