// SPDX-License-Identifier: GPL-3.0-or-later

package limit

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
)

func TestConns(t *testing.T) {
	t.Parallel()
	c := &Conns{Total: 8, PerPrefix: 3, Free: func(ip netip.Addr) bool { return ip.IsLoopback() }}
	enter := func(ip string) (func(), bool) { return c.Enter(netip.MustParseAddr(ip)) }
	var leave func()
	for range 3 {
		var ok bool
		if leave, ok = enter("192.0.2.1"); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, ok := enter("::ffff:192.0.2.1"); ok {
		t.Error("one client has no bound")
	}
	for range 5 {
		if _, ok := enter("::ffff:127.0.0.1"); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, ok := enter("192.0.2.2"); ok {
		t.Error("there is no bound")
	}
	leave()
	leave()
	if _, ok := enter("192.0.2.1"); !ok {
		t.Error("nothing became free")
	}
	if _, ok := enter("192.0.2.1"); ok {
		t.Error("left twice, it counted twice")
	}
}

// starved is a listener for which there are no file descriptors a few times.
type starved struct {
	net.Listener
	fails int
}

func (l *starved) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, errors.New("accept4: too many open files")
	}
	return nil, net.ErrClosed
}

func TestAcceptIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &starved{fails: 20}
		if _, err := (&Conns{}).Listener(l).Accept(); !errors.Is(err, net.ErrClosed) || l.fails != -1 {
			t.Errorf("accepting ended with %v, %d times too early", err, l.fails+1)
		}
	})
}
