// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSignals: SIGHUP does not end the server, and SIGTERM ends it within ten
// seconds though twenty clients are in the middle of their mail.
func TestSignals(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	logs := func(text string) bool {
		b, err := os.ReadFile(filepath.Join(s.state, "chmaild.log"))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(b, []byte(text))
	}
	for range 20 {
		c, err := net.Dial("tcp", s.SMTP)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn := textproto.NewConn(c)
		for _, line := range []struct {
			says string
			code int
		}{{"", 220}, {"EHLO slow.example", 250}, {"MAIL FROM:<friend@slow.example>", 250},
			{"RCPT TO:<customer@mall.example>", 250}, {"DATA", 354}} {
			if line.says != "" {
				conn.PrintfLine("%s", line.says)
			}
			if _, text, err := conn.ReadResponse(line.code); err != nil {
				t.Fatalf("%q: %v %s", line.says, err, text)
			}
		}
		conn.PrintfLine("Subject: slow\r\n\r\nthe first line")
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	for end := time.Now().Add(5 * time.Second); !logs("Reloading state"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("SIGHUP reloads nothing")
		}
	}
	c, err := net.Dial("tcp", s.SMTP)
	if err != nil {
		t.Fatalf("after SIGHUP: %v", err)
	}
	c.Close()
	start := time.Now()
	s.stop(t)
	t.Logf("ended %v after SIGTERM", time.Since(start))
	if !logs("smtpd: ending connections") {
		t.Error("the log does not say that clients were cut off")
	}
}
