// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/chmail/chmail/presence"
)

// BenchCallers is how many call at once.
const BenchCallers = 32

// Benchmark measures calls; peer, if there is one, is how many requests
// a second, of one round trip each, something else reaches with as many callers;
// it is measured before and after.
func Benchmark(b *testing.B, d presence.Directory, peer func() float64) {
	ctx := b.Context()
	for i := range 1000 {
		login := fmt.Sprint("u", i)
		OK(b, d.Renew(ctx, presence.Address{Login: login, IP: IP("192.0.2.1"), Source: presence.Submission}))
		MustGrant(b, d, login)
	}
	each := func(name string, trips int, f func(i int64) error) {
		b.Run(name, func(b *testing.B) {
			before := peer()
			b.ResetTimer()
			var n atomic.Int64
			b.SetParallelism(max(1, BenchCallers/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f(n.Add(1)); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "calls/s")
			if after := peer(); after > 0 {
				b.ReportMetric(rate*float64(trips)*2/(before+after), "of-redis-benchmark")
			}
		})
	}
	each("Lookup", 1, func(i int64) error {
		_, err := d.Lookup(ctx, fmt.Sprint("u", i%1000))
		return err
	})
	each("Renew", 1, func(i int64) error {
		return d.Renew(ctx, presence.Address{Login: fmt.Sprint("u", i%1000), IP: IP("192.0.2.1"),
			Source: presence.POP3})
	})
	each("Resolve", 1, func(i int64) error {
		_, err := d.Resolve(ctx, TestHost, presence.DefaultRange.Lo+int(i%10000))
		if errors.Is(err, presence.ErrUnknown) {
			err = nil
		}
		return err
	})
	each("GrantRenewed", 1, func(i int64) error {
		_, err := d.Grant(ctx, fmt.Sprint("u", i%1000))
		return err
	})
	var made atomic.Int64
	each("GrantNew", 2, func(int64) error { // presence.local takes over when the range is full
		_, err := d.Grant(ctx, fmt.Sprint("new", made.Add(1)))
		return err
	})
}
