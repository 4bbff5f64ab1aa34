// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// TestGarbage: 20,000 packets a second that mean nothing, some of which look
// like QUIC, do not disturb a chat on the same port.
func TestGarbage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	kim := w.webTransport(e)
	kim.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	kim.typ(frame.TWelcome)
	to, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", e.Endpoints[0].Port))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	const rate, span = 20000, 4 * time.Second
	stop, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		dice, n := rand.NewChaCha8([32]byte{1}), 0
		b := make([]byte, 1252)
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			for due := int(time.Since(began).Seconds() * rate); n < due; n++ {
				select {
				case <-stop:
					sent <- n
					return
				default:
				}
				p := b[:20+n*37%1232]
				dice.Read(p[:20])
				switch n % 4 {
				case 0: // a short header, of no connection here
					p[0] = 0x40 | p[0]&0x3f
				case 1: // an Initial packet of version 1 that cannot be decrypted
					p = b
					copy(p, "\xc0\x00\x00\x00\x01\x08")
				case 2: // a version that nobody knows
					p[0] |= 0xc0
				}
				to.Write(p) // what the system drops is dropped
			}
		}
	}()
	var took []time.Duration
	for began := time.Now(); time.Since(began) < span; {
		at := time.Now()
		kim.send(frame.Frame{T: frame.TSay, ID: fmt.Sprint(len(took)), Text: "still there?"})
		kim.until("ack", func(f *frame.Frame) bool { return f.T == frame.TAck && f.ID == fmt.Sprint(len(took)) })
		took = append(took, time.Since(at))
		time.Sleep(100*time.Millisecond - min(time.Since(at), 90*time.Millisecond)) // within the rate limit
	}
	close(stop)
	slices.Sort(took)
	t.Logf("%d packets, %d messages: median %v, longest %v", <-sent, len(took), took[len(took)/2], took[len(took)-1])
	if len(took) < 4 || took[len(took)*9/10] > 3*time.Second {
		t.Errorf("%d messages, longest %v", len(took), took[len(took)-1])
	}
	// And newcomers still get in.
	again := w.chat(w.cc, 2)
	lee := w.webTransport(again)
	lee.send(frame.Frame{T: frame.THello, Ticket: again.Ticket})
	lee.typ(frame.TWelcome)
}

// TestSlowReader: who does not read is told that they are behind and dropped;
// they come back and have everything once and in order. The others go on.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, by := range []string{carrier.WebSocket, carrier.WebTransport, carrier.QUIC} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
			defer cancel()
			come := func(hello frame.Frame) *client {
				e := w.chat(w.token, 1)
				c, err := w.carry(ctx, by, e)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.cut)
				kim := &client{t: t, c: c, ctx: ctx}
				hello.T, hello.Ticket = frame.THello, e.Ticket
				kim.send(hello)
				return kim
			}
			kim := come(frame.Frame{})
			epoch := kim.typ(frame.TWelcome).Epoch
			kim.typ(frame.TPeople)
			stop := make(chan struct{})
			var alive sync.WaitGroup
			alive.Go(func() {
				for {
					select {
					case <-time.After(frame.PingEvery):
						kim.c.Write(ctx, frame.Encode(&frame.Frame{T: frame.TPing}))
					case <-stop:
						return
					}
				}
			})
			// A flood by others, until it is more than the queue and the network take,
			// while nobody reads.
			n := int64(0)
			h := w.relay.use(w.room, nil)
			defer h.leave()
			for here := true; here; {
				if n > 100*carrier.QueueFrames {
					t.Fatal("who does not read was not dropped")
				}
				var wg sync.WaitGroup
				for p := range 8 {
					wg.Go(func() {
						for i := range carrier.QueueFrames / 8 {
							m := chat.Message{ID: fmt.Sprint(n, p, i), Kind: chat.KindNote,
								Text: strings.Repeat("x", 4000)}
							if _, err := w.rooms.Append(ctx, "", w.room, m); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				n += carrier.QueueFrames
				if !h.do(func() {
					h.catchUp()
					here = false
					for s := range h.sessions {
						here = here || !s.out.Ended()
					}
				}) {
					t.Fatal("the room has ended")
				}
			}
			last := int64(1) // the mail that opened the room
			behind := false
			for read := time.Now(); !behind; {
				b, err := kim.c.Read(ctx)
				if err != nil && by != carrier.WebSocket {
					break // the end of a QUIC connection may overtake what was not read
				}
				if err != nil {
					t.Fatalf("after %v and offset %d: %v", time.Since(read), last, err)
				}
				f, err := frame.Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if f.T == frame.TMsg {
					if f.Msg.Offset != last+1 {
						t.Fatalf("offset %d after %d", f.Msg.Offset, last)
					}
					last = f.Msg.Offset
				}
				behind = f.T == frame.TError && f.Code == frame.ErrBehind
			}
			close(stop)
			alive.Wait()
			kim = come(frame.Frame{Epoch: epoch, After: last})
			for last < n+1 {
				f := kim.until("a message", func(f *frame.Frame) bool {
					return f.T == frame.TMsg || f.T == frame.TReset
				})
				if f.T == frame.TReset || f.Msg.Offset != last+1 {
					t.Fatalf("%s, %+v after offset %d", f.T, f.Msg, last)
				}
				last = f.Msg.Offset
			}
		})
	}
}
