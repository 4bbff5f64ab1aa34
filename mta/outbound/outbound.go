// SPDX-License-Identifier: GPL-3.0-or-later

// Package outbound hands mail to the servers of other domains: it finds them, encrypts
// where they can and as their domain demands (MTA-STS and DANE, by maddy's policies), and
// keeps a connection for the next mail.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/idna"

	"github.com/chmail/chmail/mta/queue"
)

// mailsAConnection is how many mails go over one connection.
const mailsAConnection = 20

// Resolver finds the mail servers of a domain. secure: DNSSEC vouches for the answer.
type Resolver interface {
	LookupMX(ctx context.Context, domain string) (secure bool, servers []*net.MX, err error)
}

// Remote sends mail to other domains.
type Remote struct {
	Host     string // of this server, for EHLO
	Resolver Resolver
	Policies []module.MXAuthPolicy
	// Roots are whose certificates are believed; nil: the system's.
	TLS  *tls.Config
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Port string
	IPv6 *Reverse // nil: IPv6 is used
	Log  *slog.Logger
}

// Lane is a way to a domain's servers. One goroutine uses it.
func (r *Remote) Lane(domain string) queue.Lane { return &lane{Remote: r, domain: domain} }

type lane struct {
	*Remote
	domain string
	conn   *connection // nil: none is open
}

// connection is a client whose domain's policies are obeyed.
type connection struct {
	*client
	mx    module.MXLevel
	tls   module.TLSLevel
	mails int
	// unchecked: it was made for a mail that asks for no policy (TLS-Required: No).
	unchecked bool
}

// Close implements queue.Lane.
func (l *lane) Close() {
	if l.conn != nil {
		l.conn.quit()
		l.conn = nil
	}
}

func (l *lane) drop() {
	if l.conn != nil {
		l.conn.conn.Close()
		l.conn = nil
	}
}

// Send implements queue.Lane.
func (l *lane) Send(ctx context.Context, m *queue.Mail, to []queue.Recipient, content *os.File) []queue.Answer {
	answers := make([]queue.Answer, len(to))
	all := func(a queue.Answer) []queue.Answer {
		for i := range answers {
			if answers[i].Code == 0 {
				answers[i] = a
			}
		}
		return answers
	}
	if c := l.conn; c != nil && (m.RequireTLS || c.unchecked && !m.AnyTLS || c.mails >= mailsAConnection) {
		l.Close() // a policy that was obeyed for another mail may not do for this one
	}
	reused := l.conn != nil
	var err error
	for {
		if l.conn == nil {
			if l.conn, err = l.open(ctx, m); err != nil {
				return all(unreached(err))
			}
		}
		if err = l.begin(ctx, m); err == nil || !reused || !broken(err) {
			break
		}
		l.drop() // the server has closed the connection meanwhile
		reused = false
	}
	defer l.conn.endWith(ctx)()
	if err != nil {
		return all(l.failed(err))
	}
	l.conn.mails++
	accepted := 0
	for i, r := range to {
		if err := l.rcpt(&r); err != nil {
			answers[i] = l.failed(err)
			answers[i].Recipient = true
			if answers[i].Code == 552 { // RFC 5321 section 4.5.3.1.10
				answers[i].Code, answers[i].Enhanced = 452, [3]int{4, 5, 3}
			}
			if broken(err) {
				return all(answers[i])
			}
			continue
		}
		accepted++
	}
	if accepted == 0 {
		if _, err := l.conn.ask(250, "RSET"); err != nil {
			l.drop()
		}
		return answers
	}
	text, err := l.conn.data(content)
	if err != nil {
		a := l.failed(err)
		l.drop() // where the server stands is unsure
		return all(a)
	}
	a := l.about(said(250, text))
	a.Relayed = !l.conn.has("DSN")
	return all(a)
}

// begin begins a mail on the open connection.
func (l *lane) begin(ctx context.Context, m *queue.Mail) error {
	c := l.conn
	defer c.endWith(ctx)()
	from := m.From
	var params strings.Builder
	if c.has("8BITMIME") {
		params.WriteString(" BODY=8BITMIME")
	}
	if c.has("SIZE") {
		if most, err := strconv.ParseInt(c.ext["SIZE"], 10, 64); err == nil && most > 0 && m.Size > most {
			return &textproto.Error{Code: 552, Msg: fmt.Sprintf("5.3.4 The mail has %d octets, the server takes %d",
				m.Size, most)}
		}
		fmt.Fprintf(&params, " SIZE=%d", m.Size)
	}
	if m.RequireTLS && c.has("REQUIRETLS") {
		params.WriteString(" REQUIRETLS")
	}
	if c.has("SMTPUTF8") && m.UTF8 {
		params.WriteString(" SMTPUTF8")
	} else {
		var err error
		if from, err = address.ToASCII(from); err != nil {
			return &textproto.Error{Code: 550, Msg: "5.6.7 The server takes no such sender address (SMTPUTF8)"}
		}
	}
	if c.has("DSN") {
		if m.Return != "" {
			params.WriteString(" RET=" + m.Return)
		}
		if m.EnvelopeID != "" {
			params.WriteString(" ENVID=" + xtext(m.EnvelopeID))
		}
	}
	_, err := c.ask(250, "MAIL FROM:<%s>%s", from, params.String())
	return err
}

func (l *lane) rcpt(r *queue.Recipient) error {
	to, params := r.To, ""
	if !l.conn.has("SMTPUTF8") {
		var err error
		if to, err = address.ToASCII(to); err != nil {
			return &textproto.Error{Code: 553, Msg: "5.6.7 The server takes no such address (SMTPUTF8)"}
		}
	}
	if l.conn.has("DSN") {
		if len(r.Notify) > 0 {
			params += " NOTIFY=" + strings.Join(r.Notify, ",")
		}
		if kind, addr, ok := strings.Cut(r.ORCPT, ";"); ok {
			params += " ORCPT=" + kind + ";" + xtext(addr)
		}
	}
	_, err := l.conn.ask(25, "RCPT TO:<%s>%s", to, params) // 250 or 251
	return err
}

// xtext is RFC 3461 section 4.
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// broken says whether an error is the connection's, not an answer.
func broken(err error) bool {
	refused := (*textproto.Error)(nil)
	return !errors.As(err, &refused) || refused.Code == 421
}

// failed makes an answer of an error on the open connection, and leaves that if it broke.
func (l *lane) failed(err error) queue.Answer {
	var a queue.Answer
	if refused := (*textproto.Error)(nil); errors.As(err, &refused) {
		a = said(refused.Code, refused.Msg)
	} else {
		a = queue.Answer{Code: 451, Enhanced: [3]int{4, 4, 2}, Text: "the connection broke: " + err.Error()}
	}
	if a.Code/100 != 4 && a.Code/100 != 5 { // 354 or 250 where they make no sense
		a.Code, a.Enhanced = 451, [3]int{4, 5, 0}
	}
	a = l.about(a)
	if broken(err) {
		l.drop()
	}
	return a
}

// about says whose answer it is.
func (l *lane) about(a queue.Answer) queue.Answer {
	a.Server, a.Address, a.TLS = l.conn.server, l.conn.address(), l.conn.tls.String()
	return a
}

// unreached makes an answer of an error that kept the mail from every server.
func unreached(err error) queue.Answer {
	a := queue.Answer{Code: 451, Enhanced: [3]int{4, 4, 1}, Text: err.Error(), Unreached: true, Recipient: true}
	if code, ok := exterrors.Fields(err)["smtp_code"].(int); ok {
		a.Code = code
		if e, ok := exterrors.Fields(err)["smtp_enchcode"].(exterrors.EnhancedCode); ok {
			a.Enhanced = [3]int(e)
		}
		if text, ok := exterrors.Fields(err)["smtp_msg"].(string); ok {
			a.Text = text
		}
	}
	return a
}

func refusal(code int, e exterrors.EnhancedCode, format string, args ...any) error {
	return &exterrors.SMTPError{Code: code, EnhancedCode: e, Message: fmt.Sprintf(format, args...)}
}

// open connects to the first server of the domain that can be reached and that the
// policies allow.
func (l *lane) open(ctx context.Context, m *queue.Mail) (*connection, error) {
	domain, err := idna.Lookup.ToASCII(l.domain)
	if err != nil || strings.HasPrefix(l.domain, "[") {
		return nil, refusal(553, exterrors.EnhancedCode{5, 1, 2}, "%q is not a domain", l.domain)
	}
	meta := &module.MsgMetadata{ID: m.ID, OriginalFrom: m.From}
	meta.SMTPOpts.RequireTLS, meta.SMTPOpts.UTF8 = m.RequireTLS, m.UTF8
	var policies []module.DeliveryMXAuthPolicy
	if !m.AnyTLS {
		for _, p := range l.Policies {
			policies = append(policies, p.Start(meta))
		}
	}
	for _, p := range policies {
		p.PrepareDomain(ctx, domain)
	}
	secure, servers, err := l.Resolver.LookupMX(ctx, domain)
	var notFound *net.DNSError
	switch {
	case errors.As(err, &notFound) && notFound.IsNotFound:
		return nil, refusal(550, exterrors.EnhancedCode{5, 1, 2}, "there is no domain %s", domain)
	case err != nil:
		return nil, refusal(451, exterrors.EnhancedCode{4, 4, 3}, "DNS does not say where mail for %s goes: %v",
			domain, err)
	case len(servers) == 0: // RFC 5321 section 5.1
		servers = []*net.MX{{Host: domain}}
	case len(servers) == 1 && servers[0].Host == ".": // RFC 7505
		return nil, refusal(556, exterrors.EnhancedCode{5, 1, 10}, "%s takes no mail (null MX)", domain)
	}
	slices.SortStableFunc(servers, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	const maxServers = 10
	var forNow error
	for _, server := range servers[:min(len(servers), maxServers)] {
		var c *connection
		if c, err = l.reach(ctx, policies, domain, strings.TrimSuffix(server.Host, "."), secure); err != nil {
			l.Log.Info("a mail server cannot be used", "domain", domain, "server", server.Host, "msg_id", m.ID,
				"err", err)
			if forNow == nil && exterrors.IsTemporaryOrUnspec(err) {
				forNow = err
			}
			continue
		}
		if m.RequireTLS && (c.tls < module.TLSAuthenticated || c.mx < module.MX_MTASTS) { // RFC 8689
			c.quit()
			return nil, refusal(550, exterrors.EnhancedCode{5, 7, 30},
				"the mail demands TLS (REQUIRETLS), and %s cannot prove who it is", c.server)
		}
		c.unchecked = m.AnyTLS
		return c, nil
	}
	return nil, cmp.Or(forNow, err) // another server may take the mail later
}

// reach connects to a server and asks the policies.
func (l *lane) reach(ctx context.Context, policies []module.DeliveryMXAuthPolicy, domain, server string,
	secure bool) (*connection, error) {
	ctx, cancel := context.WithCancel(ctx) // ends what the policies look up
	defer cancel()
	c := &connection{}
	for _, p := range policies {
		level, err := p.CheckMX(ctx, c.mx, domain, server, secure)
		if err != nil {
			return nil, err
		}
		c.mx = max(c.mx, level)
		p.PrepareConn(ctx, server)
	}
	var tlsErr error
	var err error
	if c.client, c.tls, tlsErr, err = l.connect(ctx, server); err != nil {
		return nil, err
	}
	var state tls.ConnectionState
	if conn, ok := c.conn.(*tls.Conn); ok {
		state = conn.ConnectionState()
	}
	for _, p := range policies {
		level, err := p.CheckConn(ctx, c.mx, c.tls, domain, server, state)
		if err != nil {
			c.quit()
			if tlsErr != nil {
				err = refusal(451, exterrors.EnhancedCode{4, 7, 1}, "%v (TLS: %v)", err, tlsErr)
			}
			return nil, err
		}
		c.tls = max(c.tls, level)
	}
	return c, nil
}

// connect connects to a server: over TLS that proves who it is, else over any TLS, else
// without (RFC 7435).
func (l *lane) connect(ctx context.Context, server string) (c *client, level module.TLSLevel, why, err error) {
	setup := &tls.Config{}
	if l.TLS != nil {
		setup = l.TLS.Clone()
	}
	setup.ServerName = server
	for level = module.TLSAuthenticated; ; {
		if c, err = l.dial(ctx, server); err != nil {
			return nil, level, why, err
		}
		if level == module.TLSNone || !c.has("STARTTLS") {
			return c, module.TLSNone, why, nil
		}
		handshook, err := c.startTLS(ctx, setup, l.Host)
		if err == nil {
			return c, level, why, nil
		}
		c.conn.Close()
		if !handshook {
			return nil, level, why, fmt.Errorf("%s: STARTTLS: %w", server, err)
		}
		why = err
		if level--; level == module.TLSEncrypted {
			setup.InsecureSkipVerify = true // opportunistic: CheckConn of the policies may refuse it
		}
		l.Log.Info("TLS failed", "server", server, "next", level.String(), "err", err)
	}
}

func (l *lane) dial(ctx context.Context, server string) (*client, error) {
	within, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	network := "tcp"
	if !l.IPv6.Usable(ctx) {
		network = "tcp4"
	}
	conn, err := l.Dial(within, network, net.JoinHostPort(server, l.Port))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", server, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c, err := connect(conn, server, l.Host)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: greeting: %w", server, err)
	}
	return c, nil
}
