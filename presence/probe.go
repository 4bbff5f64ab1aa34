// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// ProbeUDP returns a probe that binds a UDP port of a host's address and closes
// it at once, so that a port that another program has taken is not granted.
// Hosts that are not among the addresses are probed on every address.
func ProbeUDP(addresses map[string]netip.Addr) func(host string, port int) error {
	return func(host string, port int) error {
		address := ""
		if a, ok := addresses[host]; ok {
			address = a.String()
		}
		c, err := net.ListenPacket("udp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// LocalAddresses finds which address of this machine each host name has, if
// any; names that cannot be resolved while ctx lasts have none.
func LocalAddresses(ctx context.Context, hosts []string) map[string]netip.Addr {
	found := make(map[string]netip.Addr)
	for _, host := range hosts {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			a = a.Unmap()
			// That it can be bound says that it is this machine's, 127.0.0.2 included.
			if c, err := net.ListenPacket("udp", net.JoinHostPort(a.String(), "0")); err == nil {
				_ = c.Close()
				found[host] = a
				break
			}
		}
	}
	return found
}
