// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	connections = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chmail_relay_connections", Help: "Connections now, by carrier and kind (room, device).",
	}, []string{"carrier", "kind"})
	roomsLive = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_relay_rooms", Help: "Rooms with somebody in them, ringing, or raising an alarm.",
	})
	portsOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_relay_ports", Help: "Granted UDP ports that are listened on.",
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
	alertsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_alerts_total", Help: "Notifications of a login's browsers: queued, dropped (too many waited), failed.",
	}, []string{"result"})
	hooksTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_webhooks_total", Help: "Calls of webhooks: sent, retried, failed, dropped (too many waited).",
	}, []string{"result"})
	droppedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_dropped_total", Help: "Connections the relay closed, by the code of its error frame.",
	}, []string{"code"})
	movedTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_moved_total", Help: "Connections sent to another relay, where their room is.",
	})
	refusedTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_refused_total", Help: "Connections to granted ports that were not let in: too many of an address prefix, not a request that belongs there.",
	}, []string{"reason"})
	retriesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_retries_total", Help: "Connections to granted ports that had to prove their address first (QUIC Retry).",
	})
	filesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_files_total", Help: "Files and pictures that were said in rooms.",
	})
	transcriptsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_transcripts_total", Help: "Transcripts by mail: sent, empty (nothing was said), failed (tried again in ten minutes).",
	}, []string{"result"})
	repliesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_replies_total", Help: "Answers by mail: said in a room, automatic (dropped), refused, failed.",
	}, []string{"result"})
	panicsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_relay_panics_total", Help: "Panics of one connection that were recovered.",
	})
)
