// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"fmt"
	"hash/fnv"
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
	case len(r.Bad()) == r.Span():
		return fmt.Errorf("port range %s: browsers refuse every port of it", r)
	}
	return nil
}

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Lo, r.Hi) }

// Contains says whether a port of the range may be granted.
func (r Range) Contains(port int) bool {
	return r.Lo <= port && port <= r.Hi && !BadPort(port)
}

// Span is the number of ports, bad ones included.
func (r Range) Span() int { return r.Hi - r.Lo + 1 }

// Bad lists the bad ports within the range.
func (r Range) Bad() []int {
	lo, _ := slices.BinarySearch(badPorts, r.Lo)
	hi, _ := slices.BinarySearch(badPorts, r.Hi+1)
	return badPorts[lo:max(lo, hi)]
}

// First is where the search for a login's port begins: the same login tends to
// get the same port even when everything about it was lost.
func (r Range) First(login string) int {
	h := fnv.New64a()
	h.Write([]byte(login))
	return r.Lo + int(h.Sum64()%uint64(r.Span()))
}

// HostRange is the ports that are granted on one host name.
type HostRange struct {
	Host  string
	Range Range // zero means DefaultRange
}

// HostRanges is what a process grants, the ports of its primary host in front.
type HostRanges []HostRange

// Check returns the ranges with host names in lower case and ranges in full, or
// what is wrong with them. A host name has one range.
func (h HostRanges) Check() (HostRanges, error) {
	checked := make(HostRanges, len(h))
	for i, r := range h {
		r.Host = strings.ToLower(r.Host)
		if r.Host == "" || len(r.Host) > maxHost || strings.ContainsAny(r.Host, "{} \t\r\n") {
			return nil, fmt.Errorf("host %q is not a host name", r.Host)
		}
		if r.Range == (Range{}) {
			r.Range = DefaultRange
		}
		if err := r.Range.check(); err != nil {
			return nil, err
		}
		if checked[:i].Has(r.Host) {
			return nil, fmt.Errorf("host %s has two ranges", r.Host)
		}
		checked[i] = r
	}
	return checked, nil
}

// maxHost bounds a host name in bytes.
const maxHost = 255

// Has says whether a host name is among them.
func (h HostRanges) Has(host string) bool {
	return slices.ContainsFunc(h, func(r HostRange) bool { return strings.EqualFold(r.Host, host) })
}

// Contains says whether a port of a host may be granted.
func (h HostRanges) Contains(host string, port int) bool {
	return slices.ContainsFunc(h, func(r HostRange) bool {
		return strings.EqualFold(r.Host, host) && r.Range.Contains(port)
	})
}

func (h HostRanges) String() string {
	texts := make([]string, len(h))
	for i, r := range h {
		texts[i] = r.Host + " " + r.Range.String()
	}
	return strings.Join(texts, ", ")
}
