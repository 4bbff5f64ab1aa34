// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"blitiri.com.ar/go/spf"
	"github.com/foxcpp/maddy/framework/config"
	"golang.org/x/net/idna"

	"github.com/chmail/chmail/mta/dkimkeys"
)

// Resolver asks the DNS; *net.Resolver is one.
type Resolver interface {
	spf.DNSResolver
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

const noAddress = "%s has no address in the DNS: add %[1]s. A or AAAA with that of this machine"

// asking bounds all the questions to the DNS.
const asking = 30 * time.Second

// DNS finds which records of the configuration's hosts and domains are missing, or say
// something else than what the server does (RFC 5321, 7208, 6376, 7489). All it finds are
// warnings: mail flows for a while without them, or not at all.
func (f *File) DNS(ctx context.Context, r Resolver) (ps Problems) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	d := dnsCheck{Context: ctx, Resolver: r, f: f, ps: &ps}
	host := d.global("hostname")
	if len(host.Args) != 1 || host.Args[0] == "localhost" {
		return nil
	}
	d.host = ASCII(host.Args[0])
	d.addresses(host)
	for _, name := range f.names() {
		if name != d.host {
			if ips, err := d.LookupIPAddr(ctx, name); err != nil || len(ips) == 0 {
				d.missing(host, err, noAddress, name)
			}
		}
	}
	for n := range f.All() {
		if n.Name == "local_domains" {
			for _, domain := range n.Args {
				d.domain(n, ASCII(domain))
			}
		}
		d.keys(n)
	}
	return ps
}

type dnsCheck struct {
	context.Context
	Resolver
	f    *File
	ps   *Problems
	host string   // of this server
	here []net.IP // its addresses
	ips  []net.IP // those from which it sends to others
}

func (d *dnsCheck) global(name string) config.Node {
	i := slices.IndexFunc(d.f.Nodes, func(n config.Node) bool { return n.Name == name })
	if i < 0 {
		return config.Node{}
	}
	return d.f.Nodes[i]
}

// missing says that a record is, or that the DNS did not say.
func (d *dnsCheck) missing(n config.Node, err error, format string, args ...any) {
	if e := (*net.DNSError)(nil); err != nil && (!errors.As(err, &e) || !e.IsNotFound) {
		d.ps.warnf(n, "the DNS does not answer: %v; is the resolver in /etc/resolv.conf reachable?", err)
		(*d.ps)[len(*d.ps)-1].Passing = true
		return
	}
	d.ps.warnf(n, format, args...)
}

// ASCII is the name of a host or domain as the DNS has it.
func ASCII(name string) string {
	a, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return name
	}
	return strings.TrimSuffix(a, ".")
}

// addresses looks up this host and back: many servers refuse mail from an address without
// a name, or with another.
func (d *dnsCheck) addresses(n config.Node) {
	found, err := d.LookupIPAddr(d, d.host)
	if err != nil || len(found) == 0 {
		d.missing(n, err, noAddress, d.host)
	}
	for _, ip := range found {
		d.here = append(d.here, ip.IP)
		if ip.IP.IsLoopback() || ip.IP.IsPrivate() || ip.IP.IsLinkLocalUnicast() {
			continue // of /etc/hosts, or of a network behind another address
		}
		d.ips = append(d.ips, ip.IP)
		names, err := d.LookupAddr(d, ip.IP.String())
		if err != nil || !slices.ContainsFunc(names, d.isHost) {
			d.missing(n, err, "the reverse name of %v is not %s, and many servers refuse mail from there: "+
				"ask the provider of the address for it", ip.IP, d.host)
		}
	}
}

func (d *dnsCheck) isHost(name string) bool {
	return strings.EqualFold(strings.TrimSuffix(name, "."), d.host)
}

// leadsHere says whether an MX is this host, by its name or an address.
func (d *dnsCheck) leadsHere(mx *net.MX) bool {
	if d.isHost(mx.Host) {
		return true
	}
	found, err := d.LookupIPAddr(d, mx.Host)
	return err == nil && slices.ContainsFunc(found, func(a net.IPAddr) bool {
		return slices.ContainsFunc(d.here, a.IP.Equal)
	})
}

// domain looks whether mail to a domain comes here, and mail from it is allowed to.
func (d *dnsCheck) domain(n config.Node, domain string) {
	mxs, err := d.LookupMX(d, domain)
	if err != nil || !slices.ContainsFunc(mxs, d.leadsHere) {
		d.missing(n, err, "mail to %s does not come here: add %[1]s. MX 10 %s.", domain, d.host)
	}
	txts, err := d.LookupTXT(d, domain)
	switch policies := count(txts, "v=spf1"); {
	case err != nil || policies == 0:
		d.missing(n, err, `%s does not say who may send its mail: add %[1]s. TXT "v=spf1 mx -all"`, domain)
	case policies > 1:
		d.ps.warnf(n, "%s has %d SPF records, and may have one: remove the others", domain, policies)
	default:
		for _, ip := range d.ips {
			result, err := spf.CheckHostWithSender(ip, d.host, "postmaster@"+domain,
				spf.WithContext(d), spf.WithResolver(d))
			if result != spf.Pass && result != spf.TempError {
				d.ps.warnf(n, "the SPF record of %s does not let %v send (%v: %v): "+
					"add mx or ip4:/ip6: with that address to it", domain, ip, result, err)
			}
		}
	}
	txts, err = d.LookupTXT(d, "_dmarc."+domain)
	switch policies := count(txts, "v=DMARC1"); {
	case err != nil || policies == 0:
		d.missing(n, err, `%s says nothing about mail that fails: add _dmarc.%[1]s. TXT `+
			`"v=DMARC1; p=quarantine; rua=mailto:postmaster@%[1]s"`, domain)
	case policies > 1:
		d.ps.warnf(n, "%s has %d DMARC records, and none counts: leave one", domain, policies)
	}
	d.reports(n, domain)
	d.services(n, domain)
}

// reports looks whether other servers know the MTA-STS policy of a domain, and where to report
// failures of TLS to (RFC 8461 section 3.1, RFC 8460 section 3).
func (d *dnsCheck) reports(n config.Node, domain string) {
	if want := d.f.stsRecord(); want != "" {
		txts, err := d.LookupTXT(d, "_mta-sts."+domain)
		switch {
		case err != nil || count(txts, "v=STSv1") == 0:
			d.missing(n, err, `nobody learns of the MTA-STS policy of %s: add _mta-sts.%[1]s. TXT %q`, domain, want)
		case !slices.Contains(txts, want):
			d.ps.warnf(n, "the MTA-STS policy of %s is another than the DNS says: change _mta-sts.%[1]s. TXT to %q",
				domain, want)
		}
	}
	txts, err := d.LookupTXT(d, "_smtp._tls."+domain)
	if err != nil || count(txts, "v=TLSRPTv1") == 0 {
		d.missing(n, err, `%s does not say where failures of TLS are reported to: add _smtp._tls.%[1]s. TXT %q`,
			domain, tlsReports(domain))
	}
}

// services looks at the records by which mail programs find the servers of a domain.
func (d *dnsCheck) services(n config.Node, domain string) {
	var absent []string
	for _, s := range d.f.services() {
		name := s.name + "._tcp." + domain
		_, found, err := d.LookupSRV(d, "", "", name)
		leads := func(srv *net.SRV) bool { return d.isHost(srv.Target) && int(srv.Port) == s.port }
		switch e := (*net.DNSError)(nil); {
		case errors.As(err, &e) && e.IsNotFound, err == nil && len(found) == 0:
			absent = append(absent, name)
		case err != nil:
			d.missing(n, err, "")
			return
		case !slices.ContainsFunc(found, leads):
			d.ps.warnf(n, "%s does not lead mail programs to port %d of %s: add %[1]s. SRV 0 1 %[2]d %[3]s.",
				name, s.port, d.host)
		}
	}
	if len(absent) > 0 {
		d.ps.warnf(n, "mail programs that ask the DNS do not find this server: add the SRV records of %s, "+
			"which `chmaild dns` prints", strings.Join(slices.Compact(absent), ", "))
	}
}

func count(txts []string, begin string) (n int) {
	for _, t := range txts {
		if t == begin || strings.HasPrefix(t, begin+" ") || strings.HasPrefix(t, begin+";") {
			n++
		}
	}
	return n
}

// keys compares the published keys with those that mail is signed with.
func (d *dnsCheck) keys(n config.Node) {
	for _, k := range d.f.signingKeys(n) {
		txts, err := d.LookupTXT(d, k.name)
		if err != nil || len(txts) == 0 {
			d.missing(n, err, "the key that signs mail of %s is not published: add %s. TXT with the content of %s",
				k.domain, k.name, k.file)
		} else if !slices.ContainsFunc(txts, func(t string) bool { return key(t) == key(k.record) }) {
			d.ps.warnf(n, "%s is not the key that signs mail of %s: publish the content of %s",
				k.name, k.domain, k.file)
		}
	}
}

// signingKey is one of those that mail is signed with.
type signingKey struct {
	domain, name string // of the mail; of the record
	record, file string // what is published, and where the server wrote it
}

// signingKeys are those of a block dkim that the server has made: it does at its first start.
func (f *File) signingKeys(n config.Node) (keys []signingKey) {
	for _, d := range f.DKIM(n) {
		s, err := d.Load()
		if err != nil {
			continue
		}
		if record, err := d.Record(s.Current); err == nil {
			keys = append(keys, signingKey{d.Name, s.Current + "._domainkey." + ASCII(d.Name), record,
				strings.TrimSuffix(d.Key(s.Current), ".key") + ".dns"})
		}
	}
	return keys
}

// DKIM are the domains that a block signs for, if it does.
func (f *File) DKIM(n config.Node) (list []dkimkeys.Domain) {
	domains, selector := signed(n)
	path := cmp.Or(value(n, "key_path"), "dkim_keys/{domain}_{selector}.key")
	if !filepath.IsAbs(path) {
		path = filepath.Join(cmp.Or(f.global("state_dir"), config.StateDirectory), path)
	}
	for _, domain := range domains {
		list = append(list, dkimkeys.Domain{Name: domain, Path: path, First: cmp.Or(selector, "default")})
	}
	return list
}

// key is the tag p= of a DKIM record (RFC 6376 section 3.6.1).
func key(record string) string {
	for tag := range strings.SplitSeq(record, ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) == "p" {
			return strings.Join(strings.Fields(value), "")
		}
	}
	return ""
}
