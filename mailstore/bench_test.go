// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
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

// BenchmarkRetr reads a maildrop of 1,000 messages of 4 KiB that are on disk
// over one pipelined POP3 session.
func BenchmarkRetr(b *testing.B) {
	const messages = 1000
	s := openStore(b, b.TempDir(), Options{})
	body := random(4 << 10)
	for _, login := range []string{"a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x", "i@x", "j@x"} {
		addAccounts(b, s, login)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range messages / 10 {
					if err := put(s, body, login); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	conn, err := net.Dial("tcp", servePOP3(b, s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	r := bufio.NewReaderSize(conn, 64<<10)
	var all strings.Builder
	for n := range messages {
		fmt.Fprintf(&all, "RETR %d\r\n", n+1)
	}
	lines := func(want string, n int) {
		for n > 0 {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(line) == want || want == "" {
				n--
			}
		}
	}
	io.WriteString(conn, "USER a@x\r\nPASS secret\r\n")
	lines("", 3)
	b.SetBytes(int64(messages * len(body)))
	for b.Loop() {
		go io.WriteString(conn, all.String()) // ends with the connection at the latest
		lines(".\r\n", messages)
	}
}

func random(n int) string {
	var b strings.Builder
	b.WriteString("Subject: x\r\n\r\n")
	x := uint32(2463534242)
	for b.Len() < n {
		for range 70 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			b.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x&63])
		}
		b.WriteString("\r\n")
	}
	return b.String()
}
