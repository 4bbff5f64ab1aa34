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
