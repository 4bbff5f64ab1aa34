// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certFile keeps the certificates, so that pinned hashes outlive a restart.
const certFile = "relay-cert.pem"

// certs makes and rotates the certificate of all granted ports. It is
// self-signed (ECDSA P-256), short-lived, and pinned by its hash (WebTransport's
// serverCertificateHashes). The next one is made, and its hash announced, long
// before it is used.
type certs struct {
	host, path string // path is empty: they are kept in memory only
	mu         sync.Mutex
	list       []tls.Certificate // the current one and, when it is near, the next
}

// openCerts reads the certificates that are kept in dir and makes the missing
// ones.
func openCerts(host, dir string, now time.Time) (*certs, error) {
	c := &certs{host: host}
	if dir != "" {
		c.path = filepath.Join(dir, certFile)
		b, err := os.ReadFile(c.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the relay's certificate: %w", err)
		}
		c.list = parseCerts(b, host)
	}
	return c, c.rotate(now)
}

// parseCerts reads pairs of certificate and key. A damaged pair, or one for
// another host, is left out, and so made again.
func parseCerts(b []byte, host string) (list []tls.Certificate) {
	for {
		var pair [2]*pem.Block
		for i := range pair {
			if pair[i], b = pem.Decode(b); pair[i] == nil {
				return list
			}
		}
		crt, err := tls.X509KeyPair(pem.EncodeToMemory(pair[0]), pem.EncodeToMemory(pair[1]))
		if err == nil && crt.Leaf.Subject.CommonName == host {
			list = append(list, crt)
		}
	}
}

// rotate drops the certificates that expire soon and makes the missing ones.
func (c *certs) rotate(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := false
	for len(c.list) > 0 && c.list[0].Leaf.NotAfter.Sub(now) < certSwitch {
		c.list, changed = c.list[1:], true
	}
	for len(c.list) == 0 || len(c.list) == 1 && c.list[0].Leaf.NotAfter.Sub(now) < certRenew {
		crt, err := makeCert(c.host, now)
		if err != nil {
			return fmt.Errorf("making the relay's certificate: %w", err)
		}
		c.list, changed = append(c.list, crt), true
	}
	if !changed || c.path == "" {
		return nil
	}
	if err := c.save(); err != nil {
		return fmt.Errorf("keeping the relay's certificate: %w", err)
	}
	return nil
}

func (c *certs) save() error {
	var b bytes.Buffer
	for _, crt := range c.list {
		key, err := x509.MarshalPKCS8PrivateKey(crt.PrivateKey)
		if err != nil {
			return err
		}
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: crt.Certificate[0]}) // to a buffer: never fails
		pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	next := c.path + ".new"
	if err := os.WriteFile(next, b.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.path)
}

func makeCert(host string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		NotBefore:    now.Add(-time.Hour), // for clocks that are behind
		NotAfter:     now.Add(certLife - time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// get is for tls.Config.GetCertificate.
func (c *certs) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	crt := c.list[0]
	return &crt, nil
}

// hashes are the SHA-256 of the current and the next certificate in base64.
func (c *certs) hashes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, crt := range c.list {
		sum := sha256.Sum256(crt.Certificate[0])
		list = append(list, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return list
}
