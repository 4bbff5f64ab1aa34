// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// TestMemoryOfAStranger: a connection that has not signed in takes at most 64 KiB,
// over TLS and after a line of the longest kind, too. What the client's side takes in
// this process counts as well.
func TestMemoryOfAStranger(t *testing.T) {
	const conns, bound = 200, 64 << 10
	o := submission(&sink{})
	o.TLS, o.PerPrefix, o.Name, o.Hostname = tlsOf(certificate(t)), conns, "memory", "mx.test"
	s := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, false) }()
	t.Cleanup(func() {
		_ = s.Shutdown(t.Context()) // it ends at once
		<-served
	})
	for _, secure := range []bool{false, true} {
		before := inUse()
		var open []net.Conn
		for range conns {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, nc)
			say := func(line string) {
				if _, err := io.WriteString(nc, line); err != nil {
					t.Fatal(err)
				}
				if _, err := nc.Read(make([]byte, 1024)); err != nil {
					t.Fatal(err)
				}
			}
			say("")
			if secure {
				say("STARTTLS\r\n")
				nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
			}
			say("EHLO c\r\n")
			say("AUTH PLAIN\r\n")
			say(strings.Repeat("x", 12000) + "\r\n")
		}
		each := (inUse() - before) / conns
		t.Logf("TLS %v: %d octets a connection", secure, each)
		if each > bound {
			t.Errorf("TLS %v: a connection takes %d octets, more than %d", secure, each, bound)
		}
		for _, nc := range open {
			nc.Close()
		}
	}
}

// inUse is the memory of what is reachable, and of stacks.
func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
