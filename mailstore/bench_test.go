// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkDeliver delivers synced messages from as many goroutines as given.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, writers := range []int{1, 10, 50} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, writers), func(b *testing.B) {
				s := openStore(b, b.TempDir(), Options{})
				logins := make([]string, 100)
				for i := range logins {
					logins[i] = fmt.Sprintf("u%d@x", i)
				}
				addAccounts(b, s, logins...)
				body := text("bench", size)
				var n atomic.Int64
				b.SetBytes(int64(size))
				b.SetParallelism(writers)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := put(s, body, logins[n.Add(1)%100]); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
