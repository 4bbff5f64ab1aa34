// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// BenchmarkAppend measures acknowledged, that is synced, messages in 200 rooms,
// and the processor time that each takes.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("sqlite/writers=%d", writers), func(b *testing.B) {
			s := open(b, "sqlite:"+filepath.Join(b.TempDir(), "rooms.db"))
			var rooms []string
			for i := range 200 {
				rooms = append(rooms, must(s.OpenFromMail(ctx, hello(fmt.Sprint(i, "@x"))))(b).Room)
			}
			text := strings.Repeat("x", 128)
			var next atomic.Int64
			before := processorTime(b)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						n := int(next.Add(1))
						if n > b.N {
							return
						}
						if _, err := s.Append(ctx, "", rooms[n%len(rooms)],
							chat.Message{Kind: chat.KindNote, Text: text}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/message")
		})
	}
}

// processorTime is what this process has had, its own and the system's.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	ok(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
