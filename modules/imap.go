// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"crypto/tls"

	"github.com/chmail/chmail/imapd"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/module"
)

// IMAP is the endpoint `chmail.imap`. One block may have several addresses, tcp://
// (plaintext with STARTTLS) and tls:// (RFC 8314).
//
//	chmail.imap tls://0.0.0.0:993 tcp://0.0.0.0:143 {
//	    # Who checks passwords, an auth.guard at best; needed.
//	    auth &sign_in
//	    # Where the mail is, a storage.maildrop; needed. Its appendlimit bounds
//	    # APPEND.
//	    storage &mailboxes
//	    # Which presence a sign-in and IDLE renew; none.
//	    presence &presence
//	    # Certificates; the global directive's. With `off` there is no STARTTLS.
//	    tls file cert.pem key.pem
//	    # Take passwords over plaintext; no.
//	    insecure_auth no
//	    # Connections at once; 10000.
//	    max_connections 10000
//	    # Connections at once from one IPv4 address or IPv6 /64; 100.
//	    max_connections_per_ip 100
//	    # Log each sign-in and why sessions end; the global directive's, or no.
//	    debug no
//	}
type IMAP struct {
	mailEndpoint
	server *imapd.Server
}

var _ module.Module = (*IMAP)(nil)

func init() {
	registerEndpoint("chmail.imap", func(b base, addrs []string) module.Module {
		return &IMAP{mailEndpoint: mailEndpoint{base: b, given: addrs}}
	})
}

// imapStorage is a block whose mail imapd serves.
type imapStorage interface{ IMAP() imapd.Store }

// Init reads the block and begins to listen.
func (m *IMAP) Init(cfg *config.Map) error {
	var (
		auth     module.PlainAuth
		storage  imapStorage
		renewer  imapd.Renewer
		tlsSetup *tls.Config
	)
	srv := &imapd.Server{Reputation: reputations()}
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &auth)
	cfg.Custom("storage", false, true, nil, reference[imapStorage]("storage"), &storage)
	cfg.Callback("presence", func(m *config.Map, node config.Node) error {
		return modconfig.ModuleFromNode("presence", node.Args, node, m.Globals, &renewer)
	})
	cfg.Custom("tls", true, true, nil, tlsconfig.TLSDirective, &tlsSetup)
	cfg.Bool("insecure_auth", false, false, &srv.InsecureAuth)
	cfg.Int("max_connections", false, false, imapd.DefaultMaxConnections, &srv.MaxConnections)
	cfg.Int("max_connections_per_ip", false, false, imapd.DefaultMaxConnectionsPerIP, &srv.MaxConnectionsPerIP)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	switch {
	case srv.MaxConnections < 1:
		return config.NodeErr(cfg.Block, "chmail.imap: max_connections must be 1 or more")
	case srv.MaxConnectionsPerIP < 1:
		return config.NodeErr(cfg.Block, "chmail.imap: max_connections_per_ip must be 1 or more")
	case tlsSetup == nil && !srv.InsecureAuth:
		return config.NodeErr(cfg.Block, "chmail.imap: without TLS nobody can sign in:"+
			" set tls, or insecure_auth yes for a test")
	}
	srv.SignIn = guardOf(auth).Check
	srv.TLS, srv.Presence, srv.Log = tlsSetup, renewer, m.log()
	if !opensNothing {
		srv.Store = storage.IMAP()
	}
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
	return m.listen(cfg, withTLS(tlsSetup, srv.Serve), imapd.ErrServerClosed)
}

// Close ends the sessions, after the command they are in.
func (m *IMAP) Close() error {
	if m.server == nil {
		return nil
	}
	return m.shutdown(m.server)
}
