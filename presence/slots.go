// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"slices"
	"strings"
)

// slots numbers the ports of a process' hosts from 0, range after range.
type slots []HostRange

func (s slots) len() (n int) {
	for _, r := range s {
		n += r.Range.span()
	}
	return n
}

func (s slots) has(host string) bool {
	return slices.ContainsFunc(s, func(r HostRange) bool { return strings.EqualFold(r.Host, host) })
}

// of returns the slot of a port that may be granted.
func (s slots) of(host string, port int) (slot int, ok bool) {
	for _, r := range s {
		if strings.EqualFold(r.Host, host) {
			return slot + port - r.Range.Lo, r.Range.Contains(port)
		}
		slot += r.Range.span()
	}
	return 0, false
}

// place is the host and port of a slot.
func (s slots) place(slot int) (host string, port int) {
	for _, r := range s {
		if slot < r.Range.span() {
			return r.Host, r.Range.Lo + slot
		}
		slot -= r.Range.span()
	}
	panic("presence: no such slot")
}

func (s slots) String() string {
	texts := make([]string, len(s))
	for i, r := range s {
		texts[i] = r.Host + " " + r.Range.String()
	}
	return strings.Join(texts, ", ")
}

// byPort returns the first grants by port and host, at most limit, each once.
func byPort(gs []Grant, limit int) []Grant {
	order := func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Host, b.Host))
	}
	slices.SortFunc(gs, order)
	gs = slices.CompactFunc(gs, func(a, b Grant) bool { return order(a, b) == 0 })
	return gs[:min(max(0, limit), len(gs))]
}
