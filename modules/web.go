// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
	chmailconfig "github.com/chmail/chmail/config"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/web"
)

// webShutdown bounds how long the endpoint holds up the server's end.
const webShutdown = 4 * time.Second

// Web is a web.Server as a block of the configuration:
//
//	web tls://0.0.0.0:443 tcp://0.0.0.0:80 {
//	    auth            &sign_in              # required: a block auth.guard; whose logins open the desk
//	    relay           &relay                # required: a chat.relay
//	    presence        &presence             # sign-ins renew it; default: none
//	    addresses       &addresses            # a chmail.addresses: people forward and sort their mail; default: none
//	    base            https://$(hostname)   # what people type; without port 443
//	    tls             file CERT KEY         # default: the global tls; for tls:// addresses
//	    http3           yes                   # HTTP/3 on the UDP port of each tls:// address
//	    insecure        no                    # yes: plain HTTP beyond loopback, behind a proxy
//	    trusted_proxies 10.0.0.0/8            # whose X-Forwarded-For is believed; default: none
//	    relay_hosts     $(hostname)           # further hosts of relays that share no rooms
//	    guests          no                    # yes: a link that was passed on lets guests in
//	    mta_sts         testing               # the policy of our mail domains: testing, enforce or none
//	    downloads       download              # folder that make dist has filled, for /download
//	    registration    closed                # or: invite DOMAIN, open DOMAIN: people make logins there
//	    landing         FILE                  # JSON of the demo's landing page; default: none
//	    debug           no
//	}
//
// Relative paths are relative to the state directory. Plain HTTP (tcp://) is
// for loopback, where browsers take http://localhost as safe, and for proxies. Beside
// tls://, a tcp:// address beyond loopback leads to the pages over TLS, and answers the
// authority that gives certificates.
type Web struct {
	base
	addrs  []string
	relay  servedRelay
	server *web.Server
	serves sync.WaitGroup

	redirects bool // addresses of plain HTTP beyond loopback lead to those of TLS
	registers bool // people may make logins
}

var (
	_ module.Module = (*Web)(nil)
	_ io.Closer     = (*Web)(nil)
)

// servedRelay is a chat.relay, whose relay may start later than the pages.
type servedRelay interface {
	relayModule
	whenRunning(do func(*chatrelay.Relay) error) error
	hasDomain(domain string) bool
}

// Init implements module.Module: it reads the block and begins to listen.
func (e *Web) Init(cfg *config.Map) error {
	var (
		auth                    module.PlainAuth
		relay                   servedRelay
		directory               presence.Directory
		set                     *Addresses
		tlsConfig               *tls.Config
		hostname, base, landing string
		mtaSTS                  string
		proxies, relayHosts     []string
		insecure, guests, http3 bool
		downloads               string
		register                *web.Registration
	)
	cfg.String("hostname", true, false, "", &hostname)
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &auth)
	cfg.Custom("relay", false, true, nil, reference[servedRelay]("chat"), &relay)
	cfg.Custom("presence", false, false, absent[presence.Directory],
		reference[presence.Directory]("presence"), &directory)
	cfg.Custom("addresses", false, false, absent[*Addresses], reference[*Addresses]("chmail"), &set)
	cfg.Custom("tls", true, false, absent[*tls.Config], tlsconfig.TLSDirective, &tlsConfig)
	cfg.String("base", false, false, "", &base)
	cfg.Bool("insecure", false, false, &insecure)
	cfg.Bool("http3", false, true, &http3)
	cfg.StringList("trusted_proxies", false, false, nil, &proxies)
	cfg.StringList("relay_hosts", false, false, nil, &relayHosts)
	cfg.Bool("guests", false, false, &guests)
	cfg.Enum("mta_sts", false, false, []string{chmailconfig.STSTesting, "enforce", "none"},
		chmailconfig.STSTesting, &mtaSTS)
	cfg.String("downloads", false, false, "download", &downloads)
	cfg.Custom("registration", false, false, absent[*web.Registration], registration, &register)
	cfg.String("landing", false, false, "", &landing)
	e.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	fail := func(format string, args ...any) error { return config.NodeErr(cfg.Block, "web: "+format, args...) }

	if base == "" {
		if hostname == "" {
			return fail("base is missing, and there is no global hostname")
		}
		base = "https://" + hostname
	}
	baseURL, err := originURL(base)
	if err != nil {
		return fail("base: %v", err)
	}
	if len(relayHosts) == 0 {
		relayHosts = []string{hostname}
	}
	trusted, err := prefixes(proxies)
	if err != nil {
		return fail("trusted_proxies: %v", err)
	}
	// Beside pages over TLS, plain HTTP leads to them.
	overTLS := func(a string) bool { return strings.HasPrefix(a, "tls://") }
	e.redirects = !insecure && slices.ContainsFunc(e.addrs, overTLS)
	endpoints, err := endpoints(e.addrs, tlsConfig != nil, insecure || e.redirects)
	if err == nil {
		err = sameScheme(baseURL, slices.DeleteFunc(slices.Clone(endpoints), e.leads))
	}
	if err != nil {
		return fail("%v", err)
	}
	if module.NoRun {
		return nil
	}
	e.relay = relay
	opts := web.Options{
		Base: baseURL, RelayHosts: relayHosts, Guests: guests, TrustedProxies: trusted,
		MailPrograms: &web.MailPrograms{Host: hostname, Servers: mailDoors.list, Domain: relay.hasDomain},
		Log:          e.log(), Reputation: reputations(),
		Challenge: answersChallenge, MailPolicy: mailPolicy(hostname, mtaSTS),
		Downloads: inState(downloads),
	}
	guard := guardOf(auth)
	opts.SignIns = guard
	if own, ok := guard.next.(*Accounts); ok {
		if _, err := own.mutable(); err == nil {
			opts.Accounts = own
		}
	}
	if register != nil {
		own, ok := opts.Accounts.(*Accounts)
		if !ok {
			return fail("registration: auth has no accounts that can be made here: " +
				"use auth.accounts with a table that can be changed")
		}
		accounts := &registrar{of: own}
		register.Create = accounts.create
		opts.Registration, e.registers = register, true
	}
	if directory != nil {
		opts.Presence = directory
	}
	if set != nil {
		opts.Mail = set
	}
	if landing != "" {
		opts.Landing = func() (json.RawMessage, error) { return readLanding(inState(landing)) }
	}
	if e.server, err = web.New(opts); err != nil {
		return fail("%v", err)
	}
	err = relay.whenRunning(func(r *chatrelay.Relay) error { // until then pages say that chats have to wait
		key, err := r.Secret("web") // one for all front doors
		if err != nil {
			return err
		}
		return e.server.Open(r, key)
	})
	if err != nil {
		return fail("%v", err)
	}
	return e.listen(endpoints, tlsConfig, http3, fail)
}

// listen opens all listeners before it serves on any.
func (e *Web) listen(
	endpoints []config.Endpoint, tlsConfig *tls.Config, http3 bool, fail func(string, ...any) error,
) error {
	listeners, err := listenAll(endpoints)
	if err != nil {
		return fail("%v", err)
	}
	for i, l := range listeners {
		e.out.Msg("listening", "address", endpoints[i].Scheme+"://"+l.Addr().String())
		e.serves.Go(func() {
			var err error
			switch {
			case endpoints[i].IsTLS():
				err = e.server.ServeTLS(l, tlsConfig)
			case e.leads(endpoints[i]):
				err = e.server.ServeRedirects(l)
			default:
				err = e.server.Serve(l)
			}
			if err != nil {
				e.out.Error("it stopped", err, "address", l.Addr().String())
			}
		})
		if http3 && endpoints[i].IsTLS() {
			e.listenHTTP3(l.Addr(), tlsConfig)
		}
	}
	return nil
}

// leads says whether an address serves no pages and leads to those over TLS.
func (e *Web) leads(at config.Endpoint) bool { return e.redirects && !at.IsTLS() && !loopback(at.Host) }

// listenHTTP3 opens the UDP port of a TLS address. Without it, pages come over
// TCP.
func (e *Web) listenHTTP3(addr net.Addr, tlsConfig *tls.Config) {
	c, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		e.out.Error("HTTP/3 is off", err, "address", addr.String())
		return
	}
	e.out.Msg("listening", "address", "udp://"+addr.String())
	e.serves.Go(func() {
		if err := e.server.ServeHTTP3(c, tlsConfig); err != nil {
			e.out.Error("it stopped", err, "address", "udp://"+addr.String())
		}
	})
}

// Close lets the relay move its rooms elsewhere while pages still answer, stops
// listening, ends WebSockets and lets requests under way finish.
func (e *Web) Close() error {
	if e.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), webShutdown)
	defer cancel()
	if relay := e.relay.Relay(); relay != nil {
		relay.Drain(ctx)
	}
	err := e.server.Shutdown(ctx)
	e.serves.Wait()
	return err
}

// endpoints reads the addresses of the block and checks that each may be.
func endpoints(addrs []string, haveTLS, insecure bool) ([]config.Endpoint, error) {
	if len(addrs) == 0 {
		return nil, errors.New("an address to listen on is missing, such as tls://0.0.0.0:443")
	}
	var list []config.Endpoint
	for _, addr := range addrs {
		ep, err := config.ParseEndpoint(addr)
		switch {
		case err != nil:
			return nil, fmt.Errorf("address %q: %v", addr, err)
		case ep.Scheme == "unix":
			return nil, fmt.Errorf("address %q: only tcp:// and tls:// are served", addr)
		case ep.IsTLS() && !haveTLS:
			return nil, fmt.Errorf("address %q: there is no tls directive", addr)
		case !ep.IsTLS() && !insecure && !loopback(ep.Host):
			return nil, fmt.Errorf("address %q: plain HTTP beyond loopback needs `insecure yes`;"+
				" it is for use behind a proxy", addr)
		}
		list = append(list, ep)
	}
	return list, nil
}

// sameScheme keeps people from pages over plain HTTP that are served over TLS alone.
func sameScheme(base *url.URL, endpoints []config.Endpoint) error {
	plain := func(e config.Endpoint) bool { return !e.IsTLS() }
	if base.Scheme == "http" && !slices.ContainsFunc(endpoints, plain) {
		return fmt.Errorf("base %s: the pages are served over TLS: write https://%s", base, base.Host)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// prefixes reads addresses and prefixes.
func prefixes(list []string) (all []netip.Prefix, err error) {
	for _, item := range list {
		p, err := netip.ParsePrefix(item)
		if ip, addrErr := netip.ParseAddr(item); err != nil && addrErr == nil {
			p, err = ip.Unmap().Prefix(ip.Unmap().BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix", item)
		}
		all = append(all, p)
	}
	return all, nil
}

func inState(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(config.StateDirectory, path)
}

// readLanding reads at most web.MaxLanding octets; a file that is not there yet is
// no error.
func readLanding(path string) (json.RawMessage, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, web.MaxLanding+1))
}

func init() {
	registerEndpoint("web", func(b base, addrs []string) module.Module { return &Web{base: b, addrs: addrs} })
}
