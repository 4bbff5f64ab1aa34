// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/certificates"
	"github.com/chmail/chmail/web/mailclient"
)

// Inspect finds what lets the server start and is probably not meant.
func (f *File) Inspect(now time.Time) (ps Problems) {
	f.inspectMail(&ps)
	f.inspectPorts(&ps)
	f.inspectCertificates(&ps, now)
	f.inspectKept(&ps, now)
	return ps
}

// blocks are the top-level blocks by their names.
func (f *File) blocks() map[string]config.Node {
	blocks := make(map[string]config.Node)
	for _, n := range f.Nodes {
		if !isEndpoint(n) {
			for _, name := range Names(n) {
				blocks[name] = n
			}
		}
	}
	return blocks
}

// reach are all nodes that mail may pass which comes in at a block: those in it, and
// those of the blocks that they name.
func (f *File) reach(from config.Node) (reached []config.Node) {
	blocks, seen := f.blocks(), make(map[string]bool)
	var visit func(config.Node)
	visit = func(n config.Node) {
		if n.Name == "relay" {
			return // the mails of a relay are its own
		}
		reached = append(reached, n)
		for _, name := range references(n) {
			if block, ok := blocks[name]; ok && !seen[name] {
				seen[name] = true
				visit(block)
			}
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(from)
	return reached
}

// stamps are the headers that say where the sender is.
var stamps = []string{"CHmail-Login", "CHmail-Host", "CHmail-Port", "CHmail-Chat"}

// inspectMail looks whether what people send is stamped and signed.
func (f *File) inspectMail(ps *Problems) {
	for _, n := range f.Nodes {
		if n.Name != "submission" && n.Name != "chmail.submission" {
			continue
		}
		nodes := f.reach(n)
		if !slices.ContainsFunc(nodes, func(n config.Node) bool { return n.Name == "target.chmail" }) {
			ps.warnf(n, "mail of %s gets no link to a chat: let it go through a block target.chmail", n.Name)
		}
		var domains []string // that are signed
		for _, n := range nodes {
			if some, _ := signed(n); len(some) > 0 {
				domains = append(domains, some...)
				inspectSignature(ps, n)
			}
		}
		if len(domains) == 0 {
			ps.warnf(n, "mail of %s is not signed, and others will take it for junk: "+
				"write modify { dkim { … } } where it leaves", n.Name)
			continue
		}
		for _, d := range f.MailDomains() {
			same := func(s string) bool {
				s, d := strings.ToLower(ASCII(s)), strings.ToLower(ASCII(d))
				return s == d || strings.HasSuffix(d, "."+s) // sign_subdomains, perhaps
			}
			if !slices.ContainsFunc(domains, same) {
				ps.warnf(n, "mail from %s is not signed: add it to domains of dkim", d)
			}
		}
	}
}

// signed are the domains that a block dkim signs for, and its selector: `dkim DOMAIN … SELECTOR`
// or `dkim { domains DOMAIN …; selector SELECTOR }`.
func signed(n config.Node) (domains []string, selector string) {
	if n.Name != "dkim" && n.Name != "modify.dkim" && n.Name != "chmail_dkim" {
		return nil, ""
	}
	if last := len(n.Args) - 1; n.Name == "dkim" && last > 0 {
		return n.Args[:last], n.Args[last]
	}
	return strings.Fields(value(n, "domains")), value(n, "selector")
}

func inspectSignature(ps *Problems, dkim config.Node) {
	fields := strings.ToLower(value(dkim, "oversign_fields") + " " + value(dkim, "sign_fields"))
	for _, s := range stamps {
		if !slices.Contains(strings.Fields(fields), strings.ToLower(s)) {
			ps.warnf(dkim, "%s is not signed, and readers cannot tell a true one: add it to oversign_fields", s)
		}
	}
}

// inspectPorts looks at the ranges of ports that are granted.
func (f *File) inspectPorts(ps *Problems) {
	for n := range f.All() {
		if n.Name != "ports" || len(n.Args) == 0 {
			continue
		}
		low, _, _ := strings.Cut(n.Args[0], "-")
		if p, err := strconv.Atoi(low); err == nil && p < 1024 {
			ps.warnf(n, "ports below 1024 belong to other services, and browsers refuse many: write 20000-29999")
		}
	}
}

// expiresSoon is when a certificate should have been renewed long since.
const expiresSoon = 14 * 24 * time.Hour

// inspectCertificates looks into the certificates of files.
func (f *File) inspectCertificates(ps *Problems, now time.Time) {
	if f.global("hostname") == "localhost" { // the demo's, and a test's
		return
	}
	var leaves []*x509.Certificate
	var last config.Node
	for n := range f.All() {
		if n.Name != "tls" && n.Name != "loader" || len(n.Args) < 2 || n.Args[0] != "file" {
			continue
		}
		last = n
		for pair := range slices.Chunk(n.Args[1:], 2) {
			if len(pair) != 2 {
				ps.errorf(n, "%s names no key: write tls file CERTIFICATE KEY", pair[0])
				continue
			}
			cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
			if err != nil {
				ps.errorf(n, "the certificate cannot be used: %v", err)
				continue
			}
			leaves = append(leaves, cert.Leaf)
			f.inspectCertificate(ps, n, pair[0], cert, now)
		}
	}
	if len(leaves) == 0 {
		return
	}
	for _, host := range f.Hosts() {
		covers := func(c *x509.Certificate) bool { return c.VerifyHostname(ASCII(host)) == nil }
		if !slices.ContainsFunc(leaves, covers) {
			ps.warnf(last, "the certificate is not for %s, and clients will refuse it there: get one for %s",
				host, strings.Join(f.Hosts(), ", "))
		}
	}
}

// CertificateFolder is where tls.loader.chmail_acme keeps what it gets, below the state directory.
const CertificateFolder = "acme"

// loader is a block tls.loader.chmail_acme, where there is one.
func (f *File) loader() (config.Node, bool) {
	for n := range f.All() {
		if (n.Name == "loader" || n.Name == "tls") && len(n.Args) == 1 &&
			(n.Args[0] == "chmail_acme" || n.Args[0] == "tls.loader.chmail_acme") {
			return n, true
		}
	}
	return config.Node{}, false
}

// kept is the certificate that a loader got for a name.
func (f *File) kept(loader config.Node, host string) (tls.Certificate, error) {
	folder := cmp.Or(value(loader, "folder"), CertificateFolder)
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(cmp.Or(f.global("state_dir"), config.StateDirectory), folder)
	}
	return certificates.Stored(folder, value(loader, "ca"), host)
}

// WithoutCertificate are the names for which tls.loader.chmail_acme has none yet.
func (f *File) WithoutCertificate() (hosts []string) {
	n, there := f.loader()
	if !there {
		return nil
	}
	for _, host := range f.Hosts() {
		if _, err := f.kept(n, host); errors.Is(err, fs.ErrNotExist) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// inspectKept looks into the certificates that tls.loader.chmail_acme got.
func (f *File) inspectKept(ps *Problems, now time.Time) {
	n, there := f.loader()
	if !there {
		return
	}
	for _, host := range f.Hosts() {
		cert, err := f.kept(n, host)
		switch {
		case errors.Is(err, fs.ErrNotExist): // below
		case err != nil:
			ps.warnf(n, "the certificate of %s: %v", host, err)
		case now.Add(expiresSoon).After(cert.Leaf.NotAfter):
			ps.warnf(n, "the certificate of %s ends on %s and is not renewed: the log says why; "+
				"can the authority reach ports 80 and 443 of this machine?",
				host, cert.Leaf.NotAfter.Format(time.DateOnly))
		}
	}
	if missing := f.WithoutCertificate(); len(missing) > 0 {
		ps.warnf(n, "no certificate yet for %s: the running server asks for one when the DNS leads the name "+
			"to this machine and ports 80 and 443 are open", strings.Join(missing, ", "))
	}
}

func (f *File) inspectCertificate(ps *Problems, n config.Node, path string, cert tls.Certificate, now time.Time) {
	leaf := cert.Leaf
	day := leaf.NotAfter.Format(time.DateOnly)
	switch {
	case now.After(leaf.NotAfter):
		ps.warnf(n, "%s expired on %s, and clients refuse it: renew it", path, day)
	case now.Before(leaf.NotBefore):
		ps.warnf(n, "%s is valid from %s only: is this machine's clock right?", path,
			leaf.NotBefore.Format(time.DateOnly))
	case now.Add(expiresSoon).After(leaf.NotAfter):
		ps.warnf(n, "%s expires on %s: renew it", path, day)
	default:
		chain := x509.NewCertPool()
		for _, der := range cert.Certificate[1:] {
			if c, err := x509.ParseCertificate(der); err == nil {
				chain.AddCert(c)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Intermediates: chain, CurrentTime: now}); err != nil {
			ps.warnf(n, "clients do not trust %s: %v", path, err)
		}
	}
}

// Hostname is this server's own name.
func (f *File) Hostname() string { return ASCII(f.global("hostname")) }

// asked are the names below a mail domain at which other servers (RFC 8461 section 3.3) and mail
// programs ask this server about it.
func asked(domain string) []string {
	return append(mailclient.Names(domain), "mta-sts."+domain)
}

// Hosts are the names at which clients expect certificates of this server, in ASCII: its own,
// those of the pages that it serves over TLS itself, and those below its mail domains.
func (f *File) Hosts() []string { return f.allHosts(listensTLS) }

// names are those that the DNS should know, those of pages behind a proxy among them.
func (f *File) names() []string { return f.allHosts(func(config.Node) bool { return true }) }

func (f *File) allHosts(served func(config.Node) bool) (hosts []string) {
	hosts = append(hosts, f.Hostname())
	for _, n := range f.Nodes {
		if u, err := url.Parse(value(n, "base")); err == nil && u.Scheme == "https" && served(n) {
			hosts = append(hosts, ASCII(u.Hostname()))
		}
		if n.Name != "web" || !served(n) {
			continue
		}
		for _, domain := range f.MailDomains() {
			hosts = append(hosts, asked(ASCII(domain))...)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func listensTLS(n config.Node) bool {
	return slices.ContainsFunc(n.Args, func(a string) bool { return strings.HasPrefix(a, "tls://") })
}
