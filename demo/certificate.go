// SPDX-License-Identifier: GPL-3.0-or-later

package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	certLife = 397 * 24 * time.Hour // what mail clients accept at most
)

// makeCertificates makes the demo's own authority and a certificate for
// loopback, unless they are there and good for another day.
func makeCertificates(dir string) error {
	caPath, certPath, keyPath := filepath.Join(dir, "ca.pem"),
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if fresh(caPath) && fresh(certPath) && exists(keyPath) {
		return nil
	}
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the demo's certificate: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "CHmail demo CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("making the demo's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the demo's certificate: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", Domain},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("making the demo's certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("making the demo's certificate: %w", err)
	}
	// The CA's key is not kept: nobody can make another certificate with it.
	// Without ca.pem everything is made again, so it is the first to go and the
	// last to come: a kill in between leaves no certificate of another CA.
	if err := os.Remove(caPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, file := range []struct {
		path, kind string
		der        []byte
	}{
		{keyPath, "PRIVATE KEY", keyDER},
		{certPath, "CERTIFICATE", leafDER},
		{caPath, "CERTIFICATE", caDER},
	} {
		if err := writeFile(file.path, pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})); err != nil {
			return err
		}
	}
	return nil
}

// fresh says whether a certificate file can be used for another day.
func fresh(path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && time.Now().Add(24*time.Hour).Before(cert.NotAfter)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
