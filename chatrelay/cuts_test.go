// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
)

// line is a connection that can be cut without a goodbye, as by a network that
// is gone.
type line struct {
	carrier.Conn
	cut func()
}

// carry goes to the relay over one carrier.
func (w *world) carry(ctx context.Context, by string, e Entry) (*line, error) {
	if by == carrier.WebSocket {
		tcp := &net.Dialer{}
		var wire net.Conn
		c, _, err := websocket.Dial(ctx, socketOf(e.Endpoints), &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(
				ctx context.Context, network, addr string) (net.Conn, error) {
				var err error
				wire, err = tcp.DialContext(ctx, network, addr)
				return wire, err
			}}}})
		if err != nil {
			return nil, err
		}
		return &line{WebSocket(c, netip.Addr{}), func() { wire.Close() }}, nil
	}
	if e.Endpoints[0].Carrier != carrier.WebTransport {
		return nil, errors.New("no granted port is open")
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: udp}
	cut := func() { udp.Close(); tr.Close() }
	var stream carrier.Stream
	var end func(string) error
	conf := pinned(e.Endpoints[0].Hashes)
	if by == carrier.QUIC {
		conf.NextProtos = []string{carrier.ALPN}
		var conn *quic.Conn
		if conn, err = tr.Dial(ctx, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: e.Endpoints[0].Port},
			conf, nil); err == nil {
			stream, err = conn.OpenStreamSync(ctx)
			end = func(reason string) error { return conn.CloseWithError(0, reason) }
		}
	} else {
		conf.NextProtos = []string{"h3"}
		wt := &webtransport.Transport{TLSClientConfig: conf,
			QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
			Config:     &webtransport.Config{MaxIncomingStreams: 4, MaxIncomingData: 1 << 20},
			DialAddr: func(ctx context.Context, addr string, conf *tls.Config, q *quic.Config) (*quic.Conn, error) {
				to, err := net.ResolveUDPAddr("udp", addr)
				if err != nil {
					return nil, err
				}
				return tr.DialEarly(ctx, to, conf, q)
			}}
		var s *webtransport.Session
		if _, s, err = wt.Dial(ctx, e.Endpoints[0].URL, http.Header{"Origin": {w.web.URL}}); err == nil {
			stream, err = s.OpenStreamSync(ctx)
			end = func(reason string) error { return s.CloseWithError(0, reason) }
		}
	}
	if err != nil {
		cut()
		return nil, err
	}
	port := e.Endpoints[0].Port
	return &line{carrier.OverStream(stream, by, port, netip.Addr{}, func(r string) error {
		err := end(r)
		time.AfterFunc(50*time.Millisecond, cut)
		return err
	}), cut}, nil
}

// talker is a client that says its messages whatever happens to its
// connections, as a page does: it keeps what is not acknowledged, and comes back
// by (epoch, offset).
type talker struct {
	w       *world
	name    string
	by      string // its carrier
	token   string
	claim   byte
	rnd     *rand.Rand
	pending map[string]bool // said, and not acknowledged
	epoch   string
	got     []chat.Message // without gaps
	cuts    int
	left    int // messages to say
}

// live talks until everything was said and heard.
func (p *talker) live(ctx context.Context, total int) error {
	for {
		done, err := p.visit(ctx, total)
		if done || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			return err
		}
		p.cuts++
	}
}

// visit is one connection, until a cut.
func (p *talker) visit(ctx context.Context, total int) (done bool, err error) {
	e, err := p.w.relay.Chat(ctx, p.token, claimOf(p.claim), Claim{})
	if err != nil {
		return false, err
	}
	l, err := p.w.carry(ctx, p.by, e)
	if err != nil {
		return false, nil // the next one finds its way
	}
	bye := p.rnd.IntN(2) == 0
	defer func() {
		if bye {
			l.Close("cut")
		} else {
			l.cut()
		}
	}()
	hello := &frame.Frame{T: frame.THello, Ticket: e.Ticket}
	if p.epoch != "" {
		hello.Epoch, hello.After = p.epoch, p.last()
	}
	if l.Write(ctx, frame.Encode(hello)) != nil {
		return false, nil
	}
	until := 1 + p.rnd.IntN(25) // frames to a cut
	for n := 0; ; n++ {
		wait, cancel := context.WithTimeout(ctx, patience)
		b, err := l.Read(wait)
		cancel()
		if err != nil {
			return false, nil
		}
		f, err := frame.Decode(b)
		if err != nil {
			return false, err
		}
		switch f.T {
		case frame.TReset:
			return false, fmt.Errorf("%s: the epoch changed", p.name)
		case frame.TError:
			return false, fmt.Errorf("%s: error %s: %s", p.name, f.Code, f.Text)
		case frame.TWelcome:
			p.epoch = f.Epoch
			if p.send(ctx, l) != nil {
				return false, nil
			}
		case frame.TMsg:
			if f.Msg.Offset != p.last()+1 {
				return false, fmt.Errorf("%s: offset %d after %d", p.name, f.Msg.Offset, p.last())
			}
			p.got = append(p.got, *f.Msg)
			delete(p.pending, f.Msg.ID)
		case frame.TAck:
			if f.Offset > p.last() {
				if f.Offset != p.last()+1 {
					return false, fmt.Errorf("%s: acknowledged at offset %d after %d", p.name, f.Offset, p.last())
				}
				p.got = append(p.got, chat.Message{Offset: f.Offset, ID: f.ID, Kind: chat.KindText, Text: f.ID})
			}
			delete(p.pending, f.ID)
			if len(p.pending) == 0 && p.send(ctx, l) != nil {
				return false, nil
			}
		}
		if p.left == 0 && len(p.pending) == 0 && p.said() == total {
			return true, nil
		}
		if n >= until && p.left > 0 { // the last visit is not cut
			return false, nil
		}
	}
}

func (p *talker) last() int64 {
	if len(p.got) == 0 {
		return 0
	}
	return p.got[len(p.got)-1].Offset
}

func (p *talker) said() (n int) {
	for _, m := range p.got {
		if m.Kind == chat.KindText {
			n++
		}
	}
	return n
}

// send says a few more messages, and what is not acknowledged again, in any
// order, some twice.
func (p *talker) send(ctx context.Context, l *line) error {
	for range min(p.left, 1+p.rnd.IntN(3)) {
		p.pending[p.name+strconv.Itoa(p.left)] = true
		p.left--
	}
	ids := slices.Collect(maps.Keys(p.pending))
	slices.Sort(ids)
	p.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var frames [][]byte
	for _, id := range ids {
		say := frame.Encode(&frame.Frame{T: frame.TSay, ID: id, Text: id})
		for range 1 + p.rnd.IntN(2) {
			frames = append(frames, say)
		}
	}
	return l.Write(ctx, frames...)
}

// Random cuts, with a goodbye or without, repetitions and reorderings: everybody
// has every message exactly once and in the same order, over each carrier.
func TestCuts(t *testing.T) {
	t.Parallel()
	for _, by := range []string{carrier.WebSocket, carrier.WebTransport, carrier.QUIC} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			w := newWorld(t, nil)
			w.relay.limiters.sayMe = limit.NewBuckets(limit.Rate{Every: 1e6, Burst: 1e6}, 10)
			const each = 250
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
			defer cancel()
			var all []*talker
			for i, token := range []string{w.token, w.cc} {
				all = append(all, &talker{w: w, name: []string{"kim", "lee"}[i], by: by,
					token: token, claim: byte(i + 1),
					rnd: rand.New(rand.NewPCG(seed, uint64(i))), pending: map[string]bool{}, left: each})
			}
			var talk sync.WaitGroup
			for _, p := range all {
				talk.Go(func() {
					if err := p.live(ctx, each*len(all)); err != nil {
						t.Errorf("%s after %d cuts: %v", p.name, p.cuts, err)
					}
				})
			}
			talk.Wait()
			order := func(p *talker) (ids []string) {
				for _, m := range p.got {
					ids = append(ids, m.ID)
				}
				return ids
			}
			first := order(all[0])
			for _, p := range all {
				t.Logf("%s: %d cuts", p.name, p.cuts)
				if ids := order(p); !slices.Equal(ids, first) || p.said() != each*len(all) ||
					len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
					t.Errorf("%s heard %d messages, said were %d: %v", p.name, p.said(), each*len(all), ids)
				}
				if p.cuts < 20 {
					t.Errorf("%s was cut only %d times", p.name, p.cuts)
				}
			}
		})
	}
}
