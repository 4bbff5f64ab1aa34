// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestServeTLSSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	s, err := New(testOptions(&fakeRelay{}))
	if err != nil {
		t.Fatal(err)
	}
	donor := httptest.NewUnstartedServer(nil) // for its certificate
	donor.StartTLS()
	defer donor.Close()
	inner := &tls.Config{Certificates: donor.TLS.Certificates, MinVersion: tls.VersionTLS10}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { // ends with Shutdown
		done <- s.ServeTLS(l, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return inner, nil
		}})
	}()
	transport := donor.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	res, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Errorf("it spoke %s", res.Proto)
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11,
		MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("it spoke TLS 1.1")
	}
	transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	s, err := New(testOptions(&fakeRelay{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1"},
		{"10.0.0.1:5", "", "10.0.0.1"},
		{"10.0.0.1:5", "198.51.100.1", "198.51.100.1"},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1, 10.0.0.7", "198.51.100.1"},
		{"10.0.0.1:5", "6.6.6.6, nonsense", "10.0.0.1"},
		{"[::ffff:10.0.0.1]:5", "2001:db8::1", "2001:db8::1"},
	} {
		r := httptestGet("/")
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := s.clientIP(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestDeviceName(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36" +
			" (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36 Edg/150.0": "Edge on Windows",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 26_4 like Mac OS X) AppleWebKit/605.1.15" +
			" (KHTML, like Gecko) Version/26.4 Mobile Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36" +
			" (KHTML, like Gecko) Chrome/150.0.0.0 Mobile Safari/537.36": "Chrome on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15" +
			" (KHTML, like Gecko) Version/26.4 Safari/605.1.15": "Safari on macOS",
		"curl/8.0": "Browser", "": "Browser",
	} {
		if got := deviceName(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
}
