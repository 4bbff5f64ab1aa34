// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"crypto/tls"

	"github.com/chmail/chmail/pop3d"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/module"
)

// POP3 is the endpoint `pop3`. One block may have several addresses,
// tcp:// (plaintext with STLS) and tls:// (RFC 8314); the maildrop lock is
// shared by the addresses of one block, so a storage belongs in one block.
//
//	pop3 tls://0.0.0.0:995 tcp://0.0.0.0:110 {
//	    # Who checks sign-ins, a block auth.guard; needed.
//	    auth &sign_in
//	    # Where the mail is; needed. Served is the INBOX of the account.
//	    storage &local_mailboxes
//	    # Which presence a sign-in renews; none.
//	    presence &presence
//	    # Certificates; the global directive's. With `off` there is no STLS.
//	    tls file cert.pem key.pem
//	    # Take passwords over plaintext; no.
//	    insecure_auth no
//	    # Connections at once; 10000.
//	    max_connections 10000
//	    # Connections at once from one IPv4 address or IPv6 /64; 50.
//	    max_connections_per_ip 50
//	    # Autologout of a signed-in session, 10m or more (RFC 1939); 10m.
//	    idle_timeout 10m
//	    # Log each sign-in and why sessions end; the global directive's, or no.
//	    debug no
//	}
type POP3 struct {
	mailEndpoint
	server *pop3d.Server
}

// Init reads the block and begins to listen.
func (m *POP3) Init(cfg *config.Map) error {
	var (
		auth     module.PlainAuth
		storage  module.Module
		renewer  pop3d.Renewer
		tlsSetup *tls.Config
	)
	srv := &pop3d.Server{}
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &auth)
	cfg.Custom("storage", false, true, nil, reference[module.Module]("storage"), &storage)
	cfg.Callback("presence", func(m *config.Map, node config.Node) error {
		return modconfig.ModuleFromNode("presence", node.Args, node, m.Globals, &renewer)
	})
	cfg.Custom("tls", true, true, nil, tlsconfig.TLSDirective, &tlsSetup)
	cfg.Bool("insecure_auth", false, false, &srv.InsecureAuth)
	cfg.Int("max_connections", false, false, pop3d.DefaultMaxConnections, &srv.MaxConnections)
	cfg.Int("max_connections_per_ip", false, false, pop3d.DefaultMaxConnectionsPerIP, &srv.MaxConnectionsPerIP)
	cfg.Duration("idle_timeout", false, false, pop3d.DefaultIdleTimeout, &srv.IdleTimeout)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	switch {
	case srv.MaxConnections < 1:
		return config.NodeErr(cfg.Block, "pop3: max_connections must be 1 or more")
	case srv.MaxConnectionsPerIP < 1:
		return config.NodeErr(cfg.Block, "pop3: max_connections_per_ip must be 1 or more")
	case srv.IdleTimeout < pop3d.DefaultIdleTimeout:
		return config.NodeErr(cfg.Block, "pop3: idle_timeout must be %v or more (RFC 1939 section 3)",
			pop3d.DefaultIdleTimeout)
	case tlsSetup == nil && !srv.InsecureAuth:
		return config.NodeErr(cfg.Block, "pop3: without TLS nobody can sign in:"+
			" set tls, or insecure_auth yes for a test")
	}
	srv.TLS = tlsSetup
	srv.Presence = renewer
	srv.Log = m.log()
	switch storage := storage.(type) {
	case pop3d.Storage:
		srv.Maildrops = storage.Maildrops()
	case module.Storage: // of maddy, like storage.imapsql
		srv.Maildrops = pop3d.NewAccounts(storage)
	default:
		return config.NodeErr(cfg.Block, "pop3: storage %s keeps no mail", storage.InstanceName())
	}
	srv.Reputation = reputations()
	srv.SignIns = guardOf(auth)
	m.server = srv
	if err := m.parse(cfg, tlsSetup != nil); err != nil {
		return err
	}
	if srv.InsecureAuth {
		m.out.Println("passwords are taken over unencrypted connections: insecure, for tests only")
	}
	if module.NoRun {
		return nil
	}
	return m.listen(cfg, withTLS(tlsSetup, srv.Serve), pop3d.ErrServerClosed)
}

// Close ends the sessions, after the command they are in.
func (m *POP3) Close() error {
	if m.server == nil {
		return nil
	}
	return m.shutdown(m.server)
}

func init() {
	registerEndpoint("pop3", func(b base, addrs []string) module.Module {
		return &POP3{mailEndpoint: mailEndpoint{base: b, given: addrs}}
	})
}

var (
	_ module.Module = (*POP3)(nil)
)
