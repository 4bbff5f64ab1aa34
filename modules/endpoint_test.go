// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"fmt"
	"net"
	"testing"

	"github.com/foxcpp/maddy/framework/config"
)

// TestDoors: what a mail program is told are the ports at which people sign in, as
// long as they are open.
func TestDoors(t *testing.T) {
	t.Parallel()
	var d doors
	listen := func(name string, schemes ...string) *mailEndpoint {
		e := &mailEndpoint{base: base{name: name}, tls: true}
		var listeners []net.Listener
		for _, scheme := range schemes {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			listeners = append(listeners, l)
			e.addresses = append(e.addresses, config.Endpoint{Scheme: scheme})
		}
		d.open(e, listeners)
		return e
	}
	pop := listen("pop3", "tls")
	listen("chmail.imap", "tcp", "tls")
	listen("chmail.submission", "tcp")
	listen("chmail.smtp", "tcp") // where other servers come
	names := func() (list string) {
		for _, s := range d.list() {
			if s.Port == 0 {
				t.Errorf("no port: %+v", s)
			}
			list += fmt.Sprint(s.Protocol, " ", s.TLS, ", ")
		}
		return list
	}
	if got := names(); got != "smtp false, imap true, imap false, pop3 true, " {
		t.Errorf("servers: %s", got)
	}
	if d.close(pop); names() != "smtp false, imap true, imap false, " {
		t.Errorf("servers: %s", names())
	}
}
