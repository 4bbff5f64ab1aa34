// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mta"
	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

// delivery is one message on its way into mailboxes. Body stages it, Commit
// shows and syncs it: what was answered 250 is on the disk.
type mailDelivery struct {
	m      *Maildrop
	meta   *module.MsgMetadata
	from   string
	to     []mailstore.Recipient
	rcptTo []string // as SMTP gave them, beside to
	staged *mailstore.Staged

	messageID string
}

// Start implements module.DeliveryTarget.
func (m *Maildrop) Start(_ context.Context, meta *module.MsgMetadata, mailFrom string) (module.Delivery, error) {
	if m.store == nil {
		return nil, errElsewhere
	}
	return &mailDelivery{m: m, meta: meta, from: mailFrom}, nil
}

// smtpErrors are the answers to what the store refuses (RFC 3463, RFC 5248).
var smtpErrors = []struct {
	is       error
	code     int
	enhanced exterrors.EnhancedCode
	text     string
}{
	{mailstore.ErrNoAccount, 550, exterrors.EnhancedCode{5, 1, 1}, "No such user here"},
	{mailstore.ErrTooLarge, 552, exterrors.EnhancedCode{5, 2, 3}, "The message is larger than the mailbox may hold"},
	{mailstore.ErrQuota, 452, exterrors.EnhancedCode{4, 2, 2}, "The mailbox is full, try again later"},
	{mailstore.ErrFull, 452, exterrors.EnhancedCode{4, 3, 1}, "No room for mail just now, try again later"},
}

func smtpError(err error) error {
	if err == nil {
		return nil
	}
	answer := &exterrors.SMTPError{
		Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 3, 0},
		Message:    "The message cannot be stored just now, try again later",
		TargetName: "storage.maildrop", Err: err,
	}
	for _, e := range smtpErrors {
		if errors.Is(err, e.is) {
			answer.Code, answer.EnhancedCode, answer.Message = e.code, e.enhanced, e.text
			break
		}
	}
	return answer
}

func noAccount(err error) error { return fmt.Errorf("%w: %w", mailstore.ErrNoAccount, err) }

// account finds the account of a recipient: that of the address as it is, else that
// of the address without its tag.
func (m *Maildrop) account(ctx context.Context, rcptTo string) (string, error) {
	login, err := m.fold(rcptTo)
	if err != nil {
		return "", noAccount(err)
	}
	plain := addresses.Untagged(login, m.tag)
	if plain == login {
		return m.accountOf(ctx, login)
	}
	account, err := m.accountOf(ctx, login)
	if err == nil {
		var there bool
		if there, err = m.store.HasAccount(account); err == nil && !there {
			err = mailstore.ErrNoAccount
		}
	}
	if errors.Is(err, mailstore.ErrNoAccount) {
		return m.accountOf(ctx, plain)
	}
	return account, err
}

// accountOf is the account that an address leads to.
func (m *Maildrop) accountOf(ctx context.Context, login string) (string, error) {
	if m.mapped == nil {
		return login, nil
	}
	mapped, ok, err := m.mapped.Lookup(ctx, login)
	if err == nil && !ok {
		return "", mailstore.ErrNoAccount
	}
	return mapped, err
}

// AddRcpt implements module.Delivery. It refuses who is not there, and what
// does not fit as far as SIZE tells (RFC 1870).
func (d *mailDelivery) AddRcpt(ctx context.Context, rcptTo string, _ smtp.RcptOptions) error {
	login, err := d.m.account(ctx, rcptTo)
	if err == nil && slices.ContainsFunc(d.to, func(r mailstore.Recipient) bool { return r.Login == login }) {
		return nil
	}
	if err == nil {
		err = d.m.store.Fits(login, d.meta.SMTPOpts.Size)
	}
	if err != nil {
		return smtpError(err)
	}
	d.to = append(d.to, mailstore.Recipient{Login: login})
	d.rcptTo = append(d.rcptTo, rcptTo)
	return nil
}

// Body implements module.Delivery.
func (d *mailDelivery) Body(_ context.Context, header textproto.Header, body buffer.Buffer) error {
	d.messageID = header.Get("Message-Id")
	for i := range d.to {
		r := &d.to[i]
		if strings.HasPrefix(d.meta.ID, mta.OnceID) {
			r.Once = d.meta.ID
		}
		r.Prefix = []byte("Return-Path: <" + oneLine(d.from) + ">\r\nDelivered-To: " + oneLine(r.Login) + "\r\n")
		if d.meta.Quarantine {
			r.Use, r.Mailbox, r.Flags = `\Junk`, d.m.junk, []string{"$Junk"}
			continue
		}
		r.Mailbox, r.Flags = d.sort(r.Login, d.rcptTo[i], header, body)
	}
	var head bytes.Buffer
	if err := textproto.WriteHeader(&head, header); err != nil {
		return smtpError(fmt.Errorf("writing the header: %w", err))
	}
	r, err := body.Open()
	if err != nil {
		return smtpError(fmt.Errorf("reading the body: %w", err))
	}
	defer r.Close()
	if d.staged, err = d.m.store.Stage(io.MultiReader(&head, r)); err != nil {
		return smtpError(err)
	}
	for _, r := range d.to {
		if err := d.m.store.Fits(r.Login, d.staged.Octets()+int64(len(r.Prefix))); err != nil {
			return smtpError(&mailstore.RecipientError{Login: r.Login, Err: err})
		}
	}
	return nil
}

// sort finds the mailbox and the flags of a message: by the login's own filters, else by
// those of the block.
func (d *mailDelivery) sort(login, rcpt string, header textproto.Header, body buffer.Buffer) (string, []string) {
	var filters []module.IMAPFilter
	if d.m.set != nil {
		filters = append(filters, d.m.set)
	}
	if d.m.filters != nil {
		filters = append(filters, d.m.filters)
	}
	for _, f := range filters {
		folder, flags, err := f.IMAPFilter(login, rcpt, d.meta, header, body)
		if err != nil { // a filter never keeps mail away
			d.m.out.Error("a filter", err, "login", login, "msg_id", d.meta.ID)
		} else if folder != "" || len(flags) > 0 {
			return folder, flags
		}
	}
	return "", nil
}

// oneLine keeps an address from ending its header field.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
}

// Abort implements module.Delivery.
func (d *mailDelivery) Abort(context.Context) error {
	if d.staged != nil {
		d.staged.Abort()
	}
	return nil
}

// Commit implements module.Delivery.
func (d *mailDelivery) Commit(ctx context.Context) error {
	if d.staged == nil {
		return nil
	}
	defer d.staged.Abort()
	if err := d.staged.Put(ctx, d.to); err != nil {
		return smtpError(err)
	}
	log := d.m.log()
	for i, r := range d.to {
		log.Info("delivered", "msg_id", d.meta.ID, "message_id", d.messageID, "login", r.Login, "rcpt", d.rcptTo[i],
			"alias", d.meta.OriginalRcpts[d.rcptTo[i]], "folder", cmp.Or(r.Mailbox, "INBOX"),
			"size", d.staged.Octets()+int64(len(r.Prefix)))
	}
	return nil
}
