// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/chmail/chmail/chatrelay/frame"
)

// Stream is a bidirectional stream of QUIC or WebTransport.
type Stream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// streamConn is a Conn on a stream.
type streamConn struct {
	s       Stream
	in      source
	end     func(reason string) error // closes the session below
	carrier string
	port    int
	remote  netip.Addr
	ahead   int // octets of tryWrite since the last Write; only the writer uses it
	closed  atomic.Bool
}

// OverStream returns a Conn that carries frames on a stream, each after its
// length as a varint (RFC 9000 section 16). carrier, port and remote are what
// the Conn tells of itself; end closes the session or connection below, and is
// called once.
func OverStream(s Stream, carrier string, port int, remote netip.Addr, end func(reason string) error) Conn {
	return newStreamConn(s, carrier, port, remote, end)
}

func newStreamConn(s Stream, carrier string, port int, remote netip.Addr, end func(string) error) *streamConn {
	return &streamConn{s: s, in: source{r: s}, end: end, carrier: carrier, port: port, remote: remote}
}

func (c *streamConn) Read(ctx context.Context) ([]byte, error) {
	stop, err := bound(ctx, c.s.SetReadDeadline)
	if err != nil {
		return nil, err
	}
	defer stop()
	return readFrame(&c.in)
}

// readFrame reads a length and as many octets.
func readFrame(in *source) ([]byte, error) {
	n, err := in.varint()
	if err != nil {
		return nil, err
	}
	if n > frame.MaxFrame {
		return nil, ErrTooLarge
	}
	f := make([]byte, n)
	if err := in.full(f); err != nil {
		return nil, fmt.Errorf("reading a frame of %d octets: %w", n, err)
	}
	return f, nil
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
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	b := (*buf)[:0]
	for _, f := range frames {
		b = appendFrame(b, f)
	}
	*buf = b
	_, err = c.s.Write(b)
	c.ahead = 0
	return err
}

// tryWrite implements tryWriter. A stream keeps as much as the other side says
// that it would take; maxAhead bounds that.
func (c *streamConn) tryWrite(f []byte) (bool, error) {
	s, ok := c.s.(interface{ TryWriteAll([]byte) error })
	if !ok || c.ahead+len(f) > maxAhead {
		return false, nil
	}
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	*buf = appendFrame((*buf)[:0], f)
	err := s.TryWriteAll(*buf)
	if errors.Is(err, quic.ErrWouldBlock) {
		return false, nil
	}
	c.ahead += len(*buf)
	return true, err
}

// Close ends the stream and, a moment later, the session: to end that at once
// would throw away a last frame that is still on its way.
func (c *streamConn) Close(reason string) error {
	if c.closed.Swap(true) {
		return nil
	}
	c.s.SetReadDeadline(time.Unix(1, 0))
	err := c.s.Close()
	time.AfterFunc(CloseWait/4, func() { c.end(reason) })
	return err
}

func (c *streamConn) Carrier() string      { return c.carrier }
func (c *streamConn) Port() int            { return c.port }
func (c *streamConn) RemoteIP() netip.Addr { return c.remote }
