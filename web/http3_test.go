// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

func TestHTTP3(t *testing.T) {
	t.Parallel()
	s, err := New(testOptions(&fakeRelay{}))
	if err != nil {
		t.Fatal(err)
	}
	donor := httptest.NewUnstartedServer(nil) // for its certificate
	donor.StartTLS()
	defer donor.Close()
	config := &tls.Config{Certificates: donor.TLS.Certificates}
	var l net.Listener
	var c net.PacketConn
	for range 20 { // a port that is free in both
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if c, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- s.ServeTLS(l, config) }()
	go func() { done <- s.ServeHTTP3(c, config) }()
	roots := x509.NewCertPool()
	roots.AddCert(donor.Certificate())
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	defer h3.Close()
	get := func(rt http.RoundTripper, path string) *http.Response {
		t.Helper()
		res, err := (&http.Client{Transport: rt, Timeout: 10 * time.Second}).Get("https://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	res := get(h3, "/")
	if body, err := io.ReadAll(res.Body); res.ProtoMajor != 3 ||
		res.StatusCode != http.StatusOK || err != nil || len(body) == 0 {
		t.Errorf("%s %s: %d octets, %v", res.Proto, res.Status, len(body), err)
	}
	if res := get(h3, "/chat"); res.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("a WebSocket over HTTP/3: %s", res.Status)
	}
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	if got, want := get(donor.Client().Transport, "/healthz").Header.Get("Alt-Svc"),
		fmt.Sprintf(`h3=":%s"; ma=86400`, port); got != want {
		t.Errorf("Alt-Svc %q, want %q", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if again, err := net.ListenPacket("udp", c.LocalAddr().String()); err != nil {
		t.Error("the socket stays open:", err)
	} else {
		again.Close()
	}
}
