// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// notPublic are nets that a push service is never in, besides those that
// netip.Addr tells: an endpoint there is somebody's try to make this server
// call its own neighbours.
var notPublic = prefixes(
	"0.0.0.0/8",       // this host, RFC 791
	"100.64.0.0/10",   // carrier-grade NAT, RFC 6598
	"192.0.0.0/24",    // protocol assignments, RFC 6890
	"192.0.2.0/24",    // documentation, RFC 5737
	"192.88.99.0/24",  // 6to4 relays, RFC 7526
	"198.18.0.0/15",   // benchmarks, RFC 2544
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved, and broadcast
	"::/96",           // IPv4-compatible, RFC 4291
	"64:ff9b::/96",    // NAT64: an IPv4 address within, RFC 6052
	"64:ff9b:1::/48",  // NAT64, RFC 8215
	"100::/64",        // discard, RFC 6666
	"2001::/23",       // Teredo and other assignments, RFC 2928
	"2001:db8::/32",   // documentation, RFC 3849
	"2002::/16",       // 6to4: an IPv4 address within, RFC 3056
	"3fff::/20",       // documentation, RFC 9637
	"fec0::/10",       // site-local, RFC 3879
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// public says whether a push service can be at addr.
func public(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// control is asked before each connection, when the name has been resolved:
// whatever the name's owner answers later, this address is the one used.
func control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !public(ap.Addr()) || ap.Port() != 443 {
		return fmt.Errorf("%w: %s", ErrAddress, address)
	}
	return nil
}

// newClient returns a client that talks to push services and to nobody else.
func newClient(conf *tls.Config, anywhere bool) *http.Client {
	dialer := &net.Dialer{Timeout: sendTimeout / 2}
	if !anywhere {
		dialer.Control = control
	}
	return &http.Client{
		Timeout: sendTimeout,
		// A redirect is an answer like another; it is not followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no Proxy: it would dial in our stead
			DialContext:            dialer.DialContext,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    sendTimeout / 2,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           4 * senders,
			MaxConnsPerHost:        senders,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true,
		},
	}
}

// permanent says whether trying again cannot help.
func permanent(err error) bool { return errors.Is(err, ErrAddress) }
