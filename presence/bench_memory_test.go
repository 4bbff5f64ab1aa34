// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// usedMemory is what Redis says it uses, in bytes.
func usedMemory(b *testing.B, s *redisServer) (n int64) {
	c := s.client()
	defer c.Close()
	for line := range strings.Lines(must[string](b)(c.Info(b.Context(), "memory").Result())) {
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
		var ranges []HostRange
		for i := range logins / room {
			ranges = append(ranges, HostRange{fmt.Sprintf("relay%d.mall.example", i), DefaultRange})
		}
		r := openRedis(b, RedisOptions{URL: s.url(), Ranges: ranges, Timeout: time.Minute})
		ok(b, r.Ready(ctx))
		before := usedMemory(b, s)
		seen := fmt.Sprint(time.Now().UnixMilli(), " ", sighting{Source: Submission, IP: ip("203.0.113.250")})
		for n, h := range ranges {
			for ports := range slices.Chunk(seq(DefaultRange.Lo, room), redisPage) {
				args := []any{r.keyLease(), r.opt.ID}
				_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
					for _, port := range ports {
						login := fmt.Sprintf("user%d.%d@mall.example", n, port)
						p.Set(ctx, r.addressKey(login), seen, AddressTTL)
						p.Set(ctx, r.pointerKey(login), h.Host, GrantTTL)
						args = append(args, port, login, 0, 0, 0)
					}
					return nil
				})
				ok(b, err)
				_, err = r.hostRun(ctx, restoreScript, h.Host, args...)
				ok(b, err)
			}
		}
		b.ReportMetric(float64(usedMemory(b, s)-before)/1e6, "MB")
		if gs := must[[]Grant](b)(r.Grants(ctx, 2*logins)); len(gs) != logins {
			b.Errorf("%d grants, want %d", len(gs), logins)
		}
	}
}
