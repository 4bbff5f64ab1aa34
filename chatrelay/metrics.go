// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/internal/safely"
)

var (
	connections = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chmail_relay_connections", Help: "Connections now, by carrier and kind (room, device).",
	}, []string{"carrier", "kind"})
	roomsLive = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_relay_rooms", Help: "Rooms with somebody in them, ringing, or raising an alarm.",
	})
	messagesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_messages_total", Help: "Messages committed.",
	})
	attemptsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_attempts_total", Help: "Attempts by the states they reached.",
	}, []string{"state"})
	alarmsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_alarms_total", Help: "Alarm mails: sent, collapsed into an earlier one, failed.",
	}, []string{"result"})
	movedTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_moved_total", Help: "Connections sent to another relay, where their room is.",
	})
	filesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_files_total", Help: "Files and pictures that were said in rooms.",
	})
	repliesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_replies_total",
		Help: "Answers by mail: said in a room, automatic (dropped), refused, failed.",
	}, []string{"result"})
)

// The carriers and the jobs run in the program on a person's computer too, which keeps no figures.
var (
	panicsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_panics_total", Help: "Panics that ended one job and nothing else, by the kind of job.",
	}, []string{"job"})
	droppedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_dropped_total",
		Help: "Connections the relay closed, by the code of its error frame; " +
			"\"limited\" is for frames that were refused since they came too often.",
	}, []string{"code"})
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
)

func init() {
	safely.Panicked = func(job string) { panicsTotal.WithLabelValues(job).Inc() }
	carrier.Counted = counters{}
}

// counters are those of the carriers: carrier.Counters.
type counters struct{}

func (counters) Dropped(code string)   { droppedTotal.WithLabelValues(code).Inc() }
func (counters) Refused(reason string) { refusedTotal.WithLabelValues(reason).Inc() }
func (counters) Retried()              { retriesTotal.Inc() }
func (counters) Listens(more int)      { portsOpen.Add(float64(more)) }
