// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/chmail/chmail/guard/limit"
)

// errCrowd: too many connections of one address prefix.
var errCrowd = errors.New("too many connections from there")

// admission counts the connections that come in at all granted ports by their
// address prefix (limit.Remote). While many come at once, newcomers must prove
// that they are where they say (QUIC Retry, RFC 9000 section 8.1.2): it costs
// them a round trip, and keeps out an attacker with forged addresses. Connections
// from this machine are not counted: a proxy may stand for anybody.
type admission struct {
	mu      sync.Mutex
	opening int // handshakes under way
	recent  *rate.Limiter
	of      map[netip.Prefix]*prefixCount
}

// prefixCount counts one prefix.
type prefixCount struct {
	conns int
	rate  *rate.Limiter
}

// verify is for quic.Transport.VerifySourceAddress: whether a newcomer must prove
// its address.
func (d *admission) verify(from net.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent == nil {
		d.recent = rate.NewLimiter(retryRate, retryRate)
	}
	c := d.of[limit.Remote(addrOf(from))]
	if d.recent.Allow() && d.opening < retryFrom && (c == nil || c.rate.Tokens() >= 1) {
		return false
	}
	Counted.Retried()
	return true
}

type entrantKey struct{}

// entrant is a connection whose handshake is under way.
type entrant struct {
	d       *admission
	settled bool // under admission.mu
}

// enter is for quic.Transport.ConnContext: it counts a connection in, and out
// when its context ends, or refuses it.
func (d *admission) enter(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	p := limit.Remote(addrOf(info.RemoteAddr))
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.prefixCount(p)
	if c != nil && (c.conns >= maxPrefixConns || !c.rate.Allow()) {
		Counted.Refused("prefix")
		return nil, errCrowd
	}
	if c != nil {
		c.conns++
	}
	d.opening++
	e := &entrant{d: d}
	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		e.settle()
		if c != nil {
			c.conns--
		}
	})
	return context.WithValue(ctx, entrantKey{}, e), nil
}

// prefixCount returns the count of a prefix; nil: the prefix is not counted. When
// the table is full, a prefix without connections is forgotten.
func (d *admission) prefixCount(p netip.Prefix) *prefixCount {
	if !p.IsValid() {
		return nil
	}
	if c := d.of[p]; c != nil {
		return c
	}
	if d.of == nil {
		d.of = map[netip.Prefix]*prefixCount{}
	}
	if len(d.of) >= maxPrefixes {
		tries := 64
		for old, c := range d.of {
			if tries--; tries < 0 {
				return nil
			}
			if c.conns == 0 {
				delete(d.of, old)
				break
			}
		}
	}
	c := &prefixCount{rate: rate.NewLimiter(prefixRate, prefixBurst)}
	d.of[p] = c
	return c
}

// settled notes that a connection's handshake is over.
func settled(ctx context.Context) {
	if e, ok := ctx.Value(entrantKey{}).(*entrant); ok {
		e.d.mu.Lock()
		defer e.d.mu.Unlock()
		e.settle()
	}
}

// settle is called with admission.mu held.
func (e *entrant) settle() {
	if !e.settled {
		e.settled = true
		e.d.opening--
	}
}
