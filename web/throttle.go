// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"golang.org/x/time/rate"

	"github.com/chmail/chmail/guard/limit"
)

// limits are the buckets of requests; beyond them 429 with Retry-After.
type limits struct {
	page     *limit.Buckets // GETs of a client prefix
	post     *limit.Buckets // POSTs of a client prefix, perhaps an office; wrong passwords have limits of their own
	link     *limit.Buckets // POSTs to one link
	register *limit.Buckets // logins that a client prefix tries to make
	search   *limit.Buckets // searches of a login
	write    *limit.Buckets // mails that a login writes at the desk
	try      *limit.Buckets // notifications by which a login sees whether any come
	desk     *limit.Buckets // changes of a login's settings and account, each of which many are told of
}

func newLimits() limits {
	full := func(every rate.Limit, burst int) *limit.Buckets {
		return limit.NewBuckets(limit.Rate{Every: every, Burst: burst}, maxTracked)
	}
	return limits{page: full(100, 2500), post: full(20, 1000), link: full(0.5, 20), desk: full(1, 30),
		search: full(1, 20), write: full(1.0/20, 10), try: full(0.1, 3), register: full(1.0/600, 20)}
}
