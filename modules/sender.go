// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-msgauth/authres"
	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/publicsuffix"

	"github.com/chmail/chmail/mta/greylist"
)

// Sender is check.chmail_sender: maddy's checks dkim and spf, which it reads as one. A
// forwarded mail fails SPF, since another server sends it, but the author's signature is
// still good: it is no junk for that. It may also ask senders who were never seen to come
// again in five minutes (mta/greylist).
//
//	check {
//	    chmail_sender {
//	        greylist no # yes: file greylist.json in the state directory
//	        dkim { … } # maddy's directives; default: its defaults
//	        spf { … }
//	    }
//	}
type Sender struct {
	base
	dkim, spf module.Check
	greylist  *greylist.List // nil: nobody is asked to come again
}

// correspondents is the list that learns whom people here write to; nil: there is none.
var correspondents atomic.Pointer[greylist.List]

var (
	_ module.Module = (*Sender)(nil)
	_ module.Check  = (*Sender)(nil)
	_ io.Closer     = (*Sender)(nil)
)

func init() {
	register("check.chmail_sender", func(b base) module.Module { return &Sender{base: b} })
}

// Init implements module.Module.
func (m *Sender) Init(cfg *config.Map) error {
	for name, check := range map[string]*module.Check{"dkim": &m.dkim, "spf": &m.spf} {
		cfg.Custom(name, false, false,
			func() (any, error) { return newCheck(name, cfg.Globals, config.Node{Name: name}) },
			func(c *config.Map, node config.Node) (any, error) { return newCheck(name, c.Globals, node) }, check)
	}
	var grey bool
	cfg.Bool("greylist", false, false, &grey)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil || !grey || module.NoRun {
		return err
	}
	list, err := greylist.Open(inState("greylist.json"), m.log())
	if err != nil {
		return err
	}
	m.greylist = list
	correspondents.Store(list)
	return nil
}

// Close implements io.Closer.
func (m *Sender) Close() error {
	if m.greylist == nil {
		return nil
	}
	correspondents.CompareAndSwap(m.greylist, nil)
	return m.greylist.Close()
}

// newCheck makes one of maddy's checks.
func newCheck(name string, globals map[string]any, node config.Node) (module.Check, error) {
	if len(node.Args) > 0 {
		return nil, config.NodeErr(node, "%s takes a block", name)
	}
	m, err := module.Get("check."+name)("check."+name, "", nil, nil)
	if err != nil {
		return nil, err
	}
	if err := m.Init(config.NewMap(globals, node)); err != nil {
		return nil, err
	}
	return m.(module.Check), nil
}

// CheckStateForMsg implements module.Check.
func (m *Sender) CheckStateForMsg(ctx context.Context, meta *module.MsgMetadata) (module.CheckState, error) {
	signed, err := m.dkim.CheckStateForMsg(ctx, meta)
	if err != nil {
		return nil, err
	}
	sent, err := m.spf.CheckStateForMsg(ctx, meta)
	if err != nil {
		return nil, errors.Join(err, signed.Close())
	}
	return &senderState{m: m, meta: meta, dkim: signed, spf: sent}, nil
}

type senderState struct {
	m         *Sender
	meta      *module.MsgMetadata
	dkim, spf module.CheckState
}

// CheckConnection implements module.CheckState.
func (s *senderState) CheckConnection(ctx context.Context) module.CheckResult {
	return s.spf.CheckConnection(ctx) // dkim has nothing to say before the body
}

// CheckSender implements module.CheckState.
func (s *senderState) CheckSender(ctx context.Context, from string) module.CheckResult {
	return s.spf.CheckSender(ctx, from)
}

// CheckRcpt implements module.CheckState.
func (s *senderState) CheckRcpt(ctx context.Context, to string) module.CheckResult {
	return s.spf.CheckRcpt(ctx, to)
}

// CheckBody implements module.CheckState.
func (s *senderState) CheckBody(ctx context.Context, header textproto.Header, body buffer.Buffer) module.CheckResult {
	signed, sent := s.dkim.CheckBody(ctx, header, body), s.spf.CheckBody(ctx, header, body)
	if (sent.Quarantine || sent.Reject) && signedByAuthor(header, signed.AuthResult) {
		s.m.out.Msg("SPF fails, but the author's signature is good: forwarded", "msg_id", s.meta.ID)
		sent.Quarantine, sent.Reject, sent.Reason = false, false, nil
	}
	result := module.CheckResult{
		Reason: deciding(signed, sent), Reject: signed.Reject || sent.Reject,
		Quarantine: signed.Quarantine || sent.Quarantine, AuthResult: append(signed.AuthResult, sent.AuthResult...),
	}
	if wait := s.wait(header, result); wait > 0 {
		s.m.out.Msg("a new sender is asked to come again", "msg_id", s.meta.ID, "from", s.meta.OriginalFrom)
		result.Reject, result.Reason = true, &exterrors.SMTPError{Code: 451,
			EnhancedCode: exterrors.EnhancedCode{4, 7, 1}, CheckName: "check.chmail_sender",
			Message: fmt.Sprintf("The first mail of a new sender: try again in %v", wait.Round(time.Second))}
	}
	return result
}

// wait says how long a new sender is to wait.
func (s *senderState) wait(header textproto.Header, r module.CheckResult) time.Duration {
	if s.m.greylist == nil || r.Reject || s.meta.Conn == nil {
		return 0
	}
	tcp, ok := s.meta.Conn.RemoteAddr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return 0
	}
	mail := greylist.Mail{Addr: tcp.AddrPort().Addr(), From: s.meta.OriginalFrom}
	_, domain, _ := address.Split(mail.From)
	for _, result := range r.AuthResult {
		if spf, ok := result.(*authres.SPFResult); ok && spf.Value == authres.ResultPass && domain != "" {
			mail.Proven = organization(domain)
		}
	}
	if author := author(header); mail.Proven == "" && signedByAuthor(header, r.AuthResult) {
		mail.Proven = organization(author)
	}
	return s.m.greylist.Seen(mail)
}

// deciding is the reason of the check that decides.
func deciding(a, b module.CheckResult) error {
	if b.Reject && !a.Reject || a.Reason == nil {
		return b.Reason
	}
	return a.Reason
}

// Close implements module.CheckState.
func (s *senderState) Close() error { return errors.Join(s.dkim.Close(), s.spf.Close()) }

// signedByAuthor says whether a good signature is that of the From field's domain, or of
// the same organization (RFC 7489 section 3.1.1, relaxed).
func signedByAuthor(header textproto.Header, results []authres.Result) bool {
	domain := author(header)
	if domain == "" {
		return false
	}
	for _, r := range results {
		if d, ok := r.(*authres.DKIMResult); ok && d.Value == authres.ResultPass &&
			organization(d.Domain) == organization(domain) {
			return true
		}
	}
	return false
}

// author is the domain of the From field; empty: there is none, or not one.
func author(header textproto.Header) string {
	if header.FieldsByKey("From").Len() != 1 {
		return ""
	}
	from := header.Get("From")
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		from, _, _ = strings.Cut(from[i+1:], ">")
	}
	_, domain, err := address.Split(strings.TrimSpace(from))
	if err != nil {
		return ""
	}
	return domain
}

func organization(domain string) string {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}
