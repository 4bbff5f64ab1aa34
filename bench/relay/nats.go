// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// natsServer is nats-server with its WebSocket over TLS. Core NATS keeps
// nothing: it is the bar for speed, not for durability.
type natsServer struct {
	*process
	addr string
}

func startNATS(s settings) (*natsServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	plain, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "nats")
	if err := certificate(dir); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("listen: %q\nmax_connections: 20000\nwebsocket {\n listen: %q\n tls { cert_file: %q, key_file: %q }\n}\n",
		plain, addr, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	path := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	p, err := begin(exec.Command(s.nats, "-c", path))
	if err != nil {
		return nil, err
	}
	if err := awaitListener(addr); err != nil {
		p.stop()
		return nil, err
	}
	return &natsServer{process: p, addr: addr}, nil
}

// connect joins subject, which stands for a room.
func (n *natsServer) connect(ctx context.Context, i int, subject string, h *heard) (line, error) {
	s, err := dialSocket(ctx, n.addr, "/", "c"+strconv.Itoa(i))
	if err != nil {
		return nil, err
	}
	hello := `CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}` + "\r\nSUB " + subject + " 1\r\nPING\r\n"
	if err := s.write(2, []byte(hello)); err != nil {
		return nil, err
	}
	l := &natsLine{s: s, head: []byte("PUB " + subject + " 128\r\n")}
	ready := make(chan error, 1)
	go l.read(h, ready)
	select {
	case err := <-ready:
		return l, err
	case <-time.After(20 * time.Second):
		return nil, fmt.Errorf("nats-server did not answer")
	}
}

type natsLine struct {
	s    *socket
	head []byte
}

func (l *natsLine) say(text []byte) error {
	return l.s.write(2, append(append(append(make([]byte, 0, 200), l.head...), text...), "\r\n"...))
}

func (l *natsLine) ping() error { return nil } // the server pings
func (l *natsLine) close()      { l.s.c.Close() }

// read takes what comes until the connection ends. A frame may hold several
// operations, and an operation may go on in the next.
func (l *natsLine) read(h *heard, ready chan<- error) {
	var buf, rest []byte
	for {
		op, b, err := l.s.read(buf)
		if err != nil {
			h.lost.Add(1)
			select {
			case ready <- err:
			default:
			}
			return
		}
		buf = b
		if op == 9 {
			l.s.write(10, b)
			continue
		}
		if len(rest) > 0 {
			b = append(rest, b...)
		}
		for {
			end := bytes.Index(b, []byte("\r\n"))
			if end < 0 {
				break
			}
			op := b[:end]
			switch {
			case bytes.HasPrefix(op, []byte("MSG ")):
				n, _ := strconv.Atoi(string(op[bytes.LastIndexByte(op, ' ')+1:]))
				if len(b) < end+2+n+2 {
					op = nil
					break
				}
				h.delivery(b[end+2:][:stamp])
				end += n + 2
			case bytes.Equal(op, []byte("PING")):
				l.s.write(2, []byte("PONG\r\n"))
			case bytes.Equal(op, []byte("PONG")):
				select {
				case ready <- nil:
				default:
				}
			}
			if op == nil {
				break
			}
			b = b[end+2:]
		}
		rest = append(rest[:0], b...)
	}
}
