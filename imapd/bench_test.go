// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chmail/chmail/mailstore"
)

// BenchmarkFetch fetches 10,000 messages over one session, by what is asked of them.
func BenchmarkFetch(b *testing.B) {
	const messages = 10_000
	s := openStore(b, mailstore.Options{})
	for i := range messages {
		deliver(b, s, fmt.Sprintf("From: Anna <anna@x.example>\r\nTo: mina@mall.example\r\nSubject: Mail %d\r\n"+
			"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%[1]d@x.example>\r\n\r\n%s", i,
			strings.Repeat("A line of a mail that says nothing.\r\n", 50)))
	}
	srv := newServer(b, s)
	srv.Log = slog.New(slog.DiscardHandler)
	c := signIn(b, start(b, srv))
	c.ask("OK …", "SELECT INBOX")
	_ = c.SetReadDeadline(time.Time{})
	for _, items := range []string{
		"FLAGS", "(FLAGS ENVELOPE)", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)])", "BODYSTRUCTURE",
		"BODY.PEEK[]",
	} {
		b.Run(items, func(b *testing.B) {
			for b.Loop() {
				c.send("b FETCH 1:* " + items)
				for line := ""; !strings.HasPrefix(line, "b OK"); {
					var err error
					if line, err = c.r.ReadString('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(messages*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkUnauthenticated is what a connection costs that never signs in: the memory
// of one that waits, and the processor time of one that says as much as it may.
func BenchmarkUnauthenticated(b *testing.B) {
	srv := newServer(b, openStore(b, mailstore.Options{}))
	srv.Log = slog.New(slog.DiscardHandler)
	srv.MaxConnectionsPerIP = 100_000
	address := start(b, srv)
	for name, say := range map[string]string{
		"silent": "", "line": "a LOGIN " + strings.Repeat("x", 4000),
		"literal":         "a LOGIN {4096}\r\n" + strings.Repeat("x", 4000),
		"too long a line": strings.Repeat("(", 1<<20),
	} {
		b.Run(name, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			cpu := cpuTime(b)
			var conns []net.Conn
			for range b.N {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				conns = append(conns, conn)
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.ReadFull(conn, make([]byte, 20))
				_, _ = io.WriteString(conn, say)
			}
			used := cpuTime(b) - cpu
			runtime.GC()
			runtime.ReadMemStats(&after)
			heap := float64(after.HeapAlloc+after.StackInuse) - float64(before.HeapAlloc+before.StackInuse)
			b.ReportMetric(heap/float64(b.N), "memory-B/conn")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/conn")
			for _, conn := range conns {
				conn.Close()
			}
		})
	}
}

// cpuTime is the processor time of this process, client included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
