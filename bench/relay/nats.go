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
	"strings"
	"time"
)

// natsServer is nats-server with its WebSocket over TLS, and a JetStream on
// files that syncs each message before it acknowledges it. Every member of a
// room has an ordered consumer, which is an ephemeral one of what comes from now
// on, with flow control and heartbeats and without acknowledgements.
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
	stream, err := os.MkdirTemp(dir, "jetstream")
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("listen: %q\nmax_connections: 20000\n"+
		"websocket {\n listen: %q\n tls { cert_file: %q, key_file: %q }\n}\n"+
		"jetstream { store_dir: %q, sync_interval: always }\n",
		plain, addr, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), stream)
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
	n := &natsServer{process: p, addr: addr}
	l, err := n.open(context.Background(), "setup", new(heard), "STREAM.CREATE.rooms",
		`{"name":"rooms","subjects":["room.*"],"storage":"file","retention":"limits","num_replicas":1}`)
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("making the stream: %w", err)
	}
	l.close()
	return n, nil
}

// connect joins subject, which stands for a room.
func (n *natsServer) connect(ctx context.Context, i int, subject string, h *heard) (line, error) {
	name := "c" + strconv.Itoa(i)
	l, err := n.open(ctx, name, h, "CONSUMER.CREATE.rooms",
		fmt.Sprintf(`{"stream_name":"rooms","config":{"deliver_subject":"to.%s",`+
			`"filter_subject":%q,"deliver_policy":"new","ack_policy":"none","max_deliver":1,`+
			`"flow_control":true,"idle_heartbeat":5000000000,`+
			`"mem_storage":true,"num_replicas":1}}`, name, subject))
	if err != nil {
		return nil, err
	}
	l.head = []byte("PUB " + subject + " ack." + name + " 128\r\n")
	return l, nil
}

// Numbers of a connection's subscriptions.
const (
	subRoom  = "1" // what its consumer delivers
	subAck   = "2" // of its own messages
	subReply = "3" // of the request with which it begins
)

// open connects and makes one request of JetStream.
func (n *natsServer) open(ctx context.Context, name string, h *heard, api, body string) (*natsLine, error) {
	s, err := dialSocket(ctx, n.addr, "/", name)
	if err != nil {
		return nil, err
	}
	hello := `CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1,` +
		`"headers":true,"no_responders":true}` + "\r\n" +
		"SUB to." + name + " " + subRoom + "\r\nSUB ack." + name + " " + subAck +
		"\r\nSUB reply." + name + " " + subReply + "\r\n" +
		fmt.Sprintf("PUB $JS.API.%s reply.%s %d\r\n%s\r\n", api, name, len(body), body)
	if err := s.write(2, []byte(hello)); err != nil {
		return nil, err
	}
	l := &natsLine{s: s}
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
	tell := func(err error) {
		select {
		case ready <- err:
		default:
		}
	}
	var buf, rest []byte
	for {
		op, b, err := l.s.read(buf)
		if err != nil {
			h.lost.Add(1)
			tell(err)
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
			op := strings.Fields(string(b[:end]))
			b2 := b[end+2:]
			if len(op) > 3 && (op[0] == "MSG" || op[0] == "HMSG") {
				n, _ := strconv.Atoi(op[len(op)-1])
				if len(b2) < n+2 {
					break
				}
				l.message(h, op, b2[:n], tell)
				b2 = b2[n+2:]
			} else if len(op) > 0 && op[0] == "PING" {
				l.s.write(2, []byte("PONG\r\n"))
			} else if len(op) > 0 && op[0] == "-ERR" {
				h.why.Store(strings.Join(op, " "))
				tell(fmt.Errorf("nats-server: %s", strings.Join(op, " ")))
			}
			b = b2
		}
		rest = append(rest[:0], b...)
	}
}

// message takes one message: MSG subject number [reply] size, or with headers
// HMSG subject number [reply] size-of-headers size.
func (l *natsLine) message(h *heard, op []string, payload []byte, tell func(error)) {
	switch {
	case op[0] == "HMSG": // a heartbeat, or a request of the flow control, which is answered
		if len(op) == 6 && bytes.HasPrefix(payload, []byte("NATS/1.0 100")) {
			l.s.write(2, []byte("PUB "+op[3]+" 0\r\n\r\n"))
		}
	case op[2] == subRoom:
		h.delivery(payload[:stamp])
	case op[2] == subReply && bytes.Contains(payload, []byte(`"error"`)):
		tell(fmt.Errorf("nats-server: %s", payload))
	case op[2] == subReply:
		tell(nil)
	case op[2] == subAck && bytes.Contains(payload, []byte(`"error"`)):
		h.why.Store(string(payload))
		h.lost.Add(1)
	}
}
