// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// BenchmarkAppend measures acknowledged, that is synced, messages.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("sqlite/writers=%d", writers), func(b *testing.B) {
			s := open(b, "sqlite:"+filepath.Join(b.TempDir(), "rooms.db"))
			roomID := must(s.OpenFromMail(ctx, hello("1@x")))(b).Room
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := s.Append(ctx, "", roomID, chat.Message{Kind: chat.KindNote, Text: "hello"}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
