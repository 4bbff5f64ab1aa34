// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

const (
	chatPath = "/chat"
	alpnChat = "chmail/1" // frames on the first stream of a plain QUIC connection
	alpnH3   = "h3"       // WebTransport
)

var errPorts = errors.New("too many granted ports are open")

// ports are the granted UDP ports that are listened on. A port opens when
// somebody is about to come, and closes when nobody has been on it for a
// while: an idle grant costs no socket.
type ports struct {
	r         *Relay
	resetKey  quic.StatelessResetKey
	tokenKey  quic.TokenGeneratorKey
	admission admission
	mu        sync.Mutex
	open      map[spot]*port
	closed    bool
}

// spot is where a port is: a relay may have several names, each with an
// address and ports of its own.
type spot struct {
	host string
	port int
}

func spotOf(g presence.Grant) spot { return spot{g.Host, g.Port} }

// port is one socket. Its keeper goroutine holds the grant while the port is
// open, so that nobody else is granted it, and closes it when it idles.
type port struct {
	ps   *ports
	at   spot
	sock net.PacketConn
	tr   *quic.Transport
	ln   *quic.Listener
	quit chan struct{} // closed by shut
	done chan struct{} // closed when the keeper has ended

	// under ports.mu
	grant presence.Grant // as it was announced last
	conns int
	used  time.Time // when it was announced, or the last one left
}

// listen makes sure that a grant's port is listened on.
func (ps *ports) listen(g presence.Grant) error {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return net.ErrClosed
	}
	if p := ps.open[spotOf(g)]; p != nil {
		p.grant, p.used = g, time.Now()
		return nil
	}
	if len(ps.open) >= maxPorts {
		return errPorts
	}
	p, err := ps.start(g)
	if err != nil {
		return fmt.Errorf("listening on the granted UDP port %d: %w", g.Port, err)
	}
	ps.open[spotOf(g)] = p
	portsOpen.Inc()
	return nil
}

func (ps *ports) start(g presence.Grant) (*port, error) {
	addr := ""
	if b := ps.r.bind(g.Host); b.IsValid() && !b.IsUnspecified() {
		addr = b.String()
	}
	sock, err := net.ListenPacket("udp", net.JoinHostPort(addr, strconv.Itoa(g.Port)))
	if err != nil {
		return nil, err
	}
	p := &port{ps: ps, at: spotOf(g), grant: g, sock: sock, used: time.Now(), quit: make(chan struct{}), done: make(chan struct{}),
		tr: &quic.Transport{Conn: sock, StatelessResetKey: &ps.resetKey, TokenGeneratorKey: &ps.tokenKey,
			VerifySourceAddress: ps.admission.verify, ConnContext: ps.admission.enter}}
	p.ln, err = p.tr.Listen(&tls.Config{
		GetCertificate: ps.r.certs.get,
		NextProtos:     []string{alpnH3, alpnChat},
		MinVersion:     tls.VersionTLS13,
	}, &quic.Config{
		HandshakeIdleTimeout:             quicHandshake,
		MaxIdleTimeout:                   quicIdle,
		InitialStreamReceiveWindow:       frame.MaxFrame,
		MaxStreamReceiveWindow:           4 * frame.MaxFrame,
		InitialConnectionReceiveWindow:   2 * frame.MaxFrame,
		MaxConnectionReceiveWindow:       8 * frame.MaxFrame,
		MaxIncomingStreams:               4, // WebTransport needs two
		MaxIncomingUniStreams:            8, // HTTP/3 needs three
		EnableDatagrams:                  true,
		EnableStreamResetPartialDelivery: true,
	})
	if err != nil {
		sock.Close()
		return nil, err
	}
	ps.r.owned.Go(p.accept)
	ps.r.owned.Go(p.keep)
	return p, nil
}

// accept hands each connection to the protocol it asked for.
func (p *port) accept() {
	for {
		c, err := p.ln.Accept(context.Background())
		if err != nil {
			return // the listener was closed
		}
		settled(c.Context())
		if !p.enter() {
			c.CloseWithError(0, "shutdown")
			continue
		}
		p.ps.r.owned.Go(func() {
			defer p.leave()
			defer p.ps.r.recovered("a QUIC connection")
			if c.ConnectionState().TLS.NegotiatedProtocol == alpnChat {
				p.serveQUIC(c)
			} else {
				p.serveWebTransport(c)
			}
		})
	}
}

func (p *port) serveQUIC(c *quic.Conn) {
	end := func(reason string) error { return c.CloseWithError(0, reason) }
	defer end("over")
	ctx, cancel := context.WithTimeout(c.Context(), frame.HelloWait)
	defer cancel()
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return
	}
	sc := newStreamConn(s, CarrierQUIC, p.at.port, addrOf(c.RemoteAddr()), end)
	p.ps.r.ServeRoom(c.Context(), sc)
	<-time.After(closeWait / 2) // the last frame is on its way
}

func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

func (p *port) enter() bool {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	if p.ps.closed || p.ps.open[p.at] != p {
		return false
	}
	p.conns++
	return true
}

func (p *port) leave() {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	p.conns--
	p.used = time.Now()
}

// keep holds the grant every heartbeat, and shuts the port when it has idled.
func (p *port) keep() {
	defer close(p.done)
	tick := time.NewTicker(min(presence.HeartbeatEvery, p.ps.r.opt.PortIdle))
	defer tick.Stop()
	for {
		p.ps.mu.Lock()
		grant := p.grant
		idle := p.conns == 0 && time.Since(p.used) >= p.ps.r.opt.PortIdle
		p.ps.mu.Unlock()
		if idle {
			p.ps.shut(p)
		} else {
			p.hold(grant, true)
		}
		select {
		case <-tick.C:
		case <-p.quit:
			p.hold(grant, false)
			return
		}
	}
}

// hold renews or releases the grant. Presence failing changes nothing here.
func (p *port) hold(g presence.Grant, on bool) {
	ctx, cancel := context.WithTimeout(context.Background(), presenceWait)
	defer cancel()
	do, what := p.ps.r.opt.Presence.Hold, "holding"
	if !on {
		do, what = p.ps.r.opt.Presence.Release, "releasing"
	}
	if err := do(ctx, g); err != nil {
		p.ps.r.failed(what+" a granted port", err, "port", g.Port, "login", g.Login)
	}
}

// shut closes a port, if nobody has come to it since.
func (ps *ports) shut(p *port) {
	ps.mu.Lock()
	if ps.open[p.at] != p || p.conns > 0 && !ps.closed {
		ps.mu.Unlock()
		return
	}
	delete(ps.open, p.at)
	close(p.quit)
	ps.mu.Unlock()
	portsOpen.Dec()
	p.ln.Close()
	p.tr.Close()
	p.sock.Close()
}

// close shuts every port and lets no other open.
func (ps *ports) close() {
	ps.mu.Lock()
	ps.closed = true
	var all []*port
	for _, p := range ps.open {
		all = append(all, p)
	}
	ps.mu.Unlock()
	for _, p := range all {
		ps.shut(p)
		<-p.done
	}
}
