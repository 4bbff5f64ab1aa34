// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/miekg/dns"
)

// Zone is what the DNS should say of the configuration's hosts and domains, as lines of a
// zone file (RFC 1035 section 5) that BIND, NSD, Knot and the pages of providers take.
// ips are the addresses of this machine.
func (f *File) Zone(ips []net.IP) string {
	var b strings.Builder
	record := func(name, kind, value string) { fmt.Fprintf(&b, "%-40s IN %-5s %s\n", name+".", kind, value) }
	host := f.Hostname()
	b.WriteString("; Addresses. The last lines of this part are the reverse names: their provider writes them.\n")
	for _, name := range f.names() {
		for _, ip := range ips {
			kind := "AAAA"
			if ip.To4() != nil {
				kind = "A"
			}
			record(name, kind, ip.String())
		}
		if len(ips) == 0 {
			fmt.Fprintf(&b, "; %s. IN A     the address of this machine, and AAAA if it has one\n", name)
		}
	}
	for _, ip := range ips {
		if name, err := dns.ReverseAddr(ip.String()); err == nil {
			fmt.Fprintf(&b, "; %s IN PTR %s.\n", name, host)
		}
	}
	for _, domain := range f.MailDomains() {
		domain = ASCII(domain)
		fmt.Fprintf(&b, "\n; Mail of %s.\n", domain)
		record(domain, "MX", "10 "+host+".")
		record(domain, "TXT", `"v=spf1 mx -all"`)
		record("_dmarc."+domain, "TXT", fmt.Sprintf(`"v=DMARC1; p=quarantine; rua=mailto:postmaster@%s"`, domain))
		keys := f.keysOf(domain)
		for _, k := range keys {
			record(k.name, "TXT", quoted(k.record))
		}
		if len(keys) == 0 {
			b.WriteString("; The key that signs mail is made at the server's first start: ask again then.\n")
		}
		if sts := f.stsRecord(); sts != "" {
			record("_mta-sts."+domain, "TXT", quoted(sts))
		}
		record("_smtp._tls."+domain, "TXT", quoted(tlsReports(domain)))
		if n, there := f.loader(); there && value(n, "ca") == "" {
			b.WriteString("; No other authority may then issue for the domain: leave it out where another is used.\n")
			record(domain, "CAA", `0 issue "letsencrypt.org"`)
		}
		for _, s := range f.services() {
			record(s.name+"._tcp."+domain, "SRV", fmt.Sprintf("0 1 %d %s.", s.port, host))
		}
	}
	return b.String()
}

// tlsReports asks other servers to report failures of TLS (RFC 8460 section 3).
func tlsReports(domain string) string { return "v=TLSRPTv1; rua=mailto:postmaster@" + domain }

func (f *File) keysOf(domain string) (keys []signingKey) {
	for n := range f.All() {
		for _, k := range f.signingKeys(n) {
			if ASCII(k.domain) == domain {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// quoted splits a text into strings of at most 255 octets (RFC 1035 section 3.3.14).
func quoted(text string) string {
	var parts []string
	for part := range slices.Chunk([]byte(text), 255) {
		parts = append(parts, `"`+string(part)+`"`)
	}
	return strings.Join(parts, " ")
}

// MailDomains are the domains whose people have accounts here.
func (f *File) MailDomains() (domains []string) {
	for n := range f.All() {
		if n.Name == "local_domains" {
			domains = append(domains, n.Args...)
		}
	}
	return domains
}

// service is one that mail programs look up (RFC 6186, RFC 8314 section 5.1).
type service struct {
	name string
	port int
}

func (f *File) services() (found []service) {
	names := map[string][2]string{ // without and with TLS from the start
		"chmail.submission": {"_submission", "_submissions"},
		"submission":        {"_submission", "_submissions"},
		"chmail.imap":       {"_imap", "_imaps"},
		"imap":              {"_imap", "_imaps"},
		"pop3":              {"_pop3", "_pop3s"},
	}
	for _, n := range f.Nodes {
		for _, a := range n.Args {
			both, known := names[n.Name]
			e, err := config.ParseEndpoint(a)
			if !known || err != nil || e.Scheme == "unix" {
				continue
			}
			name := both[0]
			if e.IsTLS() {
				name = both[1]
			}
			if port, err := strconv.Atoi(e.Port); err == nil && port > 0 {
				found = append(found, service{name, port})
			}
		}
	}
	return found
}
