// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/chmail/chmail/chatrelay/frame"
)

// The carriers by name.
const (
	CarrierWebSocket    = "websocket"
	CarrierWebTransport = "webtransport"
	CarrierQUIC         = "quic"
)

// ErrTooLarge: the other side sent a frame beyond frame.MaxFrame.
var ErrTooLarge = errors.New("a frame is too large")

// Conn carries frames. One goroutine reads and one writes; Close may be
// called by any, at any time.
type Conn interface {
	// Read returns the next frame. ErrTooLarge: it is beyond frame.MaxFrame.
	Read(ctx context.Context) ([]byte, error)
	// Write sends frames, on a stream in one write.
	Write(ctx context.Context, frames ...[]byte) error
	// Close ends the connection; reason is for people who debug.
	Close(reason string) error
	Carrier() string
	// Port is the granted UDP port; 0 on a WebSocket.
	Port() int
	RemoteIP() netip.Addr
}

type webSocket struct {
	c      *websocket.Conn
	remote netip.Addr
	life   context.Context // of all reads: the library closes the connection when one's context ends
	end    context.CancelFunc
}

// WebSocket carries frames as text messages; remote is the client's address.
func WebSocket(c *websocket.Conn, remote netip.Addr) Conn {
	c.SetReadLimit(-1) // Read has the limit, so that the client is told
	w := &webSocket{c: c, remote: remote}
	w.life, w.end = context.WithCancel(context.Background())
	return w
}

func (w *webSocket) Read(ctx context.Context) ([]byte, error) {
	stop := context.AfterFunc(ctx, w.end)
	defer stop()
	_, r, err := w.c.Reader(w.life)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, frame.MaxFrame+1))
	if err != nil {
		return nil, err
	}
	if len(b) > frame.MaxFrame {
		return nil, ErrTooLarge
	}
	return b, nil
}

func (w *webSocket) Write(ctx context.Context, frames ...[]byte) error {
	for _, f := range frames {
		if err := w.c.Write(ctx, websocket.MessageText, f); err != nil {
			return err
		}
	}
	return nil
}

// Close does not wait for the other side, which may be gone; a last frame
// has been handed to the system by then.
func (w *webSocket) Close(reason string) error {
	defer w.end()
	done := make(chan error, 1)
	go func() { done <- w.c.Close(websocket.StatusNormalClosure, reason) }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeWait):
		return w.c.CloseNow()
	}
}

func (w *webSocket) Carrier() string      { return CarrierWebSocket }
func (w *webSocket) Port() int            { return 0 }
func (w *webSocket) RemoteIP() netip.Addr { return w.remote }

// byteStream is a bidirectional stream of QUIC or WebTransport.
type byteStream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// streamConn carries frames on one stream, each after its length as a varint.
type streamConn struct {
	s       byteStream
	r       *bufio.Reader
	end     func(reason string) error // closes the session below
	carrier string
	port    int
	remote  netip.Addr
	closed  atomic.Bool
}

func newStreamConn(s byteStream, carrier string, port int, remote netip.Addr, end func(string) error) *streamConn {
	return &streamConn{s: s, r: bufio.NewReaderSize(s, 4096), end: end, carrier: carrier, port: port, remote: remote}
}

// bound gives a call on the stream the deadline of ctx, and ends it when ctx
// ends before.
func bound(ctx context.Context, set func(time.Time) error) (stop func() bool, err error) {
	deadline, _ := ctx.Deadline() // the zero time is none
	if err := set(deadline); err != nil {
		return nil, err
	}
	return context.AfterFunc(ctx, func() { set(time.Unix(1, 0)) }), nil
}

func (c *streamConn) Read(ctx context.Context) ([]byte, error) {
	stop, err := bound(ctx, c.s.SetReadDeadline)
	if err != nil {
		return nil, err
	}
	defer stop()
	return readFrame(c.r)
}

// readFrame reads a length and as many octets.
func readFrame(r *bufio.Reader) ([]byte, error) {
	n, err := quicvarint.Read(r)
	if err != nil {
		return nil, err
	}
	if n > frame.MaxFrame {
		return nil, ErrTooLarge
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("reading a frame of %d octets: %w", n, err)
	}
	return b, nil
}

// appendFrame appends a frame with its length.
func appendFrame(b, f []byte) []byte {
	return append(quicvarint.Append(b, uint64(len(f))), f...)
}

func (c *streamConn) Write(ctx context.Context, frames ...[]byte) error {
	stop, err := bound(ctx, c.s.SetWriteDeadline)
	if err != nil {
		return err
	}
	defer stop()
	size := 0
	for _, f := range frames {
		size += len(f) + 8
	}
	b := make([]byte, 0, size)
	for _, f := range frames {
		b = appendFrame(b, f)
	}
	_, err = c.s.Write(b)
	return err
}

// Close ends the stream and, a moment later, the session: ending that at once
// would throw away a last frame that is still on its way.
func (c *streamConn) Close(reason string) error {
	if c.closed.Swap(true) {
		return nil
	}
	c.s.SetReadDeadline(time.Unix(1, 0))
	err := c.s.Close()
	time.AfterFunc(closeWait/4, func() { c.end(reason) })
	return err
}

func (c *streamConn) Carrier() string      { return c.carrier }
func (c *streamConn) Port() int            { return c.port }
func (c *streamConn) RemoteIP() netip.Addr { return c.remote }
