// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/frame"
)

// A program without a browser talks plain QUIC on the granted port.
func TestPlainQUIC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	conf := pinned(e.Endpoints[0].Hashes)
	conf.NextProtos = []string{carrier.ALPN}
	conn, err := quic.DialAddr(t.Context(), "127.0.0.1:"+strconv.Itoa(e.Endpoints[0].Port), conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "test") })
	stream, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end := func(reason string) error { return conn.CloseWithError(0, reason) }
	over := carrier.OverStream(stream, carrier.QUIC, e.Endpoints[0].Port, netip.Addr{}, end)
	kim := &client{t: t, c: over, ctx: t.Context()}
	kim.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	if f := kim.typ(frame.TWelcome); f.Carrier != carrier.QUIC || f.Port != e.Endpoints[0].Port {
		t.Errorf("welcome over %s, port %d", f.Carrier, f.Port)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "q", Text: "over plain QUIC"})
	kim.typ(frame.TAck)
}

// A page of another site cannot use somebody's ticket on a granted port.
func TestForeignOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	conf := pinned(e.Endpoints[0].Hashes)
	conf.NextProtos = []string{"h3"}
	tr := &webtransport.Transport{TLSClientConfig: conf,
		QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
		Config:     &webtransport.Config{MaxIncomingStreams: 4, MaxIncomingData: 1 << 20}}
	t.Cleanup(func() { tr.Close() })
	res, _, err := tr.Dial(t.Context(), e.Endpoints[0].URL, http.Header{"Origin": {"https://evil.example"}})
	if err == nil {
		t.Fatal("a foreign origin was let in")
	}
	if res != nil && res.StatusCode/100 == 2 {
		t.Errorf("a foreign origin got %s", res.Status)
	}
}

// A program whose machine changes its network, from Wi-Fi to mobile, takes its
// QUIC connection along (RFC 9000 section 9): the room does not notice.
func TestQUICMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	network := func() (*quic.Transport, *radio) {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close() })
		r := &radio{PacketConn: udp}
		return &quic.Transport{Conn: r}, r
	}
	wifi, reach := network()
	mobile, _ := network()
	conf := pinned(e.Endpoints[0].Hashes)
	conf.NextProtos = []string{carrier.ALPN}
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: e.Endpoints[0].Port}
	conn, err := wifi.Dial(t.Context(), to, conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end := func(reason string) error { return conn.CloseWithError(0, reason) }
	over := carrier.OverStream(stream, carrier.QUIC, e.Endpoints[0].Port, netip.Addr{}, end)
	kim := &client{t: t, c: over, ctx: t.Context()}
	t.Cleanup(func() { kim.c.Close("test") })
	kim.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	kim.typ(frame.TWelcome)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.until("Lee", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 2 })

	path, err := conn.AddPath(mobile)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := path.Switch(); err != nil {
		t.Fatal(err)
	}
	reach.lost.Store(true)
	kim.send(frame.Frame{T: frame.TSay, ID: "m", Text: "on the bus"})
	kim.typ(frame.TAck)
	lee.text("on the bus")
	lee.send(frame.Frame{T: frame.TSay, ID: "l", Text: "have a good way"})
	kim.text("have a good way")
	for _, f := range lee.seen {
		if f.T == frame.TPeople && len(f.Here) != 2 {
			t.Errorf("Kim seemed to leave: %v", f.Here)
		}
	}
}

// radio is a network that can be lost: nothing goes out or comes in any more,
// and nobody says so.
type radio struct {
	net.PacketConn
	lost atomic.Bool
}

func (r *radio) WriteTo(b []byte, to net.Addr) (int, error) {
	if r.lost.Load() {
		return len(b), nil
	}
	return r.PacketConn.WriteTo(b, to)
}

func (r *radio) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.PacketConn.ReadFrom(b)
		if err != nil || !r.lost.Load() {
			return n, from, err
		}
	}
}
