// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_imap_connections", Help: "IMAP connections open now.",
	})
	metricConnections = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_imap_connections_total", Help: "IMAP connections by result: accepted, limit.",
	}, []string{"result"})
	metricLogins = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_imap_logins_total", Help: "IMAP sign-ins by result: ok, refused, busy, error.",
	}, []string{"result"})
	metricByes = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_byes_total",
		Help: "IMAP sessions that the server ended: a bound, a timer, a changed password, or its own end.",
	})
	metricInjected = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_starttls_discarded_total",
		Help: "STARTTLS commands with plaintext behind them, which was discarded.",
	})
	metricFetched = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_messages_fetched_total", Help: "Answers to FETCH.",
	})
	metricAppended = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_messages_appended_total", Help: "Messages that APPEND brought.",
	})
	metricPresenceFailures = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_presence_failures_total", Help: "Renewals of an address that failed or came too late.",
	})
	metricPanics = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_imap_panics_total", Help: "Panics recovered in a connection.",
	})
)
