// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"net/netip"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/presence"
)

// openPorts prepares the granted UDP ports.
func (r *Relay) openPorts() error {
	reset, err := derive(r.opt.Key, "stateless reset")
	if err != nil {
		return err
	}
	token, err := derive(r.opt.Key, "address token")
	if err != nil {
		return err
	}
	r.ports, err = carrier.OpenPorts(carrier.Options{
		Relay:     portsRelay{r},
		Name:      r.reach(r.opt.Host),
		Dir:       r.opt.StateDir,
		Idle:      r.opt.PortIdle,
		HoldEvery: presence.HeartbeatEvery,
		ResetKey:  [32]byte(reset),
		TokenKey:  [32]byte(token),
		Log:       r.log,
	})
	return err
}

// portsRelay is the relay as its ports see it: carrier.Relay.
type portsRelay struct{ *Relay }

func (p portsRelay) Bind(host string) netip.Addr { return p.bind(host) }

func (p portsRelay) Hold(ctx context.Context, g carrier.Grant) {
	if err := p.opt.Presence.Hold(ctx, presence.Grant{Host: g.Host, Port: g.Port, Login: g.Login}); err != nil {
		p.failed("holding a granted port", err, "port", g.Port, "login", g.Login)
	}
}

func (p portsRelay) Release(ctx context.Context, g carrier.Grant) {
	if err := p.opt.Presence.Release(ctx, presence.Grant{Host: g.Host, Port: g.Port, Login: g.Login}); err != nil {
		p.failed("releasing a granted port", err, "port", g.Port, "login", g.Login)
	}
}

// grantOf is a grant as the ports know it.
func grantOf(g presence.Grant) carrier.Grant {
	return carrier.Grant{Host: g.Host, Port: g.Port, Login: g.Login}
}
