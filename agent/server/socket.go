// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/frame"
)

const writeWait = 5 * time.Second

// socket is a WebSocket that carries frames.
type socket struct {
	c      *websocket.Conn
	remote netip.AddrPort
	local  netip.Addr
	heard  atomic.Int64 // when a frame came last, in time since started
}

var started = time.Now()

// dial opens a WebSocket. A refusal is a *Refusal.
func (c *Client) dial(ctx context.Context, at string, signed bool) (*socket, error) {
	h := http.Header{}
	if signed {
		c.sign(h)
	}
	s := &socket{}
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		s.remote, s.local = addrPort(i.Conn.RemoteAddr()), addrPort(i.Conn.LocalAddr()).Addr()
	}})
	// The client of requests has a timeout of its own, which would end the socket.
	conn, res, err := websocket.Dial(traced, at, &websocket.DialOptions{
		HTTPHeader: h, HTTPClient: &http.Client{Transport: c.http.Transport, CheckRedirect: sameHost}})
	if err != nil {
		if res != nil && res.StatusCode >= 300 {
			body, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
			return nil, refused(res, body)
		}
		return nil, err
	}
	conn.SetReadLimit(frame.MaxFrame)
	s.c = conn
	s.beat()
	return s, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
	}
	return netip.AddrPort{}
}

func (s *socket) beat()                 { s.heard.Store(int64(time.Since(started))) }
func (s *socket) silent() time.Duration { return time.Since(started) - time.Duration(s.heard.Load()) }

func (s *socket) read(ctx context.Context) (*frame.Frame, error) {
	for {
		_, b, err := s.c.Read(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading from the server: %w", err)
		}
		s.beat()
		f, err := frame.Decode(b)
		if err != nil {
			return nil, err
		}
		if f.T != frame.TPong {
			return f, nil
		}
	}
}

func (s *socket) write(f *frame.Frame) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWait)
	defer cancel()
	if err := s.c.Write(ctx, websocket.MessageText, frame.Encode(f)); err != nil {
		return fmt.Errorf("writing to the server: %w", err)
	}
	return nil
}

func (s *socket) close() { s.c.CloseNow() }

// refusedFrame is a relay's answer to hello that is no welcome.
type refusedFrame struct{ *frame.Frame }

func (r refusedFrame) Error() string {
	if r.Text != "" {
		return r.Text
	}
	return "the relay answers " + r.T + " " + r.Code
}

// enter opens a WebSocket and says hello. It returns the frames up to the welcome.
func (c *Client) enter(ctx context.Context, at string, signed bool, hello *frame.Frame) (*socket, []*frame.Frame, error) {
	s, err := c.dial(ctx, strings.Replace(at, "ws", "http", 1), signed)
	if err != nil {
		return nil, nil, err
	}
	var early []*frame.Frame
	err = s.write(hello)
	for err == nil {
		var f *frame.Frame
		if f, err = s.read(ctx); err != nil {
			break
		}
		if f.T == frame.TError || f.T == frame.TMoved {
			err = refusedFrame{f}
			break
		}
		if early = append(early, f); f.T == frame.TWelcome {
			return s, early, nil
		}
	}
	s.close()
	return nil, nil, err
}

// socketOf is the WebSocket among the endpoints of a way.
func socketOf(endpoints []frame.Endpoint) (string, error) {
	for _, e := range endpoints {
		if e.Carrier == "websocket" {
			return e.URL, nil
		}
	}
	return "", errors.New("the server offers no WebSocket")
}
