// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var transcriptsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "chmail_relay_transcripts_total",
	Help: "Transcripts by mail: sent, empty (nothing was said), failed (tried again in ten minutes).",
}, []string{"result"})

var unreadTotal = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "chmail_relay_unread_mails_total",
	Help: "Mails of what was said since somebody left: sent, failed (tried again in ten minutes).",
}, []string{"result"})
