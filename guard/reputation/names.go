// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var levelNames = [...]string{"fine", "slow", "work", "refused", "banned"}

func (l Level) String() string { return levelNames[l] }

// MarshalText writes a level in listings.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

var (
	counted = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_guard_faults_total", Help: "What clients did wrong, by kind.",
	}, []string{"fault"})
	reached = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_guard_levels_total", Help: "Addresses that came to a level at which they are met worse.",
	}, []string{"level"})
)
