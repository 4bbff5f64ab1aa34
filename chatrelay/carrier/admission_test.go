// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// TestAdmission: an address prefix has its own count, this machine has none, and
// while many clients come, each must prove its address first.
func TestAdmission(t *testing.T) {
	t.Parallel()
	var d admission
	from := func(a string) net.Addr { return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 7)) }
	var leave []context.CancelFunc
	come := func(a string) error {
		ctx, cancel := context.WithCancel(t.Context())
		leave = append(leave, cancel)
		ctx, err := d.enter(ctx, &quic.ClientInfo{RemoteAddr: from(a)})
		if err == nil {
			settled(ctx)
		}
		return err
	}
	for i := range maxPrefixConns {
		if err := come(fmt.Sprintf("2001:db8::%x", i)); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if err := come("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := come("2001:db8::ffff"); !errors.Is(err, errCrowd) {
		t.Errorf("one too many of a prefix: %v", err)
	}
	for _, other := range []string{"2001:db8:0:1::1", "192.0.2.1", "127.0.0.1"} {
		if err := come(other); err != nil || d.verify(from(other)) {
			t.Errorf("%s suffers for others: %v", other, err)
		}
	}
	for _, l := range leave {
		l()
	}
	count := func() (n int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, c := range d.of {
			n += c.conns
		}
		return n + d.opening
	}
	for end := time.Now().Add(patience); count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are still counted", count())
		}
	}
	for d.opening = range retryFrom + 1 {
	}
	if !d.verify(from("192.0.2.9")) {
		t.Error("nobody has to prove an address")
	}
	d.opening = 0
	for i := range maxPrefixes + 10 { // the table is bounded
		p, _ := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).Prefix(32)
		if d.prefixCount(p) == nil || len(d.of) > maxPrefixes {
			t.Fatalf("%d prefixes, %d counted", i, len(d.of))
		}
	}
}
