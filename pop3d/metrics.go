// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_pop3_connections", Help: "POP3 connections open now.",
	})
	metricConnections = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_pop3_connections_total",
		Help: "POP3 connections by result: accepted, limit.",
	}, []string{"result"})
	metricLogins = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_pop3_logins_total",
		Help: "POP3 sign-ins by result: ok, refused, busy, in_use, error.",
	}, []string{"result"})
	metricCommands = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_pop3_commands_total", Help: "POP3 commands by name; unknown ones as UNKNOWN.",
	}, []string{"command"})
	metricMessages = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_messages_sent_total", Help: "Messages sent whole by RETR.",
	})
	metricOctets = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_octets_sent_total", Help: "Octets of messages sent by RETR and TOP.",
	})
	metricDeleted = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_messages_deleted_total", Help: "Messages deleted at QUIT.",
	})
	metricDeleteFailures = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_delete_failures_total", Help: "QUITs whose deletions failed.",
	})
	metricInjected = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_stls_discarded_total",
		Help: "STLS commands with plaintext behind them, which was discarded.",
	})
	metricPresenceFailures = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_pop3_presence_failures_total", Help: "Sign-ins whose address could not be renewed in time.",
	})
)
