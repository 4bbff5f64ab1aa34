// SPDX-License-Identifier: GPL-3.0-or-later

package limit

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// acceptPause is the first and the longest pause after a failed accept.
const acceptPauseMin, acceptPauseMax = 5 * time.Millisecond, time.Second

// Conns bounds the connections of a server: Total are open at once, and PerPrefix
// of one client prefix. The zero Conns lets nobody in. Set its fields before its
// first use.
type Conns struct {
	Total, PerPrefix int
	Free             func(netip.Addr) bool // who counts only in the total, like a proxy; nil: nobody
	Barred           func(netip.Addr) bool // whose connections are refused; nil: nobody's
	Opened           func(change int)      // a connection was opened (1) or closed (-1); nil: nobody is told
	Refused          func(net.Conn)        // one was refused, and is closed afterwards; it must not block; nil: nobody

	mu    sync.Mutex
	total int
	open  map[netip.Prefix]int // only prefixes that have a connection
}

// Enter counts a connection of ip until leave is called; ok is false at a bound,
// or when ip is barred. leave may be called more than once.
func (c *Conns) Enter(ip netip.Addr) (leave func(), ok bool) {
	if c.Barred != nil && c.Barred(ip) && (c.Free == nil || !c.Free(ip.Unmap())) {
		return nil, false
	}
	prefix := Prefix(ip)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.Total || c.open[prefix] >= c.PerPrefix && (c.Free == nil || !c.Free(ip.Unmap())) {
		return nil, false
	}
	if c.open == nil {
		c.open = make(map[netip.Prefix]int)
	}
	c.total++
	c.open[prefix]++
	if c.Opened != nil {
		c.Opened(1)
	}
	return sync.OnceFunc(func() { c.leave(prefix) }), true
}

func (c *Conns) leave(prefix netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.open[prefix]--; c.open[prefix] == 0 {
		delete(c.open, prefix)
	}
	if c.Opened != nil {
		c.Opened(-1)
	}
}

// Listener accepts connections of l within the bounds. A failing accept, as while
// file descriptors have run out, is tried again with growing pauses, until l is
// closed.
func (c *Conns) Listener(l net.Listener) net.Listener { return &boundListener{l, c} }

type boundListener struct {
	net.Listener
	conns *Conns
}

func (l *boundListener) Accept() (net.Conn, error) {
	pause := acceptPauseMin
	for {
		conn, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		pause = acceptPauseMin
		if leave, ok := l.conns.Enter(addrOf(conn)); ok {
			return &boundConn{conn, leave}, nil
		}
		if l.conns.Refused != nil {
			l.conns.Refused(conn)
		}
		_ = conn.Close() // it is refused, whatever it says
	}
}

// addrOf is the address of who connects; the zero Addr where it has none.
func addrOf(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

type boundConn struct {
	net.Conn
	leave func()
}

// NetConn is what is wrapped, as of a tls.Conn.
func (c *boundConn) NetConn() net.Conn { return c.Conn }

func (c *boundConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
