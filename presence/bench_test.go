// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// benchCallers is how many call at once.
const benchCallers = 32

// benchmarkDirectory measures calls; peer, if there is one, is how many requests
// a second, of one round trip each, something else reaches with as many callers;
// it is measured before and after.
func benchmarkDirectory(b *testing.B, d Directory, peer func() float64) {
	ctx := b.Context()
	for i := range 1000 {
		login := fmt.Sprint("u", i)
		ok(b, d.Renew(ctx, Address{Login: login, IP: ip("192.0.2.1"), Source: Submission}))
		mustGrant(b, d, login)
	}
	each := func(name string, trips int, f func(i int64) error) {
		b.Run(name, func(b *testing.B) {
			before := peer()
			b.ResetTimer()
			var n atomic.Int64
			b.SetParallelism(max(1, benchCallers/runtime.GOMAXPROCS(0)))
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
		return d.Renew(ctx, Address{Login: fmt.Sprint("u", i%1000), IP: ip("192.0.2.1"), Source: POP3})
	})
	each("Resolve", 1, func(i int64) error {
		_, err := d.Resolve(ctx, testHost, DefaultRange.Lo+int(i%10000))
		if errors.Is(err, ErrUnknown) {
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

// redisBenchmark is how many GETs a second redis-benchmark reaches on a server,
// one to a round trip.
func redisBenchmark(b *testing.B, s *redisServer) float64 {
	b.Helper()
	out := must[[]byte](b)(exec.Command(testpart.Need(b, "redis-benchmark"), "-p", fmt.Sprint(s.port), "-c", fmt.Sprint(benchCallers),
		"-n", "20000", "-r", "1000", "--csv", "-t", "get").Output())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	_, rest, _ := strings.Cut(lines[len(lines)-1], `,"`)
	number, _, _ := strings.Cut(rest, `"`)
	return must[float64](b)(strconv.ParseFloat(number, 64))
}

func BenchmarkLocal(b *testing.B) {
	benchmarkDirectory(b, openLocal(b, LocalOptions{Path: filepath.Join(b.TempDir(), "presence.db")}), func() float64 { return 0 })
}

// The metric of-redis-benchmark is the share of what redis-benchmark reaches on
// the same server, just before and after, with as many callers and round trips.
func BenchmarkRedis(b *testing.B) {
	s := startRedis(b)
	benchmarkDirectory(b, openRedis(b, RedisOptions{URL: s.url(), Ranges: []HostRange{{testHost, Range{11000, 60999}}},
		Path: filepath.Join(b.TempDir(), "presence.db"), Timeout: 10 * time.Second}),
		func() float64 { return redisBenchmark(b, s) })
}
