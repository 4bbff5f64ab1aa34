// SPDX-License-Identifier: GPL-3.0-or-later

package limit

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Proxies are the addresses of proxies whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

// Trusts says whether an address is a proxy's.
func (p Proxies) Trusts(ip netip.Addr) bool {
	return slices.ContainsFunc(p, func(one netip.Prefix) bool { return one.Contains(ip) })
}

// Client is who sends a request: the connection's address or, when that is a trusted
// proxy, the last address of X-Forwarded-For that is not one.
func (p Proxies) Client(r *http.Request) netip.Addr {
	ip := AddrOf(r.RemoteAddr)
	if !p.Trusts(ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break // what stands before it may be the client's invention
		}
		if ip = hop.Unmap().WithZone(""); !p.Trusts(ip) {
			break
		}
	}
	return ip
}

// AddrOf reads the address of "host:port"; the zero Addr if there is none.
func AddrOf(hostport string) netip.Addr {
	at, _ := netip.ParseAddrPort(hostport)
	return at.Addr().Unmap().WithZone("")
}

// WaitOf takes a token of a client's prefix. This machine has no bucket: it may be a
// proxy nobody told of, and stand for everybody.
func (b *Buckets) WaitOf(ip netip.Addr) time.Duration {
	if ip.IsLoopback() {
		return 0
	}
	return b.Wait(Prefix(ip).String())
}
