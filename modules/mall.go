// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-message/mail"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/advert"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/publicity"
	"github.com/chmail/chmail/mall/site"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
	"github.com/chmail/chmail/web"
)

// Where a mall keeps its own, below the state directory.
const (
	defaultMallDatabase = "sqlite:mall.db"
	defaultMallKeys     = "mall.keys"
	mallPictures        = "mall/pictures"
)

// Mall is mall.shop, the shopping mall. Its block, with the defaults:
//
//	mall.shop tls://0.0.0.0:8443 {
//	    auth            &sign_in               # required: a block auth.guard, over accounts that can be added to
//	    relay           &relay                 # required: a chat.relay
//	    submit_to       &stamp                 # required: where mails of members and shops go in: a target.chmail
//	    deliver_to      &outgoing              # required: where the mall's own mails go in
//	    base            https://mall.example   # required: what people type; another host name than that of web
//	    chat            https://chat.example   # required: base of the block web
//	    domain          $(domain)              # required: of the logins that members get
//	    name            "The mall"             # what people call it; default: the host name of base
//	    operator        kim@mall.example       # logins that run the mall; default: none
//	    database        sqlite:mall.db         # or postgres://…; until that answers, pages say 503
//	    keys            mall.keys              # file of the keys that seal personal data; made when missing
//	    mail_from       postmaster@$(hostname) # sender of the mall's own mails
//	    tls             file CERT KEY          # default: the global tls; for tls:// addresses
//	    insecure        no                     # yes: plain HTTP beyond loopback, behind a proxy
//	    trusted_proxies 10.0.0.0/8             # whose X-Forwarded-For is believed; default: none
//	    debug           no
//	}
//
// Relative paths are relative to the state directory.
type Mall struct {
	base
	addrs  []string
	store  late[*store.Store]
	server *site.Server
	it     atomic.Pointer[mall.Mall] // nil: not open yet
	serves sync.WaitGroup
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
}

var (
	_ module.Module = (*Mall)(nil)
	_ io.Closer     = (*Mall)(nil)
	_ mall.Accounts = mallAccounts{}
)

func init() {
	registerEndpoint("mall.shop", func(b base, addrs []string) module.Module { return &Mall{base: b, addrs: addrs} })
}

// mallBlock is what the block says.
type mallBlock struct {
	auth                                                module.PlainAuth
	relay                                               servedRelay
	submit, deliver                                     module.DeliveryTarget
	tls                                                 *tls.Config
	hostname, base, chat, domain, name, dsn, keys, from string
	operator, proxies                                   []string
	insecure                                            bool
}

// Init implements module.Module: it reads the block and begins to listen.
func (m *Mall) Init(cfg *config.Map) error {
	var b mallBlock
	cfg.String("hostname", true, false, "", &b.hostname)
	cfg.Custom("auth", false, true, nil, reference[module.PlainAuth]("auth"), &b.auth)
	cfg.Custom("relay", false, true, nil, reference[servedRelay]("chat"), &b.relay)
	cfg.Custom("submit_to", false, true, nil, modconfig.DeliveryDirective, &b.submit)
	cfg.Custom("deliver_to", false, true, nil, modconfig.DeliveryDirective, &b.deliver)
	cfg.Custom("tls", true, false, absent[*tls.Config], tlsconfig.TLSDirective, &b.tls)
	cfg.String("base", false, true, "", &b.base)
	cfg.String("chat", false, true, "", &b.chat)
	cfg.String("domain", false, true, "", &b.domain)
	cfg.String("name", false, false, "", &b.name)
	cfg.StringList("operator", false, false, nil, &b.operator)
	cfg.String("database", false, false, defaultMallDatabase, &b.dsn)
	cfg.String("keys", false, false, defaultMallKeys, &b.keys)
	cfg.String("mail_from", false, false, "", &b.from)
	cfg.StringList("trusted_proxies", false, false, nil, &b.proxies)
	cfg.Bool("insecure", false, false, &b.insecure)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return config.NodeErr(cfg.Block, "mall.shop: "+format, args...)
	}
	own, ok := guardOf(b.auth).next.(*Accounts)
	if ok {
		_, err := own.mutable()
		ok = err == nil
	}
	if !ok {
		return fail("auth: members get accounts, so it must lead to auth.accounts with a table that can be changed")
	}
	opts := mall.Options{Name: b.name, Domain: b.domain, Operator: b.operator, Accounts: mallAccounts{own},
		Money:   site.Money,
		SignIns: guardOf(b.auth), Log: m.log()}
	var err error
	if opts.Base, err = originURL(b.base); err != nil {
		return fail("base: %v", err)
	}
	if opts.Chat, err = originURL(b.chat); err != nil {
		return fail("chat: %v", err)
	}
	if opts.Base.Host == opts.Chat.Host {
		return fail("base and chat are the same address: the mall needs a host name or a port of its own")
	}
	trusted, err := prefixes(b.proxies)
	if err != nil {
		return fail("trusted_proxies: %v", err)
	}
	listenAt, err := endpoints(m.addrs, b.tls != nil, b.insecure)
	if err != nil {
		return fail("%v", err)
	}
	if module.NoRun {
		return nil
	}
	if b.from == "" {
		b.from = "postmaster@" + b.hostname
	}
	_, fromDomain, _ := strings.Cut(b.from, "@")
	mailer := &pipelineMailer{target: b.deliver, from: mail.Address{Name: opts.Name, Address: b.from},
		domain: fromDomain}
	opts.Submit, opts.Notify = submitTo(b.submit), mailer.Send
	if err := m.open(b, &opts); err != nil {
		return fail("%v", err)
	}
	if m.server, err = site.New(site.Options{TrustedProxies: trusted, Log: m.log()}); err != nil {
		return fail("%v", err)
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	err = b.relay.whenRunning(func(r *chatrelay.Relay) error { // until then pages say that the mall opens soon
		return m.store.when(func(s *store.Store) error {
			opts.Relay, opts.Store = r, s
			return m.start(opts)
		})
	})
	if err != nil {
		return fail("%v", err)
	}
	return m.listen(listenAt, b.tls, fail)
}

// start opens the mall, when there are the relay and the database.
func (m *Mall) start(opts mall.Options) error {
	it, err := mall.New(opts)
	if err != nil {
		return err
	}
	if err := m.publish(it, opts); err != nil {
		return err
	}
	if err := m.advertise(it); err != nil {
		return err
	}
	m.it.Store(it)
	m.serves.Go(func() { it.Listen(m.ctx) }) // until Close
	return m.server.Open(it)
}

// open opens the keys and the database, which may come later.
func (m *Mall) open(b mallBlock, opts *mall.Options) (err error) {
	if path, lite := strings.CutPrefix(b.dsn, "sqlite:"); lite && path != "" && !filepath.IsAbs(path) {
		b.dsn = "sqlite:" + inState(path)
	}
	if opts.Vault, err = vault.Open(inState(b.keys)); err != nil {
		return err
	}
	if opts.Pictures, err = picture.New(inState(mallPictures)); err != nil {
		return err
	}
	m.store.name, m.store.waits, m.store.log = "the mall's database", "the mall waits", opts.Log
	shops.Store(&m.store)
	return m.store.begin(b.dsn, func(ctx context.Context) (*store.Store, error) {
		return store.Open(ctx, b.dsn, opts.Log)
	})
}

// publish begins to send campaigns.
func (m *Mall) publish(it *mall.Mall, opts mall.Options) error {
	key, err := it.Key("publicity")
	if err != nil {
		return err
	}
	p, err := publicity.New(publicity.Options{
		Store: opts.Store, Submit: opts.Submit, Secret: key, Base: strings.TrimSuffix(it.Base().String(), "/"),
		Domain: it.Domain(), Mall: it.Name(), Money: site.Money, Mark: publicity.MarkFile(inState("")), Log: m.log(),
		// A member's mailbox here is where their talks are, too.
		Person: func(_ context.Context, h store.Handing) (chat.Person, error) {
			return chat.Person{Login: h.Login, Addr: h.Login}, nil
		},
		Room: it.Relay().RoomOfMail,
		Here: func(ctx context.Context, shop string) int { return staffHere(ctx, opts, shop) },
	})
	if err != nil {
		return err
	}
	m.server.Publish(p)
	returns.Store(p)
	m.serves.Go(func() {
		if err := p.Run(m.ctx); err != nil {
			m.out.Error("campaigns are not sent", err)
		}
	})
	return nil
}

// advertise shows advertisements, and charges for the calls that were answered.
func (m *Mall) advertise(it *mall.Mall) error {
	secret, err := it.Key("advertisements")
	if err != nil {
		return err
	}
	a, err := advert.New(it.Store(), it.Relay().AnsweredIn, secret, m.log(), nil)
	if err != nil {
		return err
	}
	it.OnTalk(func(ctx context.Context, t mall.Talked) {
		if t.What != mall.TalkTaken {
			return
		}
		if err := a.Answered(ctx, t.Inquiry.Room); err != nil {
			m.out.Error("a talk is charged later", err, "room", t.Inquiry.Room)
		}
	})
	m.server.Advertise(a)
	m.serves.Go(func() { a.Run(m.ctx) })
	return nil
}

// staffHere is how many of a shop's staff can be rung now.
func staffHere(ctx context.Context, opts mall.Options, shop string) (n int) {
	all, err := opts.Store.StaffLogins(ctx, shop)
	if err != nil {
		return 0
	}
	for _, login := range all {
		if opts.Relay.Status(ctx, login).State == frame.Available {
			n++
		}
	}
	return n
}

// listen opens all listeners before it serves on any.
func (m *Mall) listen(at []config.Endpoint, tlsConfig *tls.Config, fail func(string, ...any) error) error {
	listeners, err := listenAll(at)
	if err != nil {
		return fail("%v", err)
	}
	for i, l := range listeners {
		m.out.Msg("listening", "address", at[i].Scheme+"://"+l.Addr().String())
		if at[i].IsTLS() {
			l = tls.NewListener(l, web.ForHTTP(tlsConfig))
		}
		m.serves.Go(func() {
			if err := m.server.Serve(l); err != nil {
				m.out.Error("it stopped", err, "address", l.Addr().String())
			}
		})
	}
	return nil
}

// Close stops listening, lets requests under way finish and closes the database.
func (m *Mall) Close() error {
	m.store.end()
	var err error
	if m.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), webShutdown)
		defer cancel()
		if m.stop != nil {
			m.stop()
		}
		err = m.server.Shutdown(ctx)
		m.serves.Wait()
	}
	if s := m.store.get(); s != nil {
		err = errors.Join(err, s.Close())
	}
	return err
}

// mallAccounts are the accounts that members get.
type mallAccounts struct{ of *Accounts }

// Exists implements mall.Accounts.
func (a mallAccounts) Exists(ctx context.Context, login string) (bool, error) {
	return a.of.Exists(ctx, login)
}

// Create implements mall.Accounts.
func (a mallAccounts) Create(ctx context.Context, login, hash string) error {
	err := a.of.CreateHashed(ctx, login, hash)
	if errors.Is(err, errThere) {
		return mall.ErrAccountTaken
	}
	return err
}

// SetPassword implements mall.Accounts.
func (a mallAccounts) SetPassword(ctx context.Context, login, given string) error {
	return a.of.SetPassword(ctx, login, given)
}

// Remove implements mall.Accounts, as the commands erase and user remove do it.
func (a mallAccounts) Remove(ctx context.Context, login string) error {
	owner := owners.Load()
	if owner == nil {
		return errors.New("the server has not started yet")
	}
	return owner.EraseUser(ctx, login)
}
