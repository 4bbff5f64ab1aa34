// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/frame"
)

// webSocket is the client's side, of a library that is not ours.
type webSocket struct {
	c      *websocket.Conn
	remote netip.Addr
	life   context.Context // of all reads: the library closes the connection when one's context ends
	end    context.CancelFunc
}

// WebSocket carries frames as text messages, for a program that connects to a
// relay; the relay's own side is Upgrade.
func WebSocket(c *websocket.Conn, remote netip.Addr) carrier.Conn {
	c.SetReadLimit(-1) // Read has the limit, so that the client is told
	w := &webSocket{c: c, remote: remote}
	w.life, w.end = context.WithCancel(context.Background())
	return w
}

func (w *webSocket) Read(ctx context.Context) ([]byte, error) {
	ctx, cancel := timed(ctx)
	defer cancel()
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
		return nil, carrier.ErrTooLarge
	}
	return b, nil
}

func (w *webSocket) Write(ctx context.Context, frames ...[]byte) error {
	ctx, cancel := timed(ctx)
	defer cancel()
	for _, f := range frames {
		if err := w.c.Write(ctx, websocket.MessageText, f); err != nil {
			return err
		}
	}
	return nil
}

// timed makes a context end at its deadline, as the library wants.
func timed(ctx context.Context) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Deadline(); ok && ctx.Done() == nil {
		return context.WithDeadline(context.Background(), d)
	}
	return ctx, func() {}
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

func (w *webSocket) Carrier() string      { return carrier.WebSocket }
func (w *webSocket) Port() int            { return 0 }
func (w *webSocket) RemoteIP() netip.Addr { return w.remote }
