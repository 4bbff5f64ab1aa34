// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/frame"
)

// script is a connection whose client sends fixed frames and hangs up.
type script struct{ frames [][]byte }

func (s *script) Read(context.Context) ([]byte, error) {
	if len(s.frames) == 0 {
		return nil, io.EOF
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	return f, nil
}
func (s *script) Write(context.Context, ...[]byte) error { return nil }
func (s *script) Close(string) error                     { return nil }
func (s *script) Carrier() string                        { return carrier.WebSocket }
func (s *script) Port() int                              { return 0 }
func (s *script) RemoteIP() netip.Addr                   { return netip.Addr{} }

// TestStrangeFramesInALiveRoom feeds a room and a device every frame with
// strange fields, in an order that no client has.
func TestStrangeFramesInALiveRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	for _, typ := range []string{"hello", "say", "typing", "seen", "attempt", "cancel", "tell", "answer", "decline",
		"away", "ping", "leave", "msg", "welcome", ""} {
		for _, rest := range []string{"", `,"offset":-9223372036854775808,"after":-1,"n":-1`,
			`,"id":"\u0000","text":"\ud800"`, `,"msg":{"offset":5},"attempt":{},"attempt_id":"x","on":true`,
			`,"offset":9223372036854775807`, `,"t":7`} {
			raw := []byte(`{"t":"` + typ + `"` + rest + `}`)
			e := w.chat(w.token, 1)
			hello := frame.Encode(&frame.Frame{T: frame.THello, Ticket: e.Ticket, After: 1 << 60})
			w.relay.ServeRoom(t.Context(), &script{frames: [][]byte{hello, raw, raw}})
		}
	}
	lee.send(frame.Frame{T: frame.TSay, ID: "l", Text: "still here"})
	lee.typ(frame.TAck)
}

// lines is a writer of what is logged.
type lines func(line string)

func (l lines) Write(b []byte) (int, error) {
	l(string(b))
	return len(b), nil
}

// FuzzRoom feeds a live room what a client might send; others go on.
func FuzzRoom(f *testing.F) {
	f.Add([]byte(`{"t":"say","id":"a","text":"x"}`), []byte(`{"t":"attempt"}`))
	f.Add([]byte(`{"t":"seen","offset":-1}`), []byte(`{"t":"tell","on":true}`))
	f.Add([]byte(`{"t":"cancel"}`), []byte{0xff})
	var panicked atomic.Pointer[string]
	w := newWorld(f, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(lines(func(line string) {
			if strings.Contains(line, "msg=panic") {
				panicked.Store(&line)
			}
		}), nil))
	})
	e := w.chat(w.token, 1)
	tk, err := openTicket(w.relay.ticketKey, e.Ticket, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	tk.Expires = time.Now().Add(24 * time.Hour).Unix()
	hello := frame.Encode(&frame.Frame{T: frame.THello, Ticket: tk.sealed(w.relay.ticketKey)})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		w.relay.ServeRoom(context.Background(), &script{frames: [][]byte{hello, one, two}})
		if p := panicked.Load(); p != nil {
			t.Fatal(*p)
		}
	})
}
