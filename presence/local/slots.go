// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"strings"

	"github.com/chmail/chmail/presence"
)

// slots numbers the ports of the hosts from 0, range after range.
type slots presence.HostRanges

func (s slots) len() (n int) {
	for _, r := range s {
		n += r.Range.Span()
	}
	return n
}

// of returns the slot of a port that may be granted.
func (s slots) of(host string, port int) (slot int, ok bool) {
	for _, r := range s {
		if strings.EqualFold(r.Host, host) {
			return slot + port - r.Range.Lo, r.Range.Contains(port)
		}
		slot += r.Range.Span()
	}
	return 0, false
}

// place is the host and port of a slot.
func (s slots) place(slot int) (host string, port int) {
	for _, r := range s {
		if slot < r.Range.Span() {
			return r.Host, r.Range.Lo + slot
		}
		slot -= r.Range.Span()
	}
	panic("presence: no such slot")
}
