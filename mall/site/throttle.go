// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"golang.org/x/time/rate"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/mall"
)

const maxTracked = 16384 // prefixes or logins in one table; the least recent is forgotten

// limits are the buckets of requests; beyond them 429 with Retry-After.
type limits struct {
	page, post *limit.Buckets // of a client prefix, perhaps an office
	ask        *limit.Buckets // questions of a member
	register   *limit.Buckets // registrations of a client prefix
	wrong      *limit.Buckets // wrong sign-ins of a prefix, and of a login; package signin refuses them
}

func newLimits() limits {
	of := func(every rate.Limit, burst int) *limit.Buckets {
		return limit.NewBuckets(limit.Rate{Every: every, Burst: burst}, maxTracked)
	}
	return limits{page: of(100, 2500), post: of(10, 500), ask: of(1.0/30, 20), register: of(1.0/60, 10),
		wrong: of(1.0/30, 10)}
}

// keys seal what goes through the browser, each for one purpose.
type keys struct{ kept, work seal.Key }

func newKeys(m *mall.Mall) (k keys, err error) {
	if k.kept, err = m.Key("kept form"); err == nil {
		k.work, err = m.Key("work")
	}
	return k, err
}
