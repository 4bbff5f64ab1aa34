// SPDX-License-Identifier: GPL-3.0-or-later

package portmap

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	pcpPort    = 5351 // of PCP and of NAT-PMP
	pcpVersion = 2
	pcpMap     = 1   // opcode of PCP (RFC 6887 section 19.1), and of NAT-PMP for UDP
	pcpAnswer  = 128 // is added to the opcode
	udp        = 17
	pcpHeader  = 24 // octets
	pcpSize    = 60 // of a MAP request or response without options

	notVersion = 1 // result code of both: another version of the protocol is spoken there
)

// pcpTries are for how long each try waits for an answer (RFC 6886 section 3.1).
var pcpTries = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// pcpResults are the result codes of RFC 6887 section 7.4 that a router may answer.
var pcpResults = map[byte]string{2: "not authorized", 3: "malformed request", 4: "unsupported opcode",
	7: "network failure", 8: "no resources", 9: "unsupported protocol", 10: "quota exceeded",
	11: "cannot provide the external port", 12: "address mismatch"}

// pmpResults are those of RFC 6886 section 3.5.
var pmpResults = map[byte]string{2: "not authorized", 3: "network failure", 4: "no resources", 5: "unsupported opcode"}

var (
	errSilent  = errors.New("the router does not answer PCP and NAT-PMP")
	errVersion = errors.New("the router speaks another version")
)

func newNonce() (n [12]byte) {
	rand.Read(n[:])
	return n
}

// pcp maps a port by PCP or, where the router speaks that alone, by NAT-PMP.
func pcp(ctx context.Context, router netip.AddrPort, port int, nonce [12]byte) (Mapping, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(router))
	if err != nil {
		return Mapping{}, fmt.Errorf("asking the router: %w", err)
	}
	defer c.Close()
	m, err := pcpAsk(ctx, c, port, nonce, lease)
	if errors.Is(err, errVersion) {
		if m, err = pmpAsk(ctx, c, port, lease); err == nil {
			m.remove = afresh(router, func(ctx context.Context, c net.Conn) error {
				_, err := pmpAsk(ctx, c, port, 0)
				return err
			})
		}
		return m, err
	}
	m.remove = afresh(router, func(ctx context.Context, c net.Conn) error {
		_, err := pcpAsk(ctx, c, port, nonce, 0)
		return err
	})
	return m, err
}

// afresh asks the router once more, over a socket of its own.
func afresh(router netip.AddrPort, ask func(context.Context, net.Conn) error) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(router))
		if err != nil {
			return err
		}
		defer c.Close()
		return ask(ctx, c)
	}
}

// pcpAsk asks for a mapping, RFC 6887 section 11; with a life of 0 it removes it.
func pcpAsk(ctx context.Context, c net.Conn, port int, nonce [12]byte, life time.Duration) (m Mapping, err error) {
	ask := make([]byte, pcpSize)
	ask[0], ask[1] = pcpVersion, pcpMap
	binary.BigEndian.PutUint32(ask[4:], uint32(life/time.Second))
	me := local(c).As16()
	copy(ask[8:], me[:])
	body := ask[pcpHeader:]
	copy(body, nonce[:])
	body[12] = udp
	binary.BigEndian.PutUint16(body[16:], uint16(port))
	binary.BigEndian.PutUint16(body[18:], uint16(port)) // suggested
	anywhere := netip.AddrFrom16(netip.IPv4Unspecified().As16()).As16()
	copy(body[20:], anywhere[:])
	answer, err := exchange(ctx, c, ask, func(b []byte) bool {
		return len(b) >= 4 && (b[0] != pcpVersion || len(b) >= pcpSize && b[1] == pcpMap|pcpAnswer &&
			bytes.Equal(b[pcpHeader:pcpHeader+len(nonce)], nonce[:]) &&
			binary.BigEndian.Uint16(b[pcpHeader+16:]) == uint16(port))
	})
	switch {
	case err != nil:
		return m, err
	case answer[0] != pcpVersion, answer[3] == notVersion:
		return m, errVersion
	case answer[3] != 0:
		return m, refused("PCP", pcpResults, answer[3])
	}
	body = answer[pcpHeader:]
	m = Mapping{By: "PCP", External: netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[20:36])).Unmap(),
		binary.BigEndian.Uint16(body[18:])), life: seconds(answer[4:])}
	return m, nil
}

// pmpAsk is the same by NAT-PMP, RFC 6886 sections 3.2 and 3.3.
func pmpAsk(ctx context.Context, c net.Conn, port int, life time.Duration) (m Mapping, err error) {
	external := netip.IPv4Unspecified()
	ask := func(code byte, ask []byte, size int) ([]byte, error) {
		b, err := exchange(ctx, c, ask, func(b []byte) bool {
			return len(b) >= 4 && b[0] == 0 && b[1] == code|pcpAnswer
		})
		switch {
		case err != nil:
			return nil, err
		case b[3] != 0 || b[2] != 0:
			return nil, refused("NAT-PMP", pmpResults, b[3])
		case len(b) < size:
			return nil, errors.New("the router's answer by NAT-PMP is damaged")
		}
		return b, nil
	}
	if life > 0 {
		b, err := ask(0, []byte{0, 0}, 12)
		if err != nil {
			return m, err
		}
		external = netip.AddrFrom4([4]byte(b[8:12]))
	}
	want := []byte{0, pcpMap, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(want[4:], uint16(port))
	if life > 0 {
		binary.BigEndian.PutUint16(want[6:], uint16(port))
	}
	binary.BigEndian.PutUint32(want[8:], uint32(life/time.Second))
	b, err := ask(pcpMap, want, 16)
	if err != nil {
		return m, err
	}
	return Mapping{By: "NAT-PMP", External: netip.AddrPortFrom(external, binary.BigEndian.Uint16(b[10:])),
		life: seconds(b[12:])}, nil
}

// exchange sends a request until the router answers it.
func exchange(ctx context.Context, c net.Conn, ask []byte, answers func([]byte) bool) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })()
	b := make([]byte, 1100) // RFC 6887 section 7
	for _, wait := range pcpTries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c.SetReadDeadline(time.Now().Add(wait))
		if _, err := c.Write(ask); err != nil {
			return nil, errSilent
		}
		for {
			n, err := c.Read(b)
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				break
			}
			if err != nil { // nothing listens there
				return nil, errSilent
			}
			if answers(b[:n]) {
				return b[:n], nil
			}
		}
	}
	return nil, errSilent
}

func refused(by string, results map[byte]string, code byte) error {
	if text := results[code]; text != "" {
		return fmt.Errorf("the router refuses by %s: %s", by, text)
	}
	return fmt.Errorf("the router refuses by %s: code %d", by, code)
}

func seconds(b []byte) time.Duration { return time.Duration(binary.BigEndian.Uint32(b)) * time.Second }
