// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"errors"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	notificationsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_alerts_total",
		Help: "Notifications of a login's browsers: queued, dropped (too many waited), failed.",
	}, []string{"result"})
	hooksTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_relay_webhooks_total",
		Help: "Calls of webhooks: sent, retried, failed, dropped (too many waited).",
	}, []string{"result"})
	pushesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_push_pushes_total",
		Help: "Pushes to one browser, by kind and outcome (sent, replaced, gone, failed, closed).",
	}, []string{"kind", "outcome"})
	retriesTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_push_retries_total",
		Help: "Tries that failed and were put off.",
	})
)

// hideURL takes the endpoint, which is a secret, out of an error of net/http.
func hideURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
