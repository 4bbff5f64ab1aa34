// SPDX-License-Identifier: GPL-3.0-or-later

package certificates

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// lifetime of the authority's certificates: they are renewed in its last third.
const lifetime = 12 * time.Second

// TestPebble gets certificates from Debian's pebble, an authority for tests that speaks ACME.
func TestPebble(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	for _, program := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(program); err != nil {
			testpart.Missing(t, program)
		}
	}
	var log logged
	names := []string{"chat.mall.example", "www.mall.example", "away.mall.example", "none.mall.example"}
	resolver := fakeDNS{names[0]: "127.0.0.1", names[1]: "127.0.0.1", names[2]: "192.0.2.9"}
	var k *Keeper
	site := serve(t, &k)
	ca, roots := startPebble(t, site)
	o := Options{
		Folder: filepath.Join(t.TempDir(), "acme"), CA: ca, Roots: roots, Host: names[0],
		Email: "postmaster@mall.example",
		Names: func() []string { return names }, Resolver: resolver,
		Addresses: func() ([]net.IP, error) { return []net.IP{net.IPv4(127, 0, 0, 1)}, nil },
		Log:       slog.New(slog.NewTextHandler(&log, nil)), every: time.Second,
	}
	// Without a public address of its own the host is believed, and others that share its address.
	var err error
	if k, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if leaf, _ := site.handshake(t, names[0]); leaf.Issuer.String() != leaf.Subject.String() {
		t.Errorf("before there is a certificate, %v is served", leaf.Issuer)
	}
	k.issuer.DisableHTTPChallenge = true // so that TLS-ALPN-01 is taken
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	open := site.connect(t, names[0])
	first := site.await(t, names[0], "")
	site.await(t, names[1], "")
	if leaf, _ := site.handshake(t, "away.mall.example"); leaf.DNSNames[0] != names[0] {
		t.Errorf("a name that leads elsewhere gets %v", leaf.DNSNames)
	}
	for _, want := range []string{"192.0.2.9, is not this machine's", "none.mall.example has no address in the DNS"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log should say %q once:\n%s", want, &log)
		}
	}
	if second := site.await(t, names[0], first); second == first {
		t.Error("it was not renewed")
	}
	if _, err := open.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		t.Errorf("a renewal ended a connection: %v", err)
	} else if _, err := open.Read(make([]byte, 1)); err != nil {
		t.Errorf("a renewal ended a connection: %v", err)
	}
	cancel()
	<-done
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	modes(t, o.Folder)
	if cert, err := Stored(o.Folder, ca, names[1]); err != nil || cert.Leaf.VerifyHostname(names[1]) != nil {
		t.Errorf("what is kept for %s: %v", names[1], err)
	}
	// By HTTP-01, for a new name; what was kept is served before anything is asked.
	names = []string{names[0], "new.mall.example"}
	resolver["new.mall.example"] = "127.0.0.1"
	o.HTTPOnly = true
	again, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	k = again
	if leaf, _ := site.handshake(t, names[0]); leaf.Issuer.String() == leaf.Subject.String() {
		t.Error("after a restart the certificate is not used")
	}
	again.look(t.Context())
	site.await(t, "new.mall.example", "")
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// modes are those of files that their owner alone reads.
func modes(t *testing.T, folder string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files and folders, %v", files, err)
	}
}

// logged is a log that may be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeDNS has the addresses of names.
type fakeDNS map[string]string

func (d fakeDNS) LookupIPAddr(_ context.Context, host string) ([]net.IPAddr, error) {
	if ip, ok := d[host]; ok {
		return []net.IPAddr{{IP: net.ParseIP(ip)}}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// site are the two ports at which a Keeper proves names, and its clients.
type site struct{ plain, secure net.Listener }

func serve(t *testing.T, k **Keeper) site {
	t.Helper()
	var s site
	var err error
	if s.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		NextProtos:     []string{"http/1.1", Challenge},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return (*k).Certificate(h) },
	}
	if s.secure, err = tls.Listen("tcp", "127.0.0.1:0", config); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !(*k).Answer(w, r) {
			http.NotFound(w, r)
		}
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serves sync.WaitGroup
	serves.Go(func() { server.Serve(s.plain) })
	serves.Go(func() { server.Serve(s.secure) })
	t.Cleanup(func() {
		server.Close()
		serves.Wait()
	})
	return s
}

func (s site) connect(t *testing.T, name string) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.secure.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// handshake is the certificate that a client gets, and its number.
func (s site) handshake(t *testing.T, name string) (*x509.Certificate, string) {
	t.Helper()
	c := s.connect(t, name)
	defer c.Close()
	leaf := c.ConnectionState().PeerCertificates[0]
	return leaf, leaf.SerialNumber.String()
}

// await waits for a certificate of the authority with another number.
func (s site) await(t *testing.T, name, before string) (number string) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		leaf, number := s.handshake(t, name)
		if leaf.VerifyHostname(name) == nil && leaf.Issuer.String() != leaf.Subject.String() && number != before {
			return number
		}
	}
	t.Fatalf("there is no (new) certificate for %s", name)
	return ""
}

// startPebble starts an authority that asks a site, and a DNS that leads all names there.
func startPebble(t *testing.T, s site) (directory string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", "CERTIFICATE", cert)
	write("key.pem", "PRIVATE KEY", der)
	roots = x509.NewCertPool()
	root, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root)
	at := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	acme, management, dns := free(t), free(t), free(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": acme, "managementListenAddress": management,
		"certificate": "cert.pem", "privateKey": "key.pem",
		"httpPort": at(s.plain), "tlsPort": at(s.secure), "certificateValidityPeriod": int(lifetime.Seconds()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(args ...string) {
		c := exec.Command(args[0], args[1:]...)
		c.Dir, c.Env = dir, append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
		var out logged
		c.Stdout, c.Stderr = &out, &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Process.Kill()
			c.Wait()
			if t.Failed() {
				t.Logf("%s: %s", args[0], &out)
			}
		})
	}
	start("pebble-challtestsrv", "-dns01", dns, "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-management", free(t))
	start("pebble", "-config", "pebble.json", "-dnsserver", dns)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", acme)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("pebble does not answer: %v", err)
		}
	}
	return "https://" + acme + "/dir", roots
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
