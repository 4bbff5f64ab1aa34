// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	tlsconfig "github.com/foxcpp/maddy/framework/config/tls"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/idna"

	"github.com/chmail/chmail/mta"
	"github.com/chmail/chmail/mta/outbound"
	"github.com/chmail/chmail/mta/queue"
)

// Queue is target.chmail_queue: it keeps mail for other servers on the disk until they
// have taken it (mta/queue), and hands it to them (mta/outbound). It takes over what
// maddy's target.queue of the same name left.
//
//	target.chmail_queue remote_queue {
//	    bounce &local_routing    # where reports to senders go; default: none are sent
//	    location remote_queue    # folder; default: the block's name in the state directory
//	    domain mall.example      # of MAILER-DAEMON@; default: the host name
//	    mx_auth { … }            # maddy's policies: dane, mtasts, local_policy
//	    tls_client { … }         # maddy's; default: the system's roots
//	    ipv6 auto                # auto: while the reverse name of its address leads back; yes, no
//	    life 120h                # then the mail goes back
//	    delay_notice 4h          # then the sender is told that it is late
//	    concurrency 64           # connections, in all
//	    per_destination 4        # connections to one domain
//	    rate 600                 # mails a minute to one domain
//	    # other numbers of one domain: connections, mails a minute
//	    destination example.net 10 2000
//	    max_mails 100000         # that wait; more are answered 452
//	    suppress_after 3         # refusals of an address in a row, then it is refused here; 0: never
//	    suppress_days 90         # for so long
//	    debug no
//	}
type Queue struct {
	base
	options queue.Options
	remote  outbound.Remote
	reports module.DeliveryTarget

	opening sync.Mutex
	queue   *queue.Queue
}

var (
	_ module.Module         = (*Queue)(nil)
	_ module.DeliveryTarget = (*Queue)(nil)
	_ io.Closer             = (*Queue)(nil)
)

const queueName = "target.chmail_queue"

func init() {
	register(queueName, func(b base) module.Module { return &Queue{base: b} })
}

// Init implements module.Module.
func (m *Queue) Init(cfg *config.Map) error {
	o := &m.options
	var hostname, ipv6 string
	var days int
	fail := func(format string, args ...any) error {
		return config.NodeErr(cfg.Block, queueName+": "+format, args...)
	}
	m.debug(cfg)
	cfg.String("hostname", true, true, "", &hostname)
	cfg.String("location", false, false, m.instance, &o.Folder)
	cfg.String("domain", false, false, "", &o.Domain)
	cfg.Custom("bounce", false, false, absent[module.DeliveryTarget], modconfig.DeliveryDirective, &m.reports)
	cfg.Custom("mx_auth", false, false, absent[[]module.MXAuthPolicy], policies, &m.remote.Policies)
	cfg.Custom("tls_client", true, false, absent[*tls.Config], tlsconfig.TLSClientBlock, &m.remote.TLS)
	cfg.Enum("ipv6", false, false, []string{"auto", "yes", "no"}, "auto", &ipv6)
	cfg.Duration("life", false, false, queue.DefaultLife, &o.Life)
	cfg.Duration("delay_notice", false, false, queue.DefaultDelayNotice, &o.DelayNotice)
	numbers := []number{
		{"concurrency", queue.DefaultParallel, &o.Parallel},
		{"per_destination", queue.DefaultConcurrency, &o.Concurrency},
		{"rate", queue.DefaultRate, &o.Rate},
		{"max_mails", queue.DefaultMaxMails, &o.MaxMails},
		{"suppress_days", queue.DefaultSuppressDays, &days},
	}
	for _, n := range numbers {
		cfg.Int(n.name, false, false, n.value, n.store)
	}
	cfg.Int("suppress_after", false, false, queue.DefaultHardBounces, &o.HardBounces)
	o.Limits = map[string]queue.Limit{}
	cfg.Callback("destination", func(_ *config.Map, node config.Node) error {
		if len(node.Args) != 3 {
			return config.NodeErr(node, "destination takes a domain, connections and mails a minute")
		}
		connections, err := strconv.Atoi(node.Args[1])
		rate, err2 := strconv.Atoi(node.Args[2])
		if err := errors.Join(err, err2); err != nil || connections < 1 || rate < 1 {
			return config.NodeErr(node, "destination takes a domain, connections and mails a minute, both 1 or more")
		}
		o.Limits[strings.ToLower(node.Args[0])] = queue.Limit{Concurrency: connections, Rate: rate}
		return nil
	})
	if _, err := cfg.Process(); err != nil {
		return err
	}
	for _, n := range numbers {
		if *n.store < 1 {
			return fail("%s must be 1 or more", n.name)
		}
	}
	if o.Life < time.Hour || o.DelayNotice < time.Minute || o.HardBounces < 0 || o.Rate > 60_000 {
		return fail("life is an hour or more, delay_notice a minute or more, suppress_after 0 or more," +
			" rate up to 60000")
	}
	o.SuppressDays = days
	var err error
	if o.Host, err = idna.ToASCII(hostname); err != nil {
		return fail("hostname: %v", err)
	}
	if o.Domain == "" {
		o.Domain = o.Host
	}
	o.Folder, o.Log = inState(o.Folder), m.log()
	m.remote.Host, m.remote.Log, m.remote.Port = o.Host, o.Log, smtpPort
	m.remote.Dial = new(net.Dialer).DialContext
	m.remote.Resolver = resolver()
	switch ipv6 {
	case "auto":
		m.remote.IPv6 = outbound.NewReverse(o.Log)
	case "no":
		m.remote.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp4", addr)
		}
	}
	if module.NoRun {
		return nil
	}
	o.Lane = m.remote.Lane
	o.Delivered = func(address string) {
		if list := correspondents.Load(); list != nil {
			list.Wrote(address)
		}
	}
	if m.reports != nil {
		o.Notify = m.report
	}
	_, err = m.open()
	return err
}

// smtpPort is where servers take mail from servers; tests have another.
var smtpPort = "25"

// open opens the queue, for a command where no server runs.
func (m *Queue) open() (*queue.Queue, error) {
	m.opening.Lock()
	defer m.opening.Unlock()
	if m.queue == nil {
		q, err := queue.Open(m.options)
		if err != nil {
			return nil, err
		}
		m.queue = q
	}
	return m.queue, nil
}

// Close implements io.Closer.
func (m *Queue) Close() error {
	if m.queue == nil {
		return nil
	}
	return m.queue.Close()
}

// policies reads `mx_auth`, whose block maddy does not export; its policies are.
func policies(m *config.Map, node config.Node) (any, error) {
	var group module.Module
	if err := modconfig.GroupFromNode("mx_auth", node.Args, node, m.Globals, &group); err != nil {
		return nil, err
	}
	list, ok := reflect.ValueOf(group).Elem().FieldByName("L").Interface().([]module.MXAuthPolicy)
	if !ok {
		return nil, fmt.Errorf("this maddy's mx_auth is another one: %T", group)
	}
	return list, nil
}

// mxResolver asks maddy's resolver, which sees DNSSEC, or the system's.
type mxResolver struct{ ext *dns.ExtResolver }

func resolver() mxResolver {
	ext, _ := dns.NewExtResolver() // without one, no answer is secure
	return mxResolver{ext}
}

// LookupMX implements outbound.Resolver.
func (r mxResolver) LookupMX(ctx context.Context, domain string) (secure bool, servers []*net.MX, err error) {
	if r.ext != nil {
		secure, servers, err = r.ext.AuthLookupMX(ctx, domain)
	} else {
		servers, err = dns.DefaultResolver().LookupMX(ctx, dns.FQDN(domain))
	}
	switch {
	case err != nil && !dns.IsNotFound(err):
		return false, nil, err
	case len(servers) > 0:
		return secure, servers, nil
	}
	_, err = dns.DefaultResolver().LookupHost(ctx, dns.FQDN(domain)) // RFC 5321 section 5.1: or its address
	return secure, nil, err
}

// report delivers a report to a sender.
func (m *Queue) report(ctx context.Context, n queue.Notice) error {
	r := bufio.NewReader(bytes.NewReader(n.Content))
	header, err := textproto.ReadHeader(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	meta := &module.MsgMetadata{ID: mta.OnceID + n.ID, SMTPOpts: smtp.MailOptions{UTF8: n.UTF8}}
	err = deliverTo(ctx, m.reports, meta, n.To, header, body)
	if err != nil && !exterrors.IsTemporaryOrUnspec(err) {
		return fmt.Errorf("%w: %w", queue.ErrNoNotice, err)
	}
	return err
}

// Start implements module.DeliveryTarget.
func (m *Queue) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	if m.queue == nil {
		return nil, queueAnswer(451, exterrors.EnhancedCode{4, 3, 0}, "The queue is closed, try again later", nil)
	}
	mail := queue.Mail{ID: meta.ID, From: from, UTF8: meta.SMTPOpts.UTF8, RequireTLS: meta.SMTPOpts.RequireTLS,
		EnvelopeID: meta.SMTPOpts.EnvelopeID, Return: string(meta.SMTPOpts.Return)}
	if meta.Conn != nil {
		mail.Login = meta.Conn.AuthUser
	}
	return &queueing{m: m, meta: meta, mail: mail}, nil
}

// queueing is a mail on its way into the queue.
type queueing struct {
	m      *Queue
	meta   *module.MsgMetadata
	mail   queue.Mail
	adding *queue.Adding // nil: it is there already
}

func queueAnswer(code int, enhanced exterrors.EnhancedCode, text string, cause error) error {
	return &exterrors.SMTPError{Code: code, EnhancedCode: enhanced, Message: text, TargetName: queueName, Err: cause}
}

// AddRcpt implements module.Delivery.
func (d *queueing) AddRcpt(_ context.Context, to string, o smtp.RcptOptions) error {
	_, domain, err := address.Split(to)
	if err != nil || domain == "" || strings.HasPrefix(domain, "[") {
		return queueAnswer(550, exterrors.EnhancedCode{5, 1, 3}, "That is not an address of another server", err)
	}
	var suppressed *queue.SuppressedError
	if err := d.m.queue.Check(to); errors.As(err, &suppressed) {
		return queueAnswer(550, exterrors.EnhancedCode{5, 1, 1}, fmt.Sprintf("Mail for %s was refused %d times in a row"+
			" (%s). It is not sent again before %s; your postmaster can allow it", to, suppressed.Bounces,
			suppressed.Answer, suppressed.Until.UTC().Format(time.DateOnly)), err)
	}
	for _, r := range d.mail.Recipients {
		if r.To == to {
			return nil
		}
	}
	r := queue.Recipient{To: to, Original: d.meta.OriginalRcpts[to]}
	for _, n := range o.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if o.OriginalRecipient != "" {
		r.ORCPT = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	d.mail.Recipients = append(d.mail.Recipients, r)
	return nil
}

// Body implements module.Delivery.
func (d *queueing) Body(_ context.Context, header textproto.Header, body buffer.Buffer) error {
	if d.meta.Quarantine {
		return queueAnswer(550, exterrors.EnhancedCode{5, 7, 0}, "Mail that looks like junk is not sent on", nil)
	}
	d.mail.MessageID = header.Get("Message-Id")
	d.mail.AnyTLS = d.meta.TLSRequireOverride
	var head bytes.Buffer
	if err := textproto.WriteHeader(&head, header); err != nil {
		return queueFailure(err)
	}
	r, err := body.Open()
	if err != nil {
		return queueFailure(err)
	}
	defer r.Close()
	d.adding, err = d.m.queue.Add(d.mail, io.MultiReader(&head, r), strings.HasPrefix(d.mail.ID, mta.OnceID))
	if errors.Is(err, queue.ErrTaken) {
		return nil
	}
	return queueFailure(err)
}

// queueFailure is the answer to a mail that cannot be stored: it may go later.
func queueFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, queue.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return queueAnswer(452, exterrors.EnhancedCode{4, 3, 1}, "No room for mail just now, try again later", err)
	}
	return queueAnswer(451, exterrors.EnhancedCode{4, 3, 0}, "The mail cannot be stored just now, try again later", err)
}

// Abort implements module.Delivery.
func (d *queueing) Abort(context.Context) error {
	if d.adding != nil {
		d.adding.Abort()
		d.adding = nil
	}
	return nil
}

// Commit implements module.Delivery.
func (d *queueing) Commit(context.Context) error {
	if d.adding == nil {
		return nil
	}
	err := d.adding.Commit()
	d.adding = nil
	return queueFailure(err)
}
