// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mall/publicity"
	"github.com/chmail/chmail/mall/store"
)

// MallReturns is target.mall_returns: what comes back of the mails of campaigns, to the
// addresses bounce+…, and complaints that mail providers send to an address told them:
//
//	destination_in regexp "bounce[+].*@$(domain)" returns {
//	    deliver_to &returns
//	}
//	destination complaints@$(domain) {
//	    deliver_to &returns
//	}
//
//	target.mall_returns returns { }
type MallReturns struct {
	base
}

var (
	_ module.Module         = (*MallReturns)(nil)
	_ module.DeliveryTarget = (*MallReturns)(nil)
)

func init() {
	register("target.mall_returns", func(b base) module.Module { return &MallReturns{base: b} })
}

const (
	maxReturns  = 10 // addresses of one message
	returnsWait = 30 * time.Second
)

// returns is the publicity of this process's mall, from when it runs; nil: there is none.
var returns atomic.Pointer[publicity.Publicity]

// Init implements module.Module.
func (m *MallReturns) Init(cfg *config.Map) error {
	m.debug(cfg)
	_, err := cfg.Process()
	return err
}

// Start implements module.DeliveryTarget.
func (m *MallReturns) Start(context.Context, *module.MsgMetadata, string) (module.Delivery, error) {
	p := returns.Load()
	if p == nil {
		return nil, returnsAnswer(451, exterrors.EnhancedCode{4, 3, 0}, "The mall does not run here now, try again",
			nil)
	}
	return &returning{m: m, to: p}, nil
}

type returning struct {
	m     *MallReturns
	to    *publicity.Publicity
	rcpts []string
}

// AddRcpt implements module.Delivery.
func (d *returning) AddRcpt(_ context.Context, rcpt string, _ smtp.RcptOptions) error {
	if len(d.rcpts) == maxReturns {
		return returnsAnswer(452, exterrors.EnhancedCode{4, 5, 3}, "Too many recipients", nil)
	}
	d.rcpts = append(d.rcpts, rcpt)
	return nil
}

// Body implements module.Delivery. It takes the report here, where it can still be
// refused. The same report again changes nothing.
func (d *returning) Body(ctx context.Context, header textproto.Header, body buffer.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, returnsWait)
	defer cancel()
	for _, rcpt := range d.rcpts {
		err := d.take(ctx, rcpt, header, body)
		_, ours := d.to.MailOf(rcpt)
		switch {
		case err == nil:
		case errors.Is(err, publicity.ErrNoReport) && ours: // such as "on holiday"
		case errors.Is(err, publicity.ErrNoReport):
			return returnsAnswer(550, exterrors.EnhancedCode{5, 6, 0}, "Only reports of mail systems are read here",
				err)
		case errors.Is(err, store.ErrUnknown):
			return returnsAnswer(550, exterrors.EnhancedCode{5, 1, 1}, "That is about no mail of ours", err)
		default:
			d.m.out.Error("a mail that came back", err)
			return returnsAnswer(451, exterrors.EnhancedCode{4, 3, 0}, "It cannot be stored now, try again", err)
		}
	}
	return nil
}

func (d *returning) take(ctx context.Context, rcpt string, header textproto.Header, body buffer.Buffer) error {
	var head bytes.Buffer
	if err := textproto.WriteHeader(&head, header); err != nil {
		return err
	}
	b, err := body.Open()
	if err != nil {
		return err
	}
	defer b.Close()
	return d.to.Returned(ctx, rcpt, io.MultiReader(&head, b))
}

func returnsAnswer(code int, enhanced exterrors.EnhancedCode, text string, cause error) error {
	return &exterrors.SMTPError{Code: code, EnhancedCode: enhanced, Message: text, TargetName: "target.mall_returns",
		Err: cause}
}

// Abort implements module.Delivery.
func (*returning) Abort(context.Context) error { return nil }

// Commit implements module.Delivery.
func (*returning) Commit(context.Context) error { return nil }
