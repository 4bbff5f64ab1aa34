// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/mta/reply"
)

// Reply is target.chmail_reply: mail to the Reply-To of a transcript appears
// in its conversation. It stands behind a destination of its own, since the
// address is no account. It takes what the login submitted whose address is in the
// From field, and what the checks `spf` and `dkim` or `dmarc` of the endpoint have
// found to come from that address's domain:
//
//	destination_in regexp "(?i)reply\+[a-z2-7]+@mall\.example" "reply" {
//	    deliver_to &replies
//	}
//
//	target.chmail_reply replies {
//	    relay &relay   # required: a chat.relay, whose `replies` is the addresses' domain
//	    hostname mx.mall.example # of the endpoint that checks; default: the global one
//	    debug no       # default: the global debug
//	}
type Reply struct {
	base
	reply.Target
}

var (
	_ module.Module         = (*Reply)(nil)
	_ module.DeliveryTarget = (*Reply)(nil)
	_ reply.Replies         = (*chatrelay.Relay)(nil)
)

// relayModule is a chat.relay. Its relay is asked for when mail comes: at the
// start the two blocks may be waiting for each other.
type relayModule interface{ Relay() *chatrelay.Relay }

func init() {
	register("target.chmail_reply", func(b base) module.Module { return &Reply{base: b} })
}

// Init implements module.Module.
func (m *Reply) Init(cfg *config.Map) error {
	var relay relayModule
	cfg.Custom("relay", false, true, nil, reference[relayModule]("chat"), &relay)
	cfg.String("hostname", true, true, "", &m.Hostname)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	m.Log = m.log()
	m.Relay = func() reply.Replies {
		if r := relay.Relay(); r != nil {
			return r
		}
		return nil
	}
	return nil
}
