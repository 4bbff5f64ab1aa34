// SPDX-License-Identifier: GPL-3.0-or-later

// Package portmap asks the router of this computer's network to let UDP in from outside: by PCP (RFC 6887), by
// NAT-PMP (RFC 6886), or by UPnP, in this order.
package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/jackpal/gateway"
)

const (
	lease    = time.Hour        // asked for
	shortest = 30 * time.Second // between two renewals, whatever the router grants
	again    = time.Minute      // after the router has refused, or is silent
	endWait  = 2 * time.Second  // for the mapping to be removed at the end
)

// Mapping is a port of the router that leads to this computer.
type Mapping struct {
	By       string         // "PCP", "NAT-PMP" or "UPnP"
	External netip.AddrPort // of the router
	life     time.Duration
	remove   func(context.Context) error
}

// Keeper holds the mapping of a port. Close ends it.
type Keeper struct {
	port   int
	renew  chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// Keep asks for a mapping of a UDP port, renews it, and asks again where the router refuses. changed is told of each
// mapping that is another than the one before, and of each failure; it is called from one goroutine, with a context
// that ends with Close.
func Keep(ctx context.Context, port int, changed func(context.Context, Mapping, error)) *Keeper {
	ctx, cancel := context.WithCancel(ctx)
	k := &Keeper{port: port, renew: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go k.run(ctx, changed)
	return k
}

// Renew asks the router at once: the network may be another one.
func (k *Keeper) Renew() {
	select {
	case k.renew <- struct{}{}:
	default:
	}
}

// Port is the one that is mapped.
func (k *Keeper) Port() int { return k.port }

// Close removes the mapping and waits for that.
func (k *Keeper) Close() {
	k.cancel()
	<-k.done
}

func (k *Keeper) run(ctx context.Context, changed func(context.Context, Mapping, error)) {
	defer close(k.done)
	var last Mapping
	nonce := newNonce()
	for first := true; ; first = false {
		m, err := request(ctx, k.port, nonce)
		if ctx.Err() != nil {
			m = last
		} else if first || err != nil || m.External != last.External || m.By != last.By {
			changed(ctx, m, err)
		}
		last = m
		wait := again
		if err == nil {
			wait = max(m.life/2, shortest)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.renew:
		case <-ctx.Done():
			timer.Stop()
			if last.remove != nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
				defer cancel()
				_ = last.remove(ctx) // it runs out by itself
			}
			return
		}
		timer.Stop()
	}
}

// request asks by one protocol after the other.
func request(ctx context.Context, port int, nonce [12]byte) (Mapping, error) {
	router, err := gateway.DiscoverGateway()
	if err != nil {
		return Mapping{}, fmt.Errorf("finding the router: %w", err)
	}
	addr, ok := netip.AddrFromSlice(router)
	if !ok {
		return Mapping{}, errors.New("finding the router: it has no address")
	}
	m, err := pcp(ctx, netip.AddrPortFrom(addr.Unmap(), pcpPort), port, nonce)
	if err == nil || ctx.Err() != nil {
		return m, err
	}
	m, upnpErr := upnp(ctx, addr.Unmap(), port)
	if upnpErr == nil {
		return m, nil
	}
	return Mapping{}, fmt.Errorf("%w; %w", err, upnpErr)
}

// local is this computer's address on the way to the router.
func local(c net.Conn) netip.Addr { return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap() }
