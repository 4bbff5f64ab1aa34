// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrTaken: another program has the UDP port, or this one may not have it.
	ErrTaken = errors.New("the UDP port is taken")
	// ErrFull: too many granted ports are open.
	ErrFull = errors.New("too many granted ports are open")
)

// Grant says whose a UDP port is.
type Grant struct {
	Host  string // name of the relay host that owns the port
	Port  int
	Login string
}

// Relay is what Ports asks of the relay they belong to. Its methods are called
// at the same time.
type Relay interface {
	// ServeRoom serves a connection until it is over, and closes it. The
	// context ends with the connection.
	ServeRoom(ctx context.Context, c Conn)
	// OwnOrigin reports whether pages of this origin may connect; "" is a program.
	OwnOrigin(origin string) bool
	// Bind is the address of the sockets of a host's ports; the zero and the
	// unspecified Addr mean all addresses.
	Bind(host string) netip.Addr
	// Hold keeps a grant whose port is open from being taken over. It is called
	// again every Options.HoldEvery, and must obey ctx. It logs what fails.
	Hold(ctx context.Context, g Grant)
	// Release ends a Hold, when the port has been closed.
	Release(ctx context.Context, g Grant)
}

// Options are what OpenPorts needs.
type Options struct {
	Relay     Relay
	Name      string        // host name or address in the certificate
	Dir       string        // keeps the certificates; empty: in memory only
	Idle      time.Duration // a port closes when nobody has been on it for so long
	HoldEvery time.Duration // between two calls of Relay.Hold for a port
	ResetKey  [32]byte      // of stateless resets; the same after a restart
	TokenKey  [32]byte      // of address tokens; the same after a restart
	Log       *slog.Logger  // nil: nothing is logged
}

// Ports are the granted UDP ports that are listened on. A port opens when
// somebody is about to come, and closes when nobody has been on it for a while:
// an idle grant costs no socket. The methods may be called at the same time.
type Ports struct {
	opt       Options
	certs     *certs
	admission admission
	life      context.Context // ends with Close
	end       context.CancelFunc
	owned     sync.WaitGroup // every goroutine

	mu   sync.Mutex
	open map[spot]*port // a port stays until its grant has been released
}

// spot is where a port is: a relay may have several names, each with an
// address and ports of its own.
type spot struct {
	host string
	port int
}

func (g Grant) spot() spot { return spot{g.Host, g.Port} }

// OpenPorts reads or makes the certificate of the ports, and opens none yet.
func OpenPorts(opt Options) (*Ports, error) {
	opt.Log = cmp.Or(opt.Log, slog.New(slog.DiscardHandler))
	c, err := openCerts(opt.Name, opt.Dir, time.Now())
	if err != nil {
		return nil, err
	}
	ps := &Ports{opt: opt, certs: c, open: map[spot]*port{}}
	ps.life, ps.end = context.WithCancel(context.Background())
	ps.owned.Go(ps.rotate)
	return ps, nil
}

// Hashes are the SHA-256 of the certificates, of now and of the next days, in
// base64.
func (ps *Ports) Hashes() []string { return ps.certs.hashes() }

// Listen makes sure that a grant's port is listened on. A port that is just
// being closed is opened again. The errors are ErrTaken, ErrFull, net.ErrClosed
// after Close, that of ctx, and those of the system.
func (ps *Ports) Listen(ctx context.Context, g Grant) error {
	for {
		closing, err := ps.listen(g)
		if err != nil {
			return fmt.Errorf("listening on the granted UDP port %d: %w", g.Port, err)
		}
		if closing == nil {
			return nil
		}
		select {
		case <-closing:
		case <-ctx.Done():
			return fmt.Errorf("waiting until the granted UDP port %d can be opened again: %w", g.Port, ctx.Err())
		}
	}
}

// listen opens a port, or announces the grant of an open one. If the port is
// being closed, it returns a channel that tells when its socket is gone.
func (ps *Ports) listen(g Grant) (closing <-chan struct{}, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	old := ps.open[g.spot()]
	switch {
	case ps.life.Err() != nil:
		return nil, net.ErrClosed
	case old != nil && !old.shut:
		old.grant, old.used = g, time.Now()
		return nil, nil
	case old != nil && !old.gone:
		return old.closed, nil
	case old == nil && len(ps.open) >= maxPorts:
		return nil, ErrFull
	}
	p, err := ps.start(g, old)
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("%w: %w", ErrTaken, err)
	}
	if err != nil {
		return nil, err
	}
	ps.open[p.at] = p
	return nil, nil
}

// Close closes every port and lets no other open. The connections on them end.
func (ps *Ports) Close(ctx context.Context) error {
	ps.mu.Lock()
	ps.end()
	ps.mu.Unlock()
	done := make(chan struct{})
	go func() { ps.owned.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the granted UDP ports: %w", ctx.Err())
	}
}

// rotate makes new certificates in time.
func (ps *Ports) rotate() {
	defer ps.recovered("rotating certificates")
	tick := time.NewTicker(certRecheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := ps.certs.rotate(time.Now()); err != nil {
				ps.opt.Log.Warn("the relay's certificate", "err", err)
			}
		case <-ps.life.Done():
			return
		}
	}
}

// recovered is deferred by each goroutine that serves a connection or a port: a
// panic ends that work and nothing else.
func (ps *Ports) recovered(what string) {
	if p := recover(); p != nil {
		Panicked(ps.opt.Log, what, p)
	}
}
