// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// badPorts are the ports that browsers refuse to connect to
// (https://fetch.spec.whatwg.org/#bad-port), in ascending order.
var badPorts = []int{
	0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77,
	79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135,
	137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531,
	532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720,
	1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
	6669, 6679, 6697, 10080,
}

// BadPort says whether browsers refuse to connect to a port.
func BadPort(port int) bool {
	_, found := slices.BinarySearch(badPorts, port)
	return found
}

// Range is the UDP ports, both ends included, that a relay host grants.
type Range struct{ Lo, Hi int }

// DefaultRange is clear of the bad ports and below Linux's ephemeral range.
var DefaultRange = Range{20000, 29999}

// ParseRange reads "20000-29999", or one port.
func ParseRange(s string) (Range, error) {
	lo, hi, two := strings.Cut(s, "-")
	if !two {
		hi = lo
	}
	from, err1 := strconv.ParseUint(strings.TrimSpace(lo), 10, 16)
	to, err2 := strconv.ParseUint(strings.TrimSpace(hi), 10, 16)
	if err := errors.Join(err1, err2); err != nil {
		return Range{}, fmt.Errorf("reading port range %q: want two ports such as 20000-29999", s)
	}
	r := Range{int(from), int(to)}
	return r, r.check()
}

func (r Range) check() error {
	switch {
	case r.Lo < 1 || r.Hi > 65535:
		return fmt.Errorf("port range %s: ports are 1 to 65535", r)
	case r.Lo > r.Hi:
		return fmt.Errorf("port range %s: the first port is above the last", r)
	case len(r.bad()) == r.span():
		return fmt.Errorf("port range %s: browsers refuse every port of it", r)
	}
	return nil
}

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Lo, r.Hi) }

// Contains says whether a port of the range may be granted.
func (r Range) Contains(port int) bool {
	return r.Lo <= port && port <= r.Hi && !BadPort(port)
}

// span is the number of ports, bad ones included.
func (r Range) span() int { return r.Hi - r.Lo + 1 }

// bad lists the bad ports within the range.
func (r Range) bad() []int {
	lo, _ := slices.BinarySearch(badPorts, r.Lo)
	hi, _ := slices.BinarySearch(badPorts, r.Hi+1)
	return badPorts[lo:max(lo, hi)]
}

// first is where the search for a login's port begins: the same login tends to
// get the same port even when everything about it was lost.
func (r Range) first(login string) int {
	h := fnv.New64a()
	h.Write([]byte(login))
	return r.Lo + int(h.Sum64()%uint64(r.span()))
}

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
