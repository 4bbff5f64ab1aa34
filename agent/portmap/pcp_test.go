// SPDX-License-Identifier: GPL-3.0-or-later

package portmap

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// router answers what the function returns; nil: nothing.
func router(t *testing.T, answer func(ask []byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() { // ends with the socket
		b := make([]byte, 1100)
		for {
			n, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			if a := answer(b[:n]); a != nil {
				c.WriteToUDP(a, from)
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// pcpAnswers is a router with PCP that grants another port than was suggested.
func pcpAnswers(code byte, port uint16) func([]byte) []byte {
	return func(ask []byte) []byte {
		if ask[0] != pcpVersion || len(ask) != pcpSize {
			return nil
		}
		a := append([]byte{}, ask...)
		a[1], a[3] = pcpMap|pcpAnswer, code
		binary.BigEndian.PutUint16(a[pcpHeader+18:], port)
		external := netip.MustParseAddr("::ffff:203.0.113.9").As16()
		copy(a[pcpHeader+20:], external[:])
		return a
	}
}

func pmpAnswers(ask []byte) []byte {
	switch {
	case ask[0] != 0: // RFC 6886 section 9
		return []byte{0, ask[1] | pcpAnswer, 0, notVersion, 0, 0, 0, 1}
	case ask[1] == 0:
		return []byte{0, pcpAnswer, 0, 0, 0, 0, 0, 1, 203, 0, 113, 9}
	}
	a := []byte{0, ask[1] | pcpAnswer, 0, 0, 0, 0, 0, 1}
	return append(a, ask[4:12]...)
}

// TestRouters: what routers answer, from which the mapping is read, or why there is none.
func TestRouters(t *testing.T) {
	t.Parallel()
	asked := 0
	strangers := pcpAnswers(0, 1)
	for _, c := range []struct {
		name   string
		answer func([]byte) []byte
		want   string
	}{
		{"PCP", pcpAnswers(0, 40001), "PCP 203.0.113.9:40001"},
		{"PCP refuses", pcpAnswers(2, 0), "the router refuses by PCP: not authorized"},
		{"PCP refuses strangely", pcpAnswers(99, 0), "the router refuses by PCP: code 99"},
		{"NAT-PMP", pmpAnswers, "NAT-PMP 203.0.113.9:20017"},
		{"lost twice", func(ask []byte) []byte {
			if asked++; asked < 3 {
				return nil
			}
			return pcpAnswers(0, 20017)(ask)
		}, "PCP 203.0.113.9:20017"},
		{"another's answer", func(ask []byte) []byte {
			a := strangers(ask)
			a[pcpHeader] ^= 1 // the nonce
			return a
		}, errSilent.Error()},
		{"NAT-PMP damaged", func(ask []byte) []byte {
			if a := pmpAnswers(ask); ask[0] != 0 {
				return a
			}
			return []byte{0, pcpAnswer, 0, 0}
		}, "the router's answer by NAT-PMP is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := pcp(t.Context(), router(t, c.answer), 20017, newNonce())
			got := m.By + " " + m.External.String()
			if err != nil {
				got = err.Error()
			} else if m.life != lease {
				t.Errorf("it lasts %v", m.life)
			} else if err := m.remove(t.Context()); err != nil && !strings.Contains(c.name, "lost") {
				t.Errorf("removing it: %v", err)
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	began := time.Now()
	if _, err := pcp(t.Context(), netip.MustParseAddrPort("127.0.0.1:1"), 20017, newNonce()); err != errSilent {
		t.Errorf("where nothing listens: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("where nothing listens it took %v", took)
	}
}
