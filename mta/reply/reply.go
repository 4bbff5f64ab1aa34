// SPDX-License-Identifier: GPL-3.0-or-later

// Package reply is where answers to transcripts go in: a delivery target for
// the addresses reply+SEAL@DOMAIN, behind which the relay says what is new in
// a mail in its conversation.
//
// A bad address is refused at RCPT, a mail that says nothing new, comes from a
// wrong sender or may be forged before it is accepted, each with words for its
// sender; what machines sent is accepted and dropped, so that nothing answers
// anything in a circle.
package reply

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/transcript"
)

const (
	targetName    = "target.chmail_reply"
	maxRecipients = 10               // reply addresses of one message; more are answered 452
	timeout       = 30 * time.Second // for saying one answer
)

// Replies is what the target needs of a chatrelay.Relay.
type Replies interface {
	ReplyAddress(ctx context.Context, addr string) (transcript.Address, error)
	Reply(ctx context.Context, addr string, mail io.Reader) error
}

// Target is a delivery target for reply addresses.
type Target struct {
	Relay    func() Replies // nil: it does not run
	Hostname string         // under which the pipeline writes Authentication-Results
	Log      *slog.Logger
}

// Start implements module.DeliveryTarget.
func (t *Target) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	relay := t.Relay()
	if relay == nil {
		return nil, refusal(451, exterrors.EnhancedCode{4, 3, 0}, "Chat is not available, try again later", nil)
	}
	return &delivery{t: t, relay: relay, meta: meta, machine: from == "" || from == "<>"}, nil
}

type delivery struct {
	t       *Target
	relay   Replies
	meta    *module.MsgMetadata // the caller's: checks may still set its flags
	machine bool                // the null sender: nobody has answered (RFC 3834 section 2)
	rcpts   []string
}

// AddRcpt implements module.Delivery.
func (d *delivery) AddRcpt(ctx context.Context, rcpt string, _ smtp.RcptOptions) error {
	if len(d.rcpts) == maxRecipients {
		return refusal(452, exterrors.EnhancedCode{4, 5, 3},
			"Too many recipients, send the rest in another transaction", nil)
	}
	if _, err := d.relay.ReplyAddress(ctx, rcpt); err != nil {
		return d.refused(err)
	}
	d.rcpts = append(d.rcpts, rcpt)
	return nil
}

// Body implements module.Delivery. The answers are said here, where they can
// still be refused: Commit cannot fail for a reason of the sender's. If a
// later one fails and the mail comes again, those said before are known by
// their Message-ID.
func (d *delivery) Body(ctx context.Context, header textproto.Header, body buffer.Buffer) error {
	if d.machine {
		return nil
	}
	if err := proven(d.meta, header, d.t.Hostname); err != nil {
		return d.refused(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, rcpt := range d.rcpts {
		if err := d.say(ctx, rcpt, header, body); err != nil {
			return d.refused(err)
		}
	}
	return nil
}

func (d *delivery) say(ctx context.Context, rcpt string, header textproto.Header, body buffer.Buffer) error {
	var head bytes.Buffer
	if err := textproto.WriteHeader(&head, header); err != nil {
		return err
	}
	b, err := body.Open()
	if err != nil {
		return err
	}
	defer b.Close()
	return d.relay.Reply(ctx, rcpt, io.MultiReader(&head, b))
}

// refused says to the sender what is wrong; what may be well later is a 451.
func (d *delivery) refused(err error) error {
	text := transcript.Refusal(err)
	switch {
	case errors.Is(err, errUnproven):
		return refusal(550, exterrors.EnhancedCode{5, 7, 1}, "Your mail system does not show that this answer comes"+
			" from you (SPF or DKIM). Use the link in the mail you answered", err)
	case errors.Is(err, errNoAnswer):
		return refusal(451, exterrors.EnhancedCode{4, 7, 5},
			"It cannot be found out now that this answer comes from you, try again later", err)
	case text == "":
		d.t.Log.Error("an answer by mail", "err", err, "msg", d.meta.ID)
		return refusal(451, exterrors.EnhancedCode{4, 3, 0}, "The conversation is not available, try again later", err)
	case errors.Is(err, transcript.ErrTooLarge), errors.Is(err, transcript.ErrTooLong):
		return refusal(552, exterrors.EnhancedCode{5, 3, 4}, text, err)
	case errors.Is(err, transcript.ErrEmpty), errors.Is(err, transcript.ErrMalformed):
		return refusal(550, exterrors.EnhancedCode{5, 6, 0}, text, err)
	case errors.Is(err, transcript.ErrSender), errors.Is(err, transcript.ErrExpired):
		return refusal(550, exterrors.EnhancedCode{5, 7, 1}, text, err)
	}
	return refusal(550, exterrors.EnhancedCode{5, 1, 1}, text, err)
}

func refusal(code int, enhanced exterrors.EnhancedCode, text string, cause error) error {
	return &exterrors.SMTPError{Code: code, EnhancedCode: enhanced, Message: text, TargetName: targetName, Err: cause}
}

// Abort implements module.Delivery.
func (d *delivery) Abort(context.Context) error { return nil }

// Commit implements module.Delivery.
func (d *delivery) Commit(context.Context) error { return nil }
