// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/addresses"
)

// Delivery is target.addresses: it delivers to whom a chmail.addresses resolves an address.
//
//	target.addresses local_delivery {
//	    addresses &addresses    # required
//	    deliver_to &mailboxes   # required: the accounts
//	    outside &remote_queue   # forwarded mail, as it came; default: none leaves
//	    answers &outgoing       # notices of people who are away; default: none are sent
//	    debug no
//	}
type Delivery struct {
	base
	addresses *Addresses
	mailboxes module.DeliveryTarget
	outside   module.DeliveryTarget // nil: nothing is forwarded
	answers   module.DeliveryTarget // nil: nobody is answered
}

var (
	_ module.Module         = (*Delivery)(nil)
	_ module.DeliveryTarget = (*Delivery)(nil)
)

func init() {
	register("target.addresses", func(b base) module.Module { return &Delivery{base: b} })
}

// Init reads the block.
func (t *Delivery) Init(cfg *config.Map) error {
	cfg.Custom("addresses", false, true, nil, reference[*Addresses]("chmail"), &t.addresses)
	cfg.Custom("deliver_to", false, true, nil, modconfig.DeliveryDirective, &t.mailboxes)
	cfg.Custom("outside", false, false, absent[module.DeliveryTarget], modconfig.DeliveryDirective, &t.outside)
	cfg.Custom("answers", false, false, absent[module.DeliveryTarget], modconfig.DeliveryDirective, &t.answers)
	t.debug(cfg)
	_, err := cfg.Process()
	return err
}

// routed is one message on its way to accounts and to addresses elsewhere.
type routed struct {
	t     *Delivery
	store *addresses.Store
	meta  *module.MsgMetadata
	from  string

	local     module.Delivery // nil: nobody here yet
	logins    []string
	forwards  []*forward
	accounts  []received // who may answer
	retained  []string   // logins that forward all, and get here what is not forwarded
	unanswers bool       // no notice answers: a bounce of forwarded mail
	header    textproto.Header
}

// received is an account and the address at which it got the message.
type received struct{ login, addr string }

// forward is what leaves with one sender, by one alias or login.
type forward struct {
	from string
	to   []string
	via  string // empty: it goes back to whom it was forwarded for
	opts smtp.RcptOptions
	next module.Delivery
}

// Start implements module.DeliveryTarget.
func (t *Delivery) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	store, err := t.addresses.open()
	if err != nil {
		return nil, awayForNow(err)
	}
	return &routed{t: t, store: store, meta: meta, from: from}, nil
}

func awayForNow(err error) error {
	return &exterrors.SMTPError{Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 3, 0},
		Message: "Whose address it is cannot be looked up just now, try again later", TargetName: "target.addresses",
		Err: err}
}

func refuse(code int, enhanced exterrors.EnhancedCode, text string, err error) error {
	return &exterrors.SMTPError{Code: code, EnhancedCode: enhanced, Message: text, TargetName: "target.addresses",
		Err: err}
}

// AddRcpt implements module.Delivery.
func (d *routed) AddRcpt(ctx context.Context, rcpt string, opts smtp.RcptOptions) error {
	back, ok, err := d.store.Bounce(rcpt, d.from, time.Now())
	if err != nil {
		return refuse(550, exterrors.EnhancedCode{5, 1, 1}, "No such address here: it takes bounces alone", err)
	}
	if ok {
		d.unanswers = true
		return d.leave(back, "", addresses.DomainOf(rcpt), opts)
	}
	way, err := d.store.Resolve(ctx, rcpt, true)
	switch {
	case errors.Is(err, addresses.ErrUnknown):
		return refuse(550, exterrors.EnhancedCode{5, 1, 1}, "No such address here: check how it is written", err)
	case errors.Is(err, addresses.ErrDisabled):
		return refuse(550, exterrors.EnhancedCode{5, 2, 1}, "This account is disabled and takes no mail", err)
	case errors.Is(err, addresses.ErrFull):
		return refuse(554, exterrors.EnhancedCode{5, 4, 6}, "The address leads to too many others", err)
	case err != nil:
		return awayForNow(err)
	}
	if slices.ContainsFunc(way.Outside, func(o addresses.Outside) bool { return o.Via == "" }) {
		return refuse(550, exterrors.EnhancedCode{5, 1, 1}, "This server does not serve the domain of the address", nil)
	}
	if err := d.stay(ctx, rcpt, way.Logins, opts); err != nil {
		return err
	}
	for _, o := range way.Outside {
		if err := d.leave(o.Addr, o.Via, addresses.DomainOf(o.Via), opts); err != nil {
			return err
		}
		if o.Forwarded && !slices.Contains(way.Logins, o.Via) {
			d.retained = append(d.retained, o.Via)
		}
	}
	for _, login := range way.Accounts {
		d.accounts = append(d.accounts, received{login, addresses.Fold(rcpt)})
	}
	d.t.out.DebugMsg("resolved", "rcpt", rcpt, "logins", strings.Join(way.Logins, " "), "outside", len(way.Outside),
		"msg_id", d.meta.ID)
	return nil
}

// stay adds accounts as recipients. Of several all get the message or none, so that the
// sender's next try brings nobody a second copy.
func (d *routed) stay(ctx context.Context, rcpt string, logins []string, opts smtp.RcptOptions) (err error) {
	if len(logins) > 1 {
		probe, err := d.t.mailboxes.Start(ctx, d.meta.DeepCopy(), d.from)
		if err != nil {
			return err
		}
		defer func() { _ = probe.Abort(ctx) }() // nothing was written
		for _, login := range logins {
			if err := probe.AddRcpt(ctx, login, opts); err != nil {
				return err
			}
		}
	}
	for _, login := range logins {
		if slices.Contains(d.logins, login) {
			continue
		}
		if d.local == nil {
			if d.local, err = d.t.mailboxes.Start(ctx, d.meta, d.from); err != nil {
				return err
			}
		}
		to := login
		if len(logins) == 1 && addresses.Untagged(addresses.Fold(rcpt), d.t.addresses.delimiter) == login {
			to = rcpt // as it was written, with its tag
		}
		if err := d.local.AddRcpt(ctx, to, opts); err != nil {
			return err
		}
		d.logins = append(d.logins, login)
	}
	return nil
}

// leave adds an address elsewhere. domain forwards to it.
func (d *routed) leave(to, via, domain string, opts smtp.RcptOptions) error {
	if d.t.outside == nil {
		return refuse(550, exterrors.EnhancedCode{5, 7, 1}, "This server forwards no mail", nil)
	}
	from, err := d.store.Forwarder(context.Background(), d.from, domain, time.Now())
	if err != nil {
		return refuse(550, exterrors.EnhancedCode{5, 1, 7}, "The sender is none that mail can be forwarded from", err)
	}
	i := slices.IndexFunc(d.forwards, func(f *forward) bool { return f.from == from && f.via == via })
	if i < 0 {
		i = len(d.forwards)
		d.forwards = append(d.forwards, &forward{from: from, via: via, opts: opts})
	}
	if f := d.forwards[i]; !slices.Contains(f.to, to) {
		f.to = append(f.to, to)
	}
	return nil
}

// Body implements module.Delivery.
func (d *routed) Body(ctx context.Context, header textproto.Header, body buffer.Buffer) error {
	d.header = header
	passed := header.Values("Delivered-To")
	been := func(f *forward) bool {
		return f.via != "" && slices.ContainsFunc(passed, func(p string) bool { return addresses.Fold(p) == f.via })
	}
	all := len(d.forwards)
	d.forwards = slices.DeleteFunc(d.forwards, been)
	looped := len(d.forwards) < all
	// Junk is not handed on, which would be ours where it arrives. It stays in the mailbox.
	junk := d.meta.Quarantine && len(d.forwards) > 0
	if junk {
		d.forwards = nil
	}
	if looped || junk {
		if err := d.stay(ctx, "", d.retained, smtp.RcptOptions{}); err != nil {
			return err
		}
	}
	refused, err := d.begin(ctx)
	if err != nil {
		return err
	}
	if d.local == nil && len(d.forwards) == 0 {
		if refused {
			return refuse(550, exterrors.EnhancedCode{5, 2, 1}, "The address takes no mail at present", nil)
		}
		if looped {
			return refuse(554, exterrors.EnhancedCode{5, 4, 6}, "The message was here before: it goes in a circle", nil)
		}
		return refuse(550, exterrors.EnhancedCode{5, 7, 1}, "The message looks like junk and is not forwarded", nil)
	}
	if d.local != nil {
		if err := d.local.Body(ctx, header, body); err != nil {
			return err
		}
	}
	for _, f := range d.forwards {
		if err := f.send(ctx, header, body); err != nil {
			return err
		}
	}
	return nil
}

// begin names the recipients elsewhere to the target for mail that leaves. One that is
// refused for good keeps nobody else from the message: who forwards there has it in the
// mailbox. It says whether any was.
func (d *routed) begin(ctx context.Context) (refused bool, err error) {
	var left []*forward
	for i, f := range d.forwards {
		meta := d.meta.DeepCopy()
		meta.ID += "-f" + strconv.Itoa(i+1)
		meta.OriginalFrom = f.from
		meta.OriginalRcpts = maps.Clone(d.meta.OriginalRcpts)
		if f.next, err = d.t.outside.Start(ctx, meta, f.from); err != nil {
			return refused, err
		}
		accepted := 0
		for _, to := range f.to {
			switch err := f.next.AddRcpt(ctx, to, f.opts); {
			case err == nil:
				accepted++
				continue
			case exterrors.IsTemporary(err):
				return refused, err
			default:
				d.t.out.Error("an address elsewhere is left out", err, "via", f.via, "msg_id", d.meta.ID)
			}
			refused = true
			if slices.Contains(d.retained, f.via) {
				if err := d.stay(ctx, "", []string{f.via}, smtp.RcptOptions{}); err != nil {
					return refused, err
				}
			}
		}
		if accepted > 0 {
			left = append(left, f)
			continue
		}
		next := f.next
		f.next = nil
		if err := next.Abort(ctx); err != nil {
			return refused, err
		}
	}
	d.forwards = left
	return refused, nil
}

// send hands a copy to the target for mail that leaves, as it came: its DKIM signature
// stays good.
func (f *forward) send(ctx context.Context, header textproto.Header, body buffer.Buffer) error {
	if f.via != "" {
		header = header.Copy()
		header.Add("Delivered-To", f.via)
	}
	return f.next.Body(ctx, header, body)
}

// Abort implements module.Delivery.
func (d *routed) Abort(ctx context.Context) error {
	var errs []error
	if d.local != nil {
		errs = append(errs, d.local.Abort(ctx))
	}
	for _, f := range d.forwards {
		if f.next != nil {
			errs = append(errs, f.next.Abort(ctx))
		}
	}
	return errors.Join(errs...)
}

// Commit implements module.Delivery. Copies that leave come last: where one fails, the
// sender tries again, and the mailbox has the message twice rather than not at all.
func (d *routed) Commit(ctx context.Context) error {
	if d.local != nil {
		local := d.local
		d.local = nil
		if err := local.Commit(ctx); err != nil {
			return err
		}
	}
	for _, f := range d.forwards {
		next := f.next
		f.next = nil
		if err := next.Commit(ctx); err != nil {
			return err
		}
		d.t.out.Msg("forwarded", "msg_id", d.meta.ID, "via", f.via, "recipients", len(f.to))
	}
	if d.t.answers != nil && !d.meta.Quarantine && !d.unanswers {
		for _, r := range d.accounts {
			if err := d.answer(ctx, r); err != nil { // the mail itself is delivered
				d.t.out.Error("answering for somebody who is away", err, "login", r.login, "msg_id", d.meta.ID)
			}
		}
	}
	return nil
}

// answer sends the notice of an account, if it has one for this message.
func (d *routed) answer(ctx context.Context, r received) error {
	p, err := d.store.Person(ctx, r.login)
	if err != nil {
		return err
	}
	now := time.Now()
	own := []string{r.login, r.addr, addresses.Untagged(r.addr, d.t.addresses.delimiter)}
	if !p.Rules.Vacation.Wants(now, d.header, d.from, own...) {
		return nil
	}
	if may, err := d.store.Answer(ctx, r.login, d.from, now); err != nil || !may {
		return err
	}
	id, err := module.GenerateMsgID()
	if err != nil {
		return err
	}
	header, body := p.Rules.Vacation.Notice(now, d.header, r.login, d.from, id, d.header.Get("Content-Language"))
	meta := &module.MsgMetadata{ID: id, Conn: &module.ConnState{}} // the pipeline wants to know of one
	return deliverTo(ctx, d.t.answers, meta, d.from, header, body)
}
