// SPDX-License-Identifier: GPL-3.0-or-later

package testpart

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Gate stands before a server, such as PostgreSQL, and plays its faults. A new
// gate is open.
type Gate struct {
	t    testing.TB
	addr string // its own
	real string // the server's

	mu      sync.Mutex
	hangs   bool
	changed *sync.Cond   // hangs became false
	listen  net.Listener // nil: it refuses
	conns   map[net.Conn]bool
	owned   sync.WaitGroup
}

// NewGate returns a gate before the server of an address such as Postgres
// returns, and the address with the gate in its place.
func NewGate(t testing.TB, server string) (g *Gate, through string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	g = &Gate{t: t, addr: "127.0.0.1:0", real: u.Host, conns: map[net.Conn]bool{}}
	g.changed = sync.NewCond(&g.mu)
	g.Open()
	t.Cleanup(func() {
		g.Refuse()
		g.owned.Wait()
	})
	u.Host = g.addr
	return g, u.String()
}

// Open lets everything through.
func (g *Gate) Open() {
	g.t.Helper()
	g.set(false, true)
}

// Hang takes connections and keeps those there are, but carries nothing.
func (g *Gate) Hang() {
	g.t.Helper()
	g.set(true, true)
}

// Refuse refuses connections and ends those there are.
func (g *Gate) Refuse() {
	g.t.Helper()
	g.set(false, false)
}

func (g *Gate) set(hangs, listens bool) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hangs = hangs
	g.changed.Broadcast()
	switch {
	case listens && g.listen == nil:
		l, err := net.Listen("tcp", g.addr)
		if err != nil {
			g.t.Fatal(err)
		}
		g.listen, g.addr = l, l.Addr().String()
		g.owned.Go(func() { g.serve(l) })
	case !listens && g.listen != nil:
		g.listen.Close()
		g.listen = nil
		for c := range g.conns {
			c.Close()
		}
	}
}

func (g *Gate) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		g.owned.Go(func() { g.carry(c) })
	}
}

// carry passes octets between a client and the server until one of them ends.
func (g *Gate) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.real)
	if err != nil {
		return
	}
	defer server.Close()
	g.mu.Lock()
	if g.listen == nil {
		g.mu.Unlock()
		return
	}
	g.conns[client], g.conns[server] = true, true
	g.mu.Unlock()
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		both.Go(func() {
			defer to.Close()
			for buf := make([]byte, 32<<10); ; {
				n, err := from.Read(buf)
				g.mu.Lock()
				for g.hangs {
					g.changed.Wait()
				}
				g.mu.Unlock()
				if err == nil {
					_, err = to.Write(buf[:n])
				}
				if err != nil {
					return
				}
			}
		})
	}
	both.Wait()
	g.mu.Lock()
	delete(g.conns, client)
	delete(g.conns, server)
	g.mu.Unlock()
}
