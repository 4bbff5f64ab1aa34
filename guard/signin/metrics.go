// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricSignIns = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_sign_ins_total",
		Help: "Sign-ins, by door and result: accepted; refused; disabled; busy (the password was not looked at);" +
			" failed.",
	}, []string{"door", "result"})
	metricRemembered = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_sign_ins_remembered_total",
		Help: "Sign-ins whose password was known to be right or wrong without another check.",
	})
	metricCheckSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "chmail_password_check_seconds",
		Help:    "Time to check a password, without the wait for a place.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5},
	})
	metricWaiting = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "chmail_password_checks_waiting",
		Help: "Passwords that wait to be checked.",
	})
)

// result is what a sign-in is counted as.
func result(err error) string {
	var busy *BusyError
	var disabled *DisabledError
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, ErrWrong):
		return "refused"
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &disabled):
		return "disabled"
	}
	return "failed"
}
