// SPDX-License-Identifier: GPL-3.0-or-later

package outbound

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Many servers refuse mail from an IPv6 address without a reverse name that leads back.
const (
	reverseKept = time.Hour
	reverseTime = 10 * time.Second
)

// Reverse says whether mail may be sent from this machine's IPv6 address.
type Reverse struct {
	Log *slog.Logger
	// Own is the address that a connection to the world would come from; an error: none.
	Own func() (netip.Addr, error)
	// LookupAddr and LookupHost are those of a net.Resolver.
	LookupAddr func(context.Context, string) ([]string, error)
	LookupHost func(context.Context, string) ([]string, error)

	mu     sync.Mutex
	asked  time.Time
	addr   netip.Addr
	usable bool
}

// NewReverse asks the system.
func NewReverse(log *slog.Logger) *Reverse {
	return &Reverse{Log: log, Own: ownIPv6, LookupAddr: net.DefaultResolver.LookupAddr,
		LookupHost: net.DefaultResolver.LookupHost}
}

// ownIPv6 sends nothing: a UDP socket only looks for the way.
func ownIPv6() (netip.Addr, error) {
	conn, err := net.Dial("udp6", "[2001:4860:4860::8888]:53")
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

// Usable says whether IPv6 may be used. It asks once an hour, and logs what changed.
func (r *Reverse) Usable(ctx context.Context) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < reverseKept {
		return r.usable
	}
	first := r.asked.IsZero()
	r.asked = time.Now()
	addr, err := r.Own()
	if err != nil { // no way into the world over IPv6
		r.usable = false
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, reverseTime)
	defer cancel()
	reason := "it has none"
	usable := false
	names, err := r.LookupAddr(ctx, addr.String())
	if err != nil {
		reason = err.Error()
	}
	for _, name := range names[:min(len(names), 5)] {
		back, err := r.LookupHost(ctx, strings.TrimSuffix(name, "."))
		if err == nil && slices.ContainsFunc(back, func(b string) bool {
			a, err := netip.ParseAddr(b)
			return err == nil && a.Unmap() == addr
		}) {
			usable = true
			break
		}
		reason = name + " does not lead back to it"
	}
	if !usable && (first || r.usable || r.addr != addr) {
		r.Log.Error("mail leaves over IPv4 alone: the reverse name of this machine's IPv6 address is wrong",
			"ip", addr.String(), "reason", reason)
	} else if usable && !r.usable && !first {
		r.Log.Info("mail leaves over IPv6 again: its reverse name is right", "ip", addr.String())
	}
	r.addr, r.usable = addr, usable
	return usable
}
