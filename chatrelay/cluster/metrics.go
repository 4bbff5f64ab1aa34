// SPDX-License-Identifier: GPL-3.0-or-later

package cluster

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	hostsAlive = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_relay_relays",
		Help: "Relay hosts that share the rooms' database and are alive, this one included.",
	})
	lettersDropped = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_bus_dropped_total", Help: "Letters between relay hosts that no queue took.",
	})
)
