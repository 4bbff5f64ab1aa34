// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/certificates"
	chmailconfig "github.com/chmail/chmail/config"
)

// Certificates is a certificates.Keeper as a block of the configuration:
//
//	tls {
//	    loader chmail_acme {
//	        email      postmaster@$(domain)  # where the authority writes to; default: nowhere
//	        ca         https://ca/directory  # default: Let's Encrypt
//	        ca_root    FILE                  # PEM: whom to trust as the ca's server; default: the system's
//	        challenges http-01 tls-alpn-01   # http-01 alone: behind a proxy that ends TLS
//	        folder     acme                  # keys and certificates; relative to the state directory
//	        debug      no
//	    }
//	}
//
// The names are those of the configuration: hostname, the bases of the pages, and mta-sts.DOMAIN,
// autoconfig.DOMAIN and autodiscover.DOMAIN of each mail domain.
type Certificates struct {
	base
	opts   certificates.Options
	keeper atomic.Pointer[certificates.Keeper]
}

var (
	_ module.Module    = (*Certificates)(nil)
	_ module.TLSLoader = (*Certificates)(nil)
)

// loaders are the blocks chmail_acme of this process.
var loaders []*Certificates

// Init implements module.Module: it reads the block. The certificates are opened with the server.
func (c *Certificates) Init(cfg *config.Map) error {
	var (
		root       string
		challenges []string
	)
	cfg.String("email", false, false, "", &c.opts.Email)
	cfg.String("ca", false, false, certificates.Authority, &c.opts.CA)
	cfg.String("ca_root", false, false, "", &root)
	cfg.EnumList("challenges", false, false, []string{"http-01", "tls-alpn-01"},
		[]string{"http-01", "tls-alpn-01"}, &challenges)
	cfg.String("folder", false, false, chmailconfig.CertificateFolder, &c.opts.Folder)
	c.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	c.opts.HTTPOnly = len(challenges) == 1 && challenges[0] == "http-01"
	if root != "" {
		text, err := os.ReadFile(root)
		if err != nil {
			return config.NodeErr(cfg.Block, "ca_root: %v", err)
		}
		c.opts.Roots = x509.NewCertPool()
		if !c.opts.Roots.AppendCertsFromPEM(text) {
			return config.NodeErr(cfg.Block, "ca_root: %s has no certificate", root)
		}
	}
	if !module.NoRun {
		loaders = append(loaders, c)
	}
	return nil
}

// ConfigureTLS implements module.TLSLoader.
func (c *Certificates) ConfigureTLS(t *tls.Config) error {
	t.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		k := c.keeper.Load()
		if k == nil {
			return nil, fmt.Errorf("%s: the server has not started", c.name)
		}
		return k.Certificate(hello)
	}
	return nil
}

// openCertificates reads what the loaders of a configuration keep, before anything listens.
func openCertificates(ctx context.Context, f *chmailconfig.File) error {
	for _, c := range loaders {
		o := c.opts
		o.Folder, o.Host, o.Names, o.Log = inState(o.Folder), f.Hostname(), f.Hosts, c.log()
		k, err := certificates.Open(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		c.keeper.Store(k)
	}
	return nil
}

// runCertificates asks for certificates, once everything listens. Ending it closes the loaders.
func runCertificates() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	for _, c := range loaders {
		k := c.keeper.Load()
		runs.Go(func() { k.Run(ctx) })
	}
	return func() {
		cancel()
		runs.Wait()
		for _, c := range loaders {
			c.keeper.Load().Close()
		}
	}
}

// answersChallenge answers an authority that proves a name, and says whether r is from one.
func answersChallenge(w http.ResponseWriter, r *http.Request) bool {
	for _, c := range loaders {
		if k := c.keeper.Load(); k != nil && k.Answer(w, r) {
			return true
		}
	}
	return false
}

// mailDomains are the domains whose mail this server takes, once it runs.
var mailDomains = func() []string { return nil }

// mailPolicy is the MTA-STS policy of each of our domains.
func mailPolicy(host, mode string) func(string) string {
	return func(domain string) string {
		if mode == "none" || !slices.ContainsFunc(mailDomains(), func(d string) bool {
			return chmailconfig.ASCII(d) == domain
		}) {
			return ""
		}
		return chmailconfig.STSPolicy(host, mode)
	}
}

func init() {
	register("tls.loader.chmail_acme", func(b base) module.Module { return &Certificates{base: b} })
}
