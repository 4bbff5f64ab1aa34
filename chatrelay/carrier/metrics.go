// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Dropped counts the connections that were closed, by the code of their last
// error frame; "limited" is for frames that were refused since they came too
// often.
var Dropped = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "chmail_relay_dropped_total", Help: "Connections the relay closed, by the code of its error frame.",
}, []string{"code"})

var (
	portsOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_relay_ports", Help: "Granted UDP ports that are listened on.",
	})
	refusedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_refused_total",
		Help: "Connections to granted ports that were not let in: " +
			"too many of an address prefix, not a request that belongs there.",
	}, []string{"reason"})
	retriesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_retries_total",
		Help: "Connections to granted ports that had to prove their address first (QUIC Retry).",
	})
	panicsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_panics_total", Help: "Panics of one connection that were recovered.",
	})
)
