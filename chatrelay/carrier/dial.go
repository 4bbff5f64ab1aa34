// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/quic-go/quic-go"
)

// errPin: a certificate is none of those that were announced.
var errPin = errors.New("it has another certificate")

// Dial opens plain QUIC to a port whose certificate has one of these hashes (Ports.Hashes).
func Dial(ctx context.Context, to netip.AddrPort, hashes []string) (Conn, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN},
		InsecureSkipVerify: true, // the hash says more than a name
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			sum := sha256.Sum256(raw[0])
			if !slices.Contains(hashes, base64.StdEncoding.EncodeToString(sum[:])) {
				return errPin
			}
			return nil
		}}
	c, err := quic.DialAddr(ctx, net.UDPAddrFromAddrPort(to).String(), conf, &quic.Config{
		HandshakeIdleTimeout: quicHandshake, MaxIdleTimeout: quicIdle})
	if err != nil {
		return nil, fmt.Errorf("opening QUIC to %s: %w", to, err)
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		c.CloseWithError(0, "")
		return nil, fmt.Errorf("opening a stream to %s: %w", to, err)
	}
	return newStreamConn(s, QUIC, int(to.Port()), to.Addr(),
		func(reason string) error { return c.CloseWithError(0, reason) }), nil
}
