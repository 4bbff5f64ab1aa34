// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const dnsConf = `$(domain) = mall.example
state_dir %[1]s
hostname chat.$(domain)
chat.rooms rooms {
    local_domains $(domain)
}
msgpipeline out {
    modify {
        dkim {
            domains $(domain)
            selector default
            key_path %[1]s/{domain}_{selector}.key
        }
    }
    deliver_to dummy
}
submission tls://0.0.0.0:465 {
    deliver_to &out
}
web tls://0.0.0.0:443 {
    base https://talk.$(domain)
}
`

// TestDNS serves the zone that Zone writes, whole and with one record after the other
// missing or changed.
func TestDNS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.conf")
	key := "v=DKIM1; k=rsa; p=" + strings.Repeat("MIIB", 100)
	for name, text := range map[string]string{
		path: fmt.Sprintf(dnsConf, dir), filepath.Join(dir, "mall.example_default.dns"): key,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	ips := []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")}
	zone := f.Zone(ips)
	for _, ip := range ips {
		name, err := dns.ReverseAddr(ip.String())
		if err != nil {
			t.Fatal(err)
		}
		zone += name + " IN PTR chat.mall.example.\n"
	}
	for _, want := range []string{"_submissions._tcp.mall.example.", "0 1 465 chat.mall.example.", "\ntalk.mall.",
		"\nautoconfig.mall.example.", "\nautodiscover.mall.example."} {
		if !strings.Contains(zone, want) {
			t.Errorf("the zone lacks %q:\n%s", want, zone)
		}
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"whole":  {},
		"MX":     {"10 chat", "10 other", "mail to mall.example does not come here"},
		"no MX":  {"IN MX", "IN TXT \"no\" ; ", "mail to mall.example does not come here"},
		"SPF":    {"v=spf1 mx", "v=spf1 a:talk.far.example", "does not let 192.0.2.7 send"},
		"no SPF": {"v=spf1", "v=spf2", "does not say who may send"},
		"two SPF": {`"v=spf1 mx -all"`, "\"v=spf1 mx -all\"\nmall.example. IN TXT \"v=spf1 -all\"",
			"2 SPF records"},
		"no DMARC":      {"_dmarc", "dmarc", "says nothing about mail that fails"},
		"DKIM":          {"MIIBMIIB", "MIICMIIB", "default._domainkey.mall.example is not the key"},
		"no DKIM":       {"_domainkey", "domainkey", "is not published"},
		"no policy":     {"_mta-sts", "mta-sts1", "nobody learns of the MTA-STS policy"},
		"old policy":    {"STSv1; id=", "STSv1; id=0", "MTA-STS policy of mall.example is another"},
		"no reports":    {"_smtp._tls", "smtp._tls", "where failures of TLS are reported"},
		"no mta-sts":    {"mta-sts.mall", "sts.mall", "mta-sts.mall.example has no address"},
		"no page":       {"talk.mall.example", "talks.mall.example", "talk.mall.example has no address"},
		"no autoconfig": {"autoconfig.", "autoconf.", "autoconfig.mall.example has no address"},
		"no SRV":        {"_submissions", "_submission", "add the SRV records of _submissions._tcp.mall.example"},
		"SRV":           {"0 1 465", "0 1 466", "does not lead mail programs to port 465"},
		"no host":       {"chat.mall.example.", "chats.mall.example.", "chat.mall.example has no address"},
		"reverse":       {"PTR chat", "PTR host7", "the reverse name of 192.0.2.7 is not chat.mall.example"},
		"no reverse v6": {"ip6.arpa", "ip6.int", "the reverse name of 2001:db8::7"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := f.DNS(t.Context(), serveZone(t, strings.ReplaceAll(zone, c.from, c.to), name))
			if c.want == "" {
				if len(found) > 0 {
					t.Error(found)
				}
				return
			}
			wanted := func(p Problem) bool { return p.Warning && strings.Contains(p.Text, c.want) }
			if !slices.ContainsFunc(found, wanted) {
				t.Errorf("%q is missing in %v", c.want, found)
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, os.ErrDeadlineExceeded
		}}
		for _, p := range f.DNS(t.Context(), r) {
			if !strings.Contains(p.Text, "does not answer") {
				t.Error(p)
			}
		}
	})
}

// serveZone is a resolver that asks a server of a zone file on loopback.
func serveZone(t *testing.T, zone, name string) *net.Resolver {
	t.Helper()
	var records []dns.RR
	parser := dns.NewZoneParser(strings.NewReader("$TTL 60\n"+zone), ".", name)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		records = append(records, rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatalf("the zone: %v\n%s", err, zone)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable, m.Rcode = true, dns.RcodeNameError
		for _, rr := range records {
			if !strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				continue
			}
			m.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
