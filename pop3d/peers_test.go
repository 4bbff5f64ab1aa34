// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// peer runs a program that must succeed within half a minute.
func peer(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, path, args...)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(path), err, out)
	}
	return string(out)
}

func caFile(t *testing.T) string {
	t.Helper()
	_, ca := certificate()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveBoth returns the ports for plaintext with STLS, and for TLS.
func serveBoth(t *testing.T, drops Maildrops, change func(*Server)) (plain, encrypted string) {
	t.Helper()
	srv, address := serve(t, drops, change)
	_, plain, _ = net.SplitHostPort(address)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS())
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l) //nolint:errcheck // it ends with the server
	_, encrypted, _ = net.SplitHostPort(l.Addr().String())
	return plain, encrypted
}

func TestPoplib(t *testing.T) {
	t.Parallel()
	python := testpart.Need(t, "python3")
	for _, mode := range []string{"plain", "stls", "tls"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			drops := newMemory(alice)
			port, encrypted := serveBoth(t, drops, func(srv *Server) { srv.InsecureAuth = mode == "plain" })
			if mode == "tls" {
				port = encrypted
			}
			peer(t, python, "testdata/poplib_peer.py", port, mode, caFile(t))
			if n := drops.left(alice); n != 2 {
				t.Errorf("%d messages are left, want 2", n)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl := testpart.Need(t, "curl")
	ca := caFile(t)
	plain, encrypted := serveBoth(t, newMemory(alice), func(srv *Server) { srv.InsecureAuth = false })
	open, _ := serveBoth(t, newMemory(alice), func(*Server) {})
	for name, args := range map[string][]string{
		"stls":  {"--ssl-reqd", "pop3://localhost:" + plain + "/1"},
		"tls":   {"pop3s://localhost:" + encrypted + "/1"},
		"plain": {"pop3://localhost:" + open + "/1"},
	} {
		args = append([]string{"-4", "-sS", "--max-time", "20", "--cacert", ca,
			"--user", alice + ":" + password}, args...)
		if got := peer(t, curl, args...); got != mail[0] {
			t.Errorf("%s: got %q, want %q", name, got, mail[0])
		}
	}
}

func TestFetchmail(t *testing.T) {
	t.Parallel()
	fetchmail := testpart.Need(t, "fetchmail")
	ca := caFile(t)
	for _, mode := range []string{"plain", "stls", "tls"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			drops := newMemory(alice)
			port, encrypted := serveBoth(t, drops, func(srv *Server) { srv.InsecureAuth = mode == "plain" })
			ssl := map[string]string{"plain": `sslproto ""`, "stls": `sslproto "tls1.2+"`, "tls": `ssl`}[mode]
			if mode == "tls" {
				port = encrypted
			}
			dir := t.TempDir()
			fetched := filepath.Join(dir, "fetched")
			rc := filepath.Join(dir, "rc")
			config := fmt.Sprintf("poll localhost protocol pop3 port %s username %q password %q %s"+
				" sslcertck sslcertfile %q mda %q\n",
				port, alice, password, ssl, ca, "/bin/sh -c 'cat >> "+fetched+"'")
			if err := os.WriteFile(rc, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			peer(t, fetchmail, "-f", rc, "--pidfile", filepath.Join(dir, "pid"), "-v")
			got, err := os.ReadFile(fetched)
			if err != nil || !strings.Contains(string(got), "\n..dots\n") || !strings.Contains(string(got), "bare LF") {
				t.Errorf("fetchmail fetched %q (%v)", got, err)
			}
			if n := drops.left(alice); n != 0 {
				t.Errorf("%d messages are left, want none", n)
			}
		})
	}
}

// BenchmarkIdleSessions measures what 1,000 signed-in sessions hold; the
// clients' side is counted as well.
func BenchmarkIdleSessions(b *testing.B) {
	for _, encrypted := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%v", encrypted), func(b *testing.B) {
			_, address := serve(b, newMemory())
			for range b.N {
				before := held()
				clients := make([]*client, 1000)
				for i := range clients {
					c := dial(b, address)
					c.want("+OK*")
					if encrypted {
						c.say("STLS")
						c.want("+OK*")
						conn := tls.Client(c.conn, clientTLS())
						if err := conn.Handshake(); err != nil {
							b.Fatal(err)
						}
						c.conn = conn
					}
					c.say(fmt.Sprintf("USER u%d@example.org", i), "PASS "+password, "STAT")
					c.want("+OK*")
					c.want("+OK*")
					c.want("+OK 0 0")
					clients[i] = c
				}
				b.ReportMetric(float64(held()-before)/1e6, "MB/1000sessions")
				for _, c := range clients {
					c.say("QUIT")
					c.want("+OK*")
					c.conn.Close()
				}
			}
		})
	}
}

// held is the memory in use: heap and stacks.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
