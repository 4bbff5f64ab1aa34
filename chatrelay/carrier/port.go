// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
)

// port is one socket. Its keeper goroutine holds the grant while the port is
// open, so that nobody else is granted it, and closes the port when it idles.
//
// A port is open, then shut (no connection comes in any more, the socket is
// being closed), then gone (the port can be opened again), and is forgotten when
// its grant has been released.
type port struct {
	ps     *Ports
	at     spot
	before *port // was here before; its grant is released before that of this one is held
	sock   net.PacketConn
	tr     *quic.Transport
	ln     *quic.Listener
	deaf   chan struct{} // closed when no connection is accepted any more
	closed chan struct{} // closed when the socket has been closed
	done   chan struct{} // closed when the grant has been released, too

	// under Ports.mu
	grant Grant // as it was announced last; does not change once the port is shut
	conns int
	used  time.Time // when it was announced, or the last connection left
	shut  bool
	gone  bool
}

// start opens the socket of a port; Ports.mu is held.
func (ps *Ports) start(g Grant, before *port) (*port, error) {
	addr := ""
	if b := ps.opt.Relay.Bind(g.Host); b.IsValid() && !b.IsUnspecified() {
		addr = b.String()
	}
	sock, err := net.ListenPacket("udp", net.JoinHostPort(addr, strconv.Itoa(g.Port)))
	if err != nil {
		return nil, err
	}
	p := &port{ps: ps, at: g.spot(), before: before, grant: g, sock: sock, used: time.Now(),
		deaf: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
		tr: &quic.Transport{Conn: sock, VerifySourceAddress: ps.admission.verify, ConnContext: ps.admission.enter,
			StatelessResetKey: (*quic.StatelessResetKey)(&ps.opt.ResetKey),
			TokenGeneratorKey: (*quic.TokenGeneratorKey)(&ps.opt.TokenKey)}}
	p.ln, err = p.tr.Listen(&tls.Config{
		GetCertificate: ps.certs.get,
		NextProtos:     []string{alpnH3, ALPN},
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
		return nil, errors.Join(err, sock.Close())
	}
	Counted.Listens(1)
	ps.owned.Go(p.accept)
	ps.owned.Go(p.keep)
	return p, nil
}

// accept lets connections in until the listener is closed, or fails.
func (p *port) accept() {
	defer close(p.deaf)
	defer safely.Recover(p.ps.opt.Log, "accepting connections")
	for {
		c, err := p.ln.Accept(context.Background())
		if err != nil {
			if !errors.Is(err, quic.ErrServerClosed) {
				p.warn("accepting connections", err)
			}
			return
		}
		p.serve(c)
	}
}

// serve hands a connection to the protocol that it asked for.
func (p *port) serve(c *quic.Conn) {
	settled(c.Context())
	if !p.enter() {
		c.CloseWithError(0, "shutdown")
		return
	}
	p.ps.owned.Go(func() {
		defer p.leave()
		defer safely.Recover(p.ps.opt.Log, "a QUIC connection")
		if c.ConnectionState().TLS.NegotiatedProtocol == ALPN {
			p.serveQUIC(c)
		} else {
			p.serveWebTransport(c)
		}
	})
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
	p.ps.opt.Relay.ServeRoom(c.Context(), newStreamConn(s, QUIC, p.at.port, addrOf(c.RemoteAddr()), end))
	linger(c, CloseWait/2) // the last frame is on its way
}

func addrOf(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// enter counts a connection in; false: the port is shut.
func (p *port) enter() bool {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	if !p.shut {
		p.conns++
	}
	return !p.shut
}

func (p *port) leave() {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	p.conns--
	p.used = time.Now()
}

// keep holds the grant of the port until the port is shut, then closes the port
// and releases the grant.
func (p *port) keep() {
	defer p.forget()
	defer safely.Recover(p.ps.opt.Log, "keeping a granted port")
	if p.before != nil {
		<-p.before.done // a Release after our Hold would undo it
		p.before = nil
	}
	tick := time.NewTicker(min(p.ps.opt.HoldEvery, p.ps.opt.Idle))
	defer tick.Stop()
	for {
		g, shut := p.shutIfIdle()
		if shut {
			break
		}
		p.call(p.ps.life, "holding a granted port", g, p.ps.opt.Relay.Hold)
		select {
		case <-tick.C:
		case <-p.deaf:
		case <-p.ps.life.Done():
		}
	}
	p.close()
	p.call(context.Background(), "releasing a granted port", p.grant, p.ps.opt.Relay.Release)
}

// forget makes room for another port.
func (p *port) forget() {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	if p.ps.open[p.at] == p {
		delete(p.ps.open, p.at)
	}
	close(p.done)
}

// shutIfIdle shuts the port if nobody uses it, or nobody can.
func (p *port) shutIfIdle() (Grant, bool) {
	p.ps.mu.Lock()
	defer p.ps.mu.Unlock()
	idle := p.conns == 0 && time.Since(p.used) >= p.ps.opt.Idle
	select {
	case <-p.deaf:
		idle = true
	case <-p.ps.life.Done():
		idle = true
	default:
	}
	p.shut = idle
	return p.grant, p.shut
}

// call holds or releases a grant. Whatever fails there changes nothing here.
func (p *port) call(ctx context.Context, what string, g Grant, do func(context.Context, Grant)) {
	defer safely.Recover(p.ps.opt.Log, what)
	ctx, cancel := context.WithTimeout(ctx, holdWait)
	defer cancel()
	do(ctx, g)
}

// close closes the socket and the connections on it. Then the port can be opened
// again.
func (p *port) close() {
	defer func() {
		Counted.Listens(-1)
		p.ps.mu.Lock()
		defer p.ps.mu.Unlock()
		p.gone = true
		close(p.closed)
	}()
	defer safely.Recover(p.ps.opt.Log, "closing a granted port")
	if err := errors.Join(p.ln.Close(), p.tr.Close(), p.sock.Close()); err != nil {
		p.warn("closing a granted port", err)
	}
}

func (p *port) warn(what string, err error) {
	p.ps.opt.Log.Warn(what, "port", p.at.port, "host", p.at.host, "err", err)
}
