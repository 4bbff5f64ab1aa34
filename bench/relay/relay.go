// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/frame"
)

// relayServer is the relay in a process of its own.
type relayServer struct {
	*process
	dir, addr string
	in        io.Writer
	out       *json.Decoder
}

func startRelay(s settings, dir, addr string) (*relayServer, error) {
	if err := certificate(dir); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "serve", dir, addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := begin(cmd)
	if err != nil {
		return nil, err
	}
	r := &relayServer{process: p, dir: dir, in: in, out: json.NewDecoder(out)}
	var a answer
	if err := r.out.Decode(&a); err != nil {
		p.stop()
		return nil, fmt.Errorf("the relay did not start: %w", err)
	}
	r.addr = a.Address
	return r, nil
}

func freshRelay(s settings, name string) (*relayServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return startRelay(s, filepath.Join(s.dir, name), addr)
}

func (r *relayServer) ask(req request) (a answer, err error) {
	if err := json.NewEncoder(r.in).Encode(req); err != nil {
		return a, err
	}
	if err := r.out.Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// members opens rooms for n connections and gets everyone a ticket, which is
// good for a minute.
func (r *relayServer) members(n, size int) ([]member, []chatrelay.Entry, error) {
	a, err := r.ask(request{Do: "open", Rooms: n / size, Size: size})
	if err != nil {
		return nil, nil, err
	}
	e, err := r.ask(request{Do: "enter", Members: a.Members})
	return a.Members, e.Entries, err
}

// relayLine is a member's connection over any carrier.
type relayLine struct {
	write func(b []byte) error
	next  func() ([]byte, error)
	end   func()
	n     atomic.Int64
	// where a resumed connection goes on; the reader's
	epoch string
	last  int64
}

func (l *relayLine) say(text []byte) error {
	// The id begins with when it was sent, so that the ack tells too.
	b := append(append(make([]byte, 0, 256), `{"t":"say","id":"`...), text[:stamp]...)
	b = strconv.AppendInt(append(b, '-'), l.n.Add(1), 10)
	return l.write(append(append(append(b, `","text":"`...), text...), `"}`...))
}

func (l *relayLine) ping() error { return l.write([]byte(`{"t":"ping","n":1}`)) }
func (l *relayLine) close()      { l.end() }

// hello sends a ticket and waits for the welcome; then it reads on until the
// connection ends.
func (l *relayLine) hello(ticket string, h *heard) error {
	if err := l.write(frame.Encode(&frame.Frame{T: frame.THello, Ticket: ticket,
		Epoch: l.epoch, After: l.last})); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { // ends with the connection
		err := l.read(h, ready)
		h.lost.Add(1)
		h.why.CompareAndSwap(nil, err.Error())
		select {
		case ready <- err:
		default:
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("no welcome")
	}
}

var (
	isMsg     = []byte(`{"t":"msg"`)
	isAck     = []byte(`{"t":"ack"`)
	isWelcome = []byte(`{"t":"welcome"`)
	isError   = []byte(`{"t":"error"`)
	textField = []byte(`"text":"`)
	idField   = []byte(`"id":"`)
)

// read looks at frames without decoding them: the load shall cost little.
func (l *relayLine) read(h *heard, ready chan<- error) error {
	for {
		b, err := l.next()
		if err != nil {
			return err
		}
		field := textField
		switch {
		case bytes.HasPrefix(b, isAck):
			field = idField
		case bytes.HasPrefix(b, isWelcome):
			select {
			case ready <- nil:
			default:
			}
			continue
		case bytes.HasPrefix(b, isError):
			return fmt.Errorf("the relay said %s", b)
		case !bytes.HasPrefix(b, isMsg):
			continue
		}
		if _, v, ok := bytes.Cut(b, field); ok && len(v) > stamp && v[0] == '1' {
			h.delivery(v[:stamp])
		}
	}
}

// webSocket opens a room over the WebSocket of the web server.
func (r *relayServer) webSocket(ctx context.Context, i int, e chatrelay.Entry, h *heard) (line, error) {
	s, err := dialSocket(ctx, r.addr, "/chat", "c"+strconv.Itoa(i))
	if err != nil {
		return nil, err
	}
	var buf []byte
	l := &relayLine{write: func(b []byte) error { return s.write(1, b) }, end: func() { s.c.Close() }}
	l.next = func() ([]byte, error) {
		for {
			op, b, err := s.read(buf)
			if buf = b; err != nil || op == 1 {
				return b, err
			}
			if op == 8 {
				return nil, io.EOF
			}
			s.write(10, b)
		}
	}
	if err := l.hello(e.Ticket, h); err != nil {
		s.c.Close()
		return nil, err
	}
	return l, nil
}

// udp are the sockets that the WebTransport clients share.
var udp = sync.OnceValues(func() ([]*quic.Transport, error) {
	var list []*quic.Transport
	for range 8 {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		list = append(list, &quic.Transport{Conn: c})
	}
	return list, nil
})

// webTransport opens a room on the granted port.
func (r *relayServer) webTransport(ctx context.Context, i int, e chatrelay.Entry, h *heard) (line, error) {
	shared, err := udp()
	if err != nil {
		return nil, err
	}
	d := webtransport.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}},
		QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
			HandshakeIdleTimeout: 15 * time.Second},
		Config: &webtransport.Config{MaxIncomingStreams: 4, MaxIncomingData: 1 << 20},
		DialAddr: func(ctx context.Context, addr string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			to, err := netip.ParseAddrPort(addr)
			if err != nil {
				return nil, err
			}
			return shared[i%len(shared)].DialEarly(ctx, net.UDPAddrFromAddrPort(to), tc, qc)
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, s, err := d.Dial(ctx, e.Endpoints[0].URL, nil)
	if err != nil {
		return nil, err
	}
	stream, err := s.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	c := newStream(stream)
	l := &relayLine{write: c.write, next: c.next, end: func() { s.CloseWithError(0, "") }}
	if err := l.hello(e.Ticket, h); err != nil {
		return nil, err
	}
	return l, nil
}
