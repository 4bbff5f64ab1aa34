// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// Clients that stop in the middle of something must not keep the server from
// ending.
func TestShutdownWithClientsThatHang(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	opts := testOptions(&fakeRelay{})
	large := fstest.MapFS{"static/large.bin": {Data: []byte(strings.Repeat("large", 1<<22))}}
	for name, file := range testAssets {
		large[name] = file
	}
	opts.Assets = large
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Shutdown
	for name, begun := range map[string]struct{ request, answer string }{
		"half a head": {"GET /desk HTTP/1.1\r\nHost: lo", ""},
		"half a body": {"POST /desk/sign-in HTTP/1.1\r\nHost: localhost:8080\r\n" +
			"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{", ""},
		"an answer that nobody reads":   {"GET /large.bin HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", "HTTP/1.1 200"},
		"a WebSocket that says nothing": {socketRequest, "HTTP/1.1 101"},
		"a WebSocket that never reads": {socketRequest + strings.Repeat("\x81\xfe\x40\x00\x00\x00\x00\x00"+
			strings.Repeat("x", 1<<14), 512), "HTTP/1.1 101"},
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		c.SetWriteDeadline(time.Now().Add(time.Second)) // the server stops to read where its answers are not read
		io.WriteString(c, begun.request)
		if begun.answer == "" {
			continue
		}
		b := make([]byte, len(begun.answer))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != begun.answer {
			t.Fatalf("%s: %q, %v", name, b, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	err = s.Shutdown(ctx)
	if took := time.Since(began); took > linger+2*time.Second {
		t.Errorf("it took %v: %v", took, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

const socketRequest = "GET /chat HTTP/1.1\r\nHost: localhost:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
