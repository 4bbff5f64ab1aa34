// SPDX-License-Identifier: GPL-3.0-or-later

// Package carrier brings frames in and out over WebTransport, plain QUIC,
// WebSocket and HTTP.
//
// A Conn carries frames, whatever is below it. Upgrade makes one of an HTTP
// request (WebSocket), and so does Streams (server-sent events and POSTs). Ports listens on granted UDP ports (WebTransport and
// QUIC), admits connections by their address prefix, and gives each Conn to the
// relay. A Queue is the bounded queue of frames in front of a Conn.
package carrier

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// The carriers by name.
const (
	WebSocket    = "websocket"
	WebTransport = "webtransport"
	QUIC         = "quic"
	HTTP         = "http" // server-sent events and POSTs
)

const (
	// Path is the path of the endpoints of WebSocket and WebTransport.
	Path = "/chat"
	// StreamPath is the path of those of HTTP.
	StreamPath = Path + "/stream"
	// ALPN is the protocol of plain QUIC: frames on the first stream.
	ALPN = "chmail/1"

	alpnH3 = "h3" // WebTransport
)

// ErrTooLarge: the other side sent a frame beyond frame.MaxFrame.
var ErrTooLarge = errors.New("a frame is too large")

// Conn carries frames. One goroutine reads and one writes; Close may be called
// by any, at any time. Read and Write obey the deadline of their context (Within
// makes one that costs nothing); to end them before it, close the Conn.
type Conn interface {
	// Read returns the next frame. ErrTooLarge: it is beyond frame.MaxFrame.
	Read(ctx context.Context) ([]byte, error)
	// Write sends frames, on a stream in one write.
	Write(ctx context.Context, frames ...[]byte) error
	// Close ends the connection; reason is for people who debug.
	Close(reason string) error
	// Carrier is WebSocket, WebTransport, QUIC or HTTP.
	Carrier() string
	// Port is the granted UDP port; 0 on a WebSocket and on HTTP.
	Port() int
	// RemoteIP is the client's address; the zero Addr if it is not known.
	RemoteIP() netip.Addr
}

// Within is a context for Conn's Read and Write. It has a deadline and nothing
// else: no timer, and nothing to cancel.
func Within(wait time.Duration) context.Context { return deadline(time.Now().Add(wait)) }

type deadline time.Time

func (d deadline) Deadline() (time.Time, bool) { return time.Time(d), true }
func (d deadline) Done() <-chan struct{}       { return nil }
func (d deadline) Value(any) any               { return nil }

func (d deadline) Err() error {
	if time.Now().After(time.Time(d)) {
		return context.DeadlineExceeded
	}
	return nil
}
