// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func benchmarkDirectory(b *testing.B, d Directory) {
	ctx := b.Context()
	for i := range 1000 {
		login := fmt.Sprint("u", i)
		ok(b, d.Renew(ctx, Address{Login: login, IP: ip("192.0.2.1"), Source: Submission}))
		mustGrant(b, d, login)
	}
	each := func(name string, f func(i int64) error) {
		b.Run(name, func(b *testing.B) {
			var n atomic.Int64
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f(n.Add(1)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	each("Lookup", func(i int64) error {
		_, err := d.Lookup(ctx, fmt.Sprint("u", i%1000))
		return err
	})
	each("Renew", func(i int64) error {
		return d.Renew(ctx, Address{Login: fmt.Sprint("u", i%1000), IP: ip("192.0.2.1"), Source: POP3})
	})
	each("GrantRenewed", func(i int64) error {
		_, err := d.Grant(ctx, fmt.Sprint("u", i%1000))
		return err
	})
	var made atomic.Int64
	each("GrantNew", func(int64) error { // takes over when the range is full
		_, err := d.Grant(ctx, fmt.Sprint("new", made.Add(1)))
		return err
	})
}

func BenchmarkLocal(b *testing.B) {
	benchmarkDirectory(b, openLocal(b, LocalOptions{Path: filepath.Join(b.TempDir(), "presence.db")}))
}

func BenchmarkRedis(b *testing.B) {
	benchmarkDirectory(b, openRedis(b, RedisOptions{URL: startRedis(b).url(), Host: testHost, Timeout: 10 * time.Second}))
}
