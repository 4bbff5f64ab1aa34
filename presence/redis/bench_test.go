// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// usedMemory is what Redis says it uses, in bytes.
func usedMemory(b *testing.B, s *redisServer) (n int64) {
	c := s.client()
	defer c.Close()
	for line := range strings.Lines(pt.Must[string](b)(c.Info(b.Context(), "memory").Result())) {
		if _, err := fmt.Sscanf(line, "used_memory:%d", &n); err == nil {
			return n
		}
	}
	b.Fatal("no used_memory")
	return 0
}

// seq is n numbers from first on.
func seq(first, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = first + i
	}
	return s
}

// A million logins, each with an address and a grant, on 100 hosts, as Renew and
// Grant leave them; the grants are made by the script that restores them, many
// at a time.
func BenchmarkRedisMemory(b *testing.B) {
	const logins, room = 1_000_000, 10_000
	for range b.N {
		s := startRedis(b)
		ctx := b.Context()
		var ranges presence.HostRanges
		for i := range logins / room {
			ranges = append(ranges, presence.HostRange{Host: fmt.Sprintf("relay%d.mall.example", i),
				Range: presence.DefaultRange})
		}
		r := openRedis(b, Options{URL: s.url(), Ranges: ranges, Timeout: time.Minute})
		pt.OK(b, r.Ready(ctx))
		before := usedMemory(b, s)
		seen := fmt.Sprint(time.Now().UnixMilli(), " ", sighting{Source: presence.Submission,
			IP: pt.IP("203.0.113.250")})
		for n, h := range ranges {
			for ports := range slices.Chunk(seq(presence.DefaultRange.Lo, room), pageSize) {
				args := []any{r.keyLease(), r.opt.ID}
				_, err := r.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
					for _, port := range ports {
						login := fmt.Sprintf("user%d.%d@mall.example", n, port)
						p.Set(ctx, r.addressKey(login), seen, presence.AddressTTL)
						p.Set(ctx, r.pointerKey(login), h.Host, presence.GrantTTL)
						args = append(args, port, login, 0, 0, 0)
					}
					return nil
				})
				pt.OK(b, err)
				_, err = r.hostRun(ctx, restoreScript, h.Host, args...)
				pt.OK(b, err)
			}
		}
		b.ReportMetric(float64(usedMemory(b, s)-before)/1e6, "MB")
		if gs := pt.Must[[]presence.Grant](b)(r.Grants(ctx, 2*logins)); len(gs) != logins {
			b.Errorf("%d grants, want %d", len(gs), logins)
		}
	}
}

// redisBenchmark is how many GETs a second redis-benchmark reaches on a server,
// one to a round trip.
func redisBenchmark(b *testing.B, s *redisServer) float64 {
	b.Helper()
	out := pt.Must[[]byte](b)(exec.Command(testpart.Need(b, "redis-benchmark"), "-p", fmt.Sprint(s.port), "-c",
		fmt.Sprint(pt.BenchCallers),
		"-n", "20000", "-r", "1000", "--csv", "-t", "get").Output())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	_, rest, _ := strings.Cut(lines[len(lines)-1], `,"`)
	number, _, _ := strings.Cut(rest, `"`)
	return pt.Must[float64](b)(strconv.ParseFloat(number, 64))
}

// The metric of-redis-benchmark is the share of what redis-benchmark reaches on
// the same server, just before and after, with as many callers and round trips.
func BenchmarkRedis(b *testing.B) {
	s := startRedis(b)
	pt.Benchmark(b, openRedis(b, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: pt.TestHost,
		Range: presence.Range{Lo: 11000, Hi: 60999}}},
		Path: filepath.Join(b.TempDir(), "presence.db"), Timeout: 10 * time.Second}),
		func() float64 { return redisBenchmark(b, s) })
}
