// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// aclLine is the user that docs/configuration.md tells to make.
func aclLine(t *testing.T) []string {
	t.Helper()
	f := pt.Must[*os.File](t)(os.Open("../../docs/configuration.md"))
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), "user chmail "); found {
			return strings.Fields(rest)
		}
	}
	t.Fatal("docs/configuration.md has no line `user chmail …`")
	return nil
}

// restrict makes that user, for any prefix, and returns its part of an URL.
func (s *redisServer) restrict(t *testing.T) string {
	t.Helper()
	c := s.client()
	defer c.Close()
	args := []any{"ACL", "SETUSER", "chmail"}
	for _, rule := range aclLine(t) {
		switch {
		case strings.HasPrefix(rule, ">"):
			rule = ">secret"
		case strings.HasPrefix(rule, "~"), strings.HasPrefix(rule, "&"):
			rule = strings.Replace(rule, "chmail", "test*", 1)
		}
		args = append(args, rule)
	}
	pt.OK(t, c.Do(t.Context(), args...).Err())
	return "chmail:secret@"
}

// denied fails the test when the user was refused something.
func (s *redisServer) denied(t *testing.T) {
	t.Helper()
	c := s.client()
	defer c.Close()
	if log := pt.Must[[]*goredis.ACLLogEntry](t)(c.ACLLog(context.Background(), 5).Result()); len(log) > 0 {
		for _, e := range log {
			t.Errorf("Redis refused %s %q", e.Reason, e.Object)
		}
	}
}

// The suite, as the user that may do only what is needed.
func TestRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	user := s.restrict(t)
	t.Cleanup(func() { s.denied(t) })
	suite("redis://" + user + s.addr()).Run(t)
}

// startCluster starts three masters.
func startCluster(t *testing.T) (nodes []*redisServer, addrs string) {
	t.Helper()
	ctx := t.Context()
	var list []string
	for i := range 3 {
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000",
			"--cluster-require-full-coverage", "no")
		c := s.client()
		pt.OK(t, c.ClusterAddSlotsRange(ctx, i*5462, min(16383, i*5462+5461)).Err())
		pt.OK(t, c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i > 0 {
			pt.OK(t, c.ClusterMeet(ctx, "127.0.0.1", fmt.Sprint(nodes[0].port)).Err())
		}
		c.Close()
		nodes, list = append(nodes, s), append(list, s.addr())
	}
	pt.Eventually(t, 20*time.Second, func() error {
		for _, s := range nodes {
			c := s.client()
			info := c.ClusterInfo(ctx).Val()
			c.Close()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") ||
				!strings.Contains(info, "cluster_slots_ok:16384") {
				return fmt.Errorf("the cluster did not form: %s", info)
			}
		}
		return nil
	})
	return nodes, strings.Join(list, ",")
}

// Three masters: a step that touches two slots is refused by them.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes, addrs := startCluster(t)
	user := ""
	for _, s := range nodes {
		user = s.restrict(t)
		t.Cleanup(func() { s.denied(t) })
	}
	suite("redis://" + user + addrs).Run(t)
}

// Over TLS, with the authority that the URL names, and no other.
func TestRedisTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	file := func(name string) string { return filepath.Join(dir, name) }
	plain := startRedis(t)
	s := &redisServer{t: t, path: plain.path, port: testpart.FreePort(t), tls: &tls.Config{RootCAs: pool},
		args: []string{"--tls-cert-file", file("cert.pem"), "--tls-key-file", file("key.pem"),
			"--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "no"}}
	s.start()
	c := s.client()
	pt.OK(t, c.Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">p@ss/w0rd").Err())
	c.Close()
	url := "rediss://:p%40ss%2Fw0rd@" + s.addr()
	ctx := t.Context()
	r := openRedis(t, Options{URL: url + "?ca=" + file("ca.pem"), Ranges: presence.HostRanges{{Host: pt.TestHost}},
		Timeout: 2 * time.Second})
	var in inbox
	r.Subscribe(in.take)
	g := pt.MustGrant(t, r, "a")
	pt.OK(t, r.Hold(ctx, g))
	other := openRedis(t, Options{URL: url + "?ca=" + file("ca.pem"),
		Ranges: presence.HostRanges{{Host: pt.OtherHost}}, Timeout: 2 * time.Second})
	reaches(t, other, pt.TestHost, &in)
	for name, bad := range map[string]string{
		"without its authority": url,
		"with a wrong password": strings.Replace(url, "w0rd", "w", 1) + "?ca=" + file("ca.pem"),
		"without TLS":           "redis://" + s.addr(),
	} {
		r := openRedis(t, Options{URL: bad, Ranges: presence.HostRanges{{Host: pt.OtherHost}}, Timeout: time.Second})
		_, err := r.Grant(ctx, "a")
		pt.WantErr(t, err, presence.ErrUnavailable)
		if strings.Contains(err.Error(), "w0rd") {
			t.Errorf("%s: the error %q has the password", name, err)
		}
	}
}

// writeCertificate writes ca.pem, cert.pem and key.pem of 127.0.0.1.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key := pt.Must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	caDER := pt.Must[[]byte](t)(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	leafDER := pt.Must[[]byte](t)(x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key))
	keyDER := pt.Must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))
	pool := x509.NewCertPool()
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{"ca.pem", "CERTIFICATE", caDER}, {"cert.pem", "CERTIFICATE", leafDER}, {"key.pem", "PRIVATE KEY", keyDER}} {
		b := pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})
		pt.OK(t, os.WriteFile(filepath.Join(dir, f.name), b, 0o600))
		if f.name == "ca.pem" {
			pool.AppendCertsFromPEM(b)
		}
	}
	return pool
}

// startSentinel starts a master with a replica and a Sentinel; the URL is of
// the Sentinel.
func startSentinel(t *testing.T) (master, replica *redisServer, url string) {
	t.Helper()
	ctx := t.Context()
	master = startRedis(t)
	replica = startRedis(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.port), "--repl-diskless-sync-delay", "0")
	s := &redisServer{t: t, path: master.path, port: testpart.FreePort(t)}
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	pt.OK(t, os.WriteFile(conf, fmt.Appendf(nil, `port %d
bind 127.0.0.1
sentinel monitor mall 127.0.0.1 %d 1
sentinel down-after-milliseconds mall 500
sentinel failover-timeout mall 2000
`, s.port, master.port), 0o600))
	s.run(conf, "--sentinel")
	c := s.client()
	defer c.Close()
	m := master.client()
	defer m.Close()
	pt.Eventually(t, 20*time.Second, func() error {
		replicas, err := goredis.NewSentinelClient(c.Options()).Replicas(ctx, "mall").Result()
		if err == nil && (len(replicas) != 1 || replicas[0]["master-link-status"] != "ok") {
			err = fmt.Errorf("replicas %v", replicas)
		}
		return err
	})
	return master, replica, "redis://" + s.addr() + "?master=mall"
}

// The master dies, and the replica takes its place: everybody keeps their port,
// a port with a conversation is nobody else's, and the bus works.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	master, _, url := startSentinel(t)
	ctx := t.Context()
	r := openRedis(t, Options{URL: url, Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(20)}},
		Timeout: time.Second})
	other := openRedis(t, Options{URL: url, Ranges: presence.HostRanges{{Host: pt.OtherHost, Range: pt.Narrow(20)}},
		Timeout: time.Second})
	pt.OK(t, r.Ready(ctx))
	var in inbox
	r.Subscribe(in.take)
	gs := pt.Fill(t, r, 20)
	pt.OK(t, r.Hold(ctx, gs[3]))
	reaches(t, other, pt.TestHost, &in)

	master.kill()
	pt.Eventually(t, 30*time.Second, func() error {
		_ = r.Hold(ctx, gs[3]) // as the relay does, every 3 s
		_, err := r.Grant(ctx, "late")
		return err
	})
	pt.OK(t, r.Hold(ctx, gs[3]))
	late := pt.Must[presence.Grant](t)(r.GrantOf(ctx, "late"))
	if late.Port == gs[3].Port {
		t.Errorf("the port %d of a conversation was granted again", late.Port)
	}
	for _, g := range gs {
		if g.Port == late.Port {
			continue // it was idle for longest
		}
		if again := pt.MustGrant(t, r, g.Login); again.Port != g.Port {
			t.Errorf("%s has port %d after the failover, want %d", g.Login, again.Port, g.Port)
		}
	}
	reaches(t, other, pt.TestHost, &in)
	reaches(t, other, "", &in)
}
