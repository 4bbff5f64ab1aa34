// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/idna"

	"github.com/chmail/chmail/mta/smtpd"
)

// SMTP is an smtpd.Server as a block of the configuration: `chmail.smtp` takes mail
// from other servers, `chmail.submission` from people who sign in.
//
//	chmail.submission tls://0.0.0.0:465 tcp://0.0.0.0:587 {
//	    auth                   &sign_in        # required: an auth.guard
//	    insecure_auth          no              # yes: passwords also without TLS, for tests
//	    aliases                TABLE           # address -> logins that may write from it, too; default: none
//	    sent_messages          600             # an hour, of a login; then 452, and postmaster is told
//	    sent_recipients        3000            # likewise
//	    …                                      # and what follows
//	}
//	chmail.smtp tcp://0.0.0.0:25 {
//	    max_transactions       600             # a minute, of one IPv4 address or IPv6 /64
//	    deliver_to             &local_routing  # or check, modify, source, destination, dmarc … of a msgpipeline
//	    hostname               mx.example.org  # default: the global one
//	    tls                    file CERT KEY   # default: the global tls; STARTTLS, and tls:// addresses
//	    max_message_size       32M
//	    max_header_size        1M
//	    max_recipients         1000            # of a message
//	    buffer                 128K            # memory for a message on its way; a larger one is in a file
//	    max_connections        10000
//	    max_connections_per_ip 100             # of one IPv4 address or IPv6 /64
//	    limits                 { … }           # maddy's, besides; default: none
//	    debug                  no
//	}
type SMTP struct {
	mailEndpoint
	submission bool
	server     *smtpd.Server
}

var (
	_ module.Module = (*SMTP)(nil)
	_ io.Closer     = (*SMTP)(nil)
)

func init() {
	registerEndpoint("chmail.smtp", func(b base, addrs []string) module.Module {
		return &SMTP{mailEndpoint: mailEndpoint{base: b, given: addrs}}
	})
	registerEndpoint("chmail.submission", func(b base, addrs []string) module.Module {
		return &SMTP{mailEndpoint: mailEndpoint{base: b, given: addrs}, submission: true}
	})
}

// number is a directive with one.
type number struct {
	name  string
	value int // by default
	store *int
}

// Init reads the block and begins to listen.
func (m *SMTP) Init(cfg *config.Map) error {
	var (
		auth     module.PlainAuth
		aliases  module.Table
		hostname string
		memory   int64
	)
	o := smtpd.Options{Name: m.name, Submission: m.submission, Resolver: dns.DefaultResolver(),
		Reputation: reputations()}
	fail := func(format string, args ...any) error {
		return config.NodeErr(cfg.Block, m.name+": "+format, args...)
	}
	cfg.String("hostname", true, true, "", &hostname)
	cfg.Custom("tls", true, true, absent[*tls.Config], tlsconfig.TLSDirective, &o.TLS)
	cfg.DataSize("max_message_size", false, false, smtpd.DefaultMaxSize, &o.MaxSize)
	cfg.DataSize("max_header_size", false, false, smtpd.DefaultMaxHeader, &o.MaxHeader)
	cfg.DataSize("buffer", false, false, smtpd.DefaultMemory, &memory)
	numbers := []number{
		{"max_recipients", smtpd.DefaultMaxRecipients, &o.MaxRecipients},
		{"max_connections", smtpd.DefaultConnections, &o.Connections},
		{"max_connections_per_ip", smtpd.DefaultPerPrefix, &o.PerPrefix},
	}
	if m.submission {
		cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &auth)
		cfg.Bool("insecure_auth", false, false, &o.InsecureAuth)
		modconfig.Table(cfg, "aliases", false, false, nil, &aliases)
		numbers = append(numbers, number{"sent_messages", smtpd.DefaultSentMails, &o.SentMails},
			number{"sent_recipients", smtpd.DefaultSentRecipients, &o.SentRecipients})
	} else {
		numbers = append(numbers, number{"max_transactions", smtpd.DefaultTransactions, &o.Transactions})
	}
	for _, n := range numbers {
		cfg.Int(n.name, false, false, n.value, n.store)
	}
	cfg.Custom("limits", false, false, absent[smtpd.Limits], func(m *config.Map, node config.Node) (any, error) {
		var l smtpd.Limits
		err := modconfig.GroupFromNode("limits", node.Args, node, m.Globals, &l)
		return l, err
	}, &o.Limits)
	m.debug(cfg)
	cfg.AllowUnknown()
	routes, err := cfg.Process()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if *n.store < 1 {
			return fail("%s must be 1 or more", n.name)
		}
	}
	if o.MaxSize < 1 || o.MaxHeader < 1 || memory < 1 {
		return fail("max_message_size, max_header_size and buffer must be 1 or more")
	}
	if m.submission && o.TLS == nil && !o.InsecureAuth {
		return fail("without TLS nobody can sign in: set tls, or insecure_auth yes for a test")
	}
	if o.Hostname, err = idna.ToASCII(hostname); err != nil {
		return fail("hostname: %v", err)
	}
	if o.Target, err = pipeline(cfg, routes, o.Hostname); err != nil {
		return err
	}
	o.Memory, o.Log = int(memory), m.log()
	if auth != nil {
		o.SignIn = guardOf(auth).Check
	}
	if aliases != nil {
		o.MayUse = mayUse(aliases)
	}
	if err := m.parse(cfg, o.TLS != nil); err != nil {
		return err
	}
	if o.InsecureAuth {
		m.out.Println("passwords are taken over unencrypted connections: insecure, for tests only")
	}
	if module.NoRun {
		return nil
	}
	o.Folder = filepath.Join(config.StateDirectory, "buffer")
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return err
	}
	m.server = smtpd.New(o)
	if err := m.listen(cfg, m.server.Serve, smtpd.ErrServerClosed); err != nil {
		return errors.Join(err, m.Close())
	}
	return nil
}

// Close ends the sessions, after the message they are sending.
func (m *SMTP) Close() error {
	if m.server == nil {
		return nil
	}
	return m.shutdown(m.server)
}

// pipeline makes a maddy pipeline of the directives that are not the endpoint's,
// as maddy's own endpoints do: one that knows whose verdicts it writes into
// Authentication-Results, and adds the Received field. maddy has no way to say
// both from outside, but its fields are exported.
func pipeline(cfg *config.Map, routes []config.Node, hostname string) (smtpd.Pipeline, error) {
	m, err := module.Get("msgpipeline")("msgpipeline", "", nil, nil)
	if err != nil {
		return nil, err
	}
	block := cfg.Block
	block.Children = routes
	if err := m.Init(config.NewMap(cfg.Globals, block)); err != nil {
		return nil, err
	}
	inner := reflect.ValueOf(m).Elem().FieldByName("MsgPipeline")
	if inner.Kind() != reflect.Pointer || inner.IsNil() {
		return nil, fmt.Errorf("this maddy's msgpipeline is another one: %T", m)
	}
	inner.Elem().FieldByName("Hostname").SetString(hostname)
	inner.Elem().FieldByName("FirstPipeline").SetBool(true)
	p, ok := m.(smtpd.Pipeline)
	if !ok {
		return nil, fmt.Errorf("this maddy's msgpipeline is another one: %T", m)
	}
	return p, nil
}

// mayUse asks a table of aliases, as `replace_rcpt` has them: address -> login.
func mayUse(aliases module.Table) func(context.Context, string, string) (bool, error) {
	return func(ctx context.Context, login, addr string) (bool, error) {
		var logins []string
		if multi, ok := aliases.(module.MultiTable); ok {
			all, err := multi.LookupMulti(ctx, addr)
			if err != nil {
				return false, err
			}
			logins = all
		} else {
			one, ok, err := aliases.Lookup(ctx, addr)
			if err != nil || !ok {
				return false, err
			}
			logins = []string{one}
		}
		return slices.ContainsFunc(logins, func(l string) bool { return address.Equal(l, login) }), nil
	}
}
