// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// sessions are the TLS tickets of a client that comes back.
var sessions = tls.NewLRUClientSessionCache(1 << 15)

// socket is a WebSocket client that does no more than the measuring needs, so
// that the load costs the machine little (RFC 6455).
type socket struct {
	c  net.Conn
	r  *bufio.Reader
	mu sync.Mutex
	w  []byte
}

// dialSocket opens a WebSocket over TLS; name tells clients' tickets apart.
func dialSocket(ctx context.Context, addr, path, name string) (*socket, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: name, ClientSessionCache: sessions}}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &socket{c: c, r: bufio.NewReaderSize(c, 2048)}
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, addr)
	line, err := s.r.ReadString('\n')
	if err == nil && !strings.Contains(line, " 101 ") {
		err = fmt.Errorf("the server answered %q", line)
	}
	for err == nil && strings.TrimSpace(line) != "" {
		line, err = s.r.ReadString('\n')
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return s, nil
}

// write sends one frame, masked with zeros: unmasking them costs the server
// the same.
func (s *socket) write(op byte, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := append(s.w[:0], 0x80|op)
	if len(b) < 126 {
		w = append(w, 0x80|byte(len(b)))
	} else {
		w = binary.BigEndian.AppendUint16(append(w, 0x80|126), uint16(len(b)))
	}
	s.w = append(append(w, 0, 0, 0, 0), b...)
	_, err := s.c.Write(s.w)
	return err
}

// read reads the next frame into buf.
func (s *socket) read(buf []byte) (op byte, _ []byte, err error) {
	var h [8]byte
	if _, err = io.ReadFull(s.r, h[:2]); err != nil {
		return 0, buf, err
	}
	op, n := h[0]&15, uint64(h[1]&127)
	switch n {
	case 126:
		_, err = io.ReadFull(s.r, h[:2])
		n = uint64(binary.BigEndian.Uint16(h[:2]))
	case 127:
		_, err = io.ReadFull(s.r, h[:8])
		n = binary.BigEndian.Uint64(h[:8])
	}
	if err != nil || n > 1<<20 {
		return 0, buf, fmt.Errorf("a frame of %d octets: %w", n, err)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	_, err = io.ReadFull(s.r, buf[:n])
	return op, buf[:n], err
}
