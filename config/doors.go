// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/certificates"
)

// knocking bounds one try to reach a port.
const knocking = 5 * time.Second

// PublicIPs are the addresses at which the DNS says that others reach this server.
func (f *File) PublicIPs(ctx context.Context, r Resolver) (ips []net.IP) {
	found, err := r.LookupIPAddr(ctx, f.Hostname())
	if err != nil {
		return nil // DNS says so
	}
	for _, a := range found {
		if certificates.Public(a.IP) {
			ips = append(ips, a.IP)
		}
	}
	return ips
}

// Doors tries from this machine whether the ports of a server that runs answer at its addresses,
// those of the chats over UDP too, and whether mail gets out: to a mail server, host:port. A
// firewall elsewhere that lets this machine through and nobody else does not show.
func (f *File) Doors(ctx context.Context, ips []net.IP, out string) (ps Problems) {
	var mu sync.Mutex
	var tries sync.WaitGroup
	try := func(n config.Node, text string, knock func(context.Context) error) {
		tries.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, knocking)
			defer cancel()
			if err := knock(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				ps.warnf(n, "%s: %v", text, err)
			}
		})
	}
	dial := func(addr string) func(context.Context) error {
		return func(ctx context.Context) error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	for n := range f.All() {
		if len(n.Args) == 1 && n.Name == "ports" {
			low, high, _ := strings.Cut(n.Args[0], "-")
			for _, ip := range ips {
				try(n, "UDP "+n.Args[0]+" of "+ip.String()+" does not come through: let it in, or chats take "+
					"WebSocket, which is slower", func(ctx context.Context) error { return echo(ctx, ip, low, high) })
			}
		}
		if (n.Name == "target.remote" || n.Name == "target.chmail_queue") && out != "" {
			try(n, "port 25 of other servers cannot be reached from here, so that no mail leaves: ask the provider of "+
				"this machine to open it", dial(out))
		}
		if !isEndpoint(n) {
			continue
		}
		for _, a := range n.Args {
			e, err := config.ParseEndpoint(a)
			if err != nil || e.Scheme == "unix" || net.ParseIP(e.Host).IsLoopback() || e.Host == "localhost" {
				continue
			}
			for _, ip := range ips {
				addr := net.JoinHostPort(ip.String(), e.Port)
				try(n, n.Name+": nobody answers at "+addr+": let TCP "+e.Port+" through the firewall", dial(addr))
			}
		}
	}
	tries.Wait()
	ps.Sort()
	return ps
}

// echo sends a datagram to a free port of a range at an address of this machine.
func echo(ctx context.Context, ip net.IP, low, high string) error {
	from, err := strconv.Atoi(low)
	if err != nil {
		return nil // Read has said so
	}
	to, err := strconv.Atoi(high)
	if err != nil {
		to = from
	}
	var c *net.UDPConn
	for port := to; c == nil && port >= from; port-- { // those in use are granted from below
		if c, err = net.ListenUDP("udp", &net.UDPAddr{Port: port}); err != nil && port < to-100 {
			return err
		}
	}
	if c == nil {
		return errors.New("all are in use")
	}
	defer c.Close()
	const word = "chmail"
	if _, err := c.WriteTo([]byte(word), &net.UDPAddr{IP: ip, Port: c.LocalAddr().(*net.UDPAddr).Port}); err != nil {
		return err
	}
	end, _ := ctx.Deadline()
	if err := c.SetReadDeadline(end); err != nil {
		return err
	}
	for b := make([]byte, 64); ; {
		n, err := c.Read(b)
		if err != nil || string(b[:n]) == word {
			return err
		}
	}
}
