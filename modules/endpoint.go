// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/web/mailclient"
)

// lastWords is how long clients may finish the command or message they are in when
// the server ends.
const lastWords = 5 * time.Second

// mailEndpoint is what the endpoints of mail have in common: addresses, tcp:// and
// tls://, and what listens there.
type mailEndpoint struct {
	base
	given     []string // as in the configuration
	tls       bool     // STARTTLS is there, too
	addresses []config.Endpoint
	serving   sync.WaitGroup
}

// doors are the ports at which people's mail programs sign in.
type doors struct {
	mu sync.Mutex
	of map[*mailEndpoint][]mailclient.Server
}

var mailDoors doors

// mailProtocols are what mail programs call the endpoints.
var mailProtocols = map[string]string{"chmail.submission": "smtp", "chmail.imap": "imap", "pop3": "pop3"}

func (d *doors) open(e *mailEndpoint, listeners []net.Listener) {
	protocol := mailProtocols[e.name]
	if protocol == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[*mailEndpoint][]mailclient.Server{}
	}
	for i, l := range listeners {
		// Without any TLS no program should send a password there.
		if a, ok := l.Addr().(*net.TCPAddr); ok && e.tls {
			d.of[e] = append(d.of[e], mailclient.Server{Protocol: protocol, Port: a.Port, TLS: e.addresses[i].IsTLS()})
		}
	}
}

func (d *doors) close(e *mailEndpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.of, e)
}

// list are the ports, those for sending first, and of one protocol those with TLS
// from the start.
func (d *doors) list() (all []mailclient.Server) {
	d.mu.Lock()
	for _, some := range d.of {
		all = append(all, some...)
	}
	d.mu.Unlock()
	order := []string{"smtp", "imap", "pop3"}
	slices.SortFunc(all, func(a, b mailclient.Server) int {
		later := 0
		if a.TLS != b.TLS {
			if later = 1; a.TLS {
				later = -1
			}
		}
		return cmp.Or(cmp.Compare(slices.Index(order, a.Protocol), slices.Index(order, b.Protocol)), later,
			cmp.Compare(a.Port, b.Port))
	})
	return all
}

// parse reads the addresses.
func (e *mailEndpoint) parse(cfg *config.Map, hasTLS bool) error {
	e.tls = hasTLS
	for _, given := range e.given {
		a, err := config.ParseEndpoint(given)
		if err == nil && a.IsTLS() && !hasTLS {
			err = errors.New("tls:// without a TLS configuration")
		}
		if err != nil {
			return config.NodeErr(cfg.Block, "%s: %s: %v", e.name, given, err)
		}
		e.addresses = append(e.addresses, a)
	}
	return nil
}

// listenAll listens on every address, or on none.
func listenAll(addresses []config.Endpoint) (all []net.Listener, err error) {
	for _, a := range addresses {
		l, err := net.Listen(a.Network(), a.Address())
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, fmt.Errorf("listening on %s: %w", a, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// listen takes every address before it serves any, so that a failure leaves nothing
// open. serve returns closed once its server is shut down; overTLS is a tls:// address.
func (e *mailEndpoint) listen(
	cfg *config.Map, serve func(l net.Listener, overTLS bool) error, closed error,
) error {
	listeners, err := listenAll(e.addresses)
	if err != nil {
		return config.NodeErr(cfg.Block, "%s: %v", e.name, err)
	}
	mailDoors.open(e, listeners)
	for i, l := range listeners {
		e.out.Printf("listening on %v", l.Addr())
		e.serving.Go(func() {
			if err := serve(l, e.addresses[i].IsTLS()); !errors.Is(err, closed) {
				e.out.Error("serving", err)
			}
		})
	}
	return nil
}

// withTLS is a server's Serve whose listeners bring TLS along.
func withTLS(setup *tls.Config, serve func(net.Listener) error) func(net.Listener, bool) error {
	return func(l net.Listener, overTLS bool) error {
		if overTLS {
			l = tls.NewListener(l, setup)
		}
		return serve(l)
	}
}

// shutdown ends the sessions of a server, after what they are in.
func (e *mailEndpoint) shutdown(server interface{ Shutdown(context.Context) error }) error {
	mailDoors.close(e)
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	err := server.Shutdown(ctx)
	e.serving.Wait()
	if err != nil {
		return fmt.Errorf("%s: shutting down: %w", e.name, err)
	}
	return nil
}

// originURL reads an address without a path.
func originURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%q is not an address such as https://chat.example.org", text)
	}
	return u, nil
}
