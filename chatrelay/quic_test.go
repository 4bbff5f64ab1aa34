// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"net/http"
	"net/netip"
	"strconv"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chmail/chmail/chatrelay/frame"
)

// A program without a browser talks plain QUIC on the granted port.
func TestPlainQUIC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	conf := pinned(e.Endpoints[0].Hashes)
	conf.NextProtos = []string{alpnChat}
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
	kim := &client{t: t, c: newStreamConn(stream, CarrierQUIC, e.Endpoints[0].Port, netip.Addr{}, end), ctx: t.Context()}
	kim.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	if f := kim.typ(frame.TWelcome); f.Carrier != CarrierQUIC || f.Port != e.Endpoints[0].Port {
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
