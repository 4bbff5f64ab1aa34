// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

const deferringName = "target.deferring"

// Deferring is maddy's `target.deferring`: it delivers to another target, and
// what that one cannot take for a reason that passes is answered 451, so that
// the sender tries again. maddy answers 554 to an error that says nothing of
// itself, and storage.imapsql returns those of its database as they are: a
// transaction that PostgreSQL could not serialize, a locked SQLite file, a
// lost connection.
//
//	deliver_to deferring &mailboxes
type Deferring struct {
	base
	inline []string
	target module.DeliveryTarget
}

var (
	_ module.Module         = (*Deferring)(nil)
	_ module.DeliveryTarget = (*Deferring)(nil)
)

func init() {
	module.Register(deferringName, func(_, instance string, _, args []string) (module.Module, error) {
		return &Deferring{base: base{name: deferringName, instance: instance}, inline: args}, nil
	})
}

// Init implements module.Module.
func (d *Deferring) Init(cfg *config.Map) (err error) {
	if len(d.inline) == 0 {
		return config.NodeErr(cfg.Block, "%s takes the target it delivers to: deliver_to deferring &mailboxes",
			deferringName)
	}
	d.target, err = modconfig.DeliveryTarget(cfg.Globals, d.inline, cfg.Block)
	return err
}

// Start implements module.DeliveryTarget.
func (d *Deferring) Start(ctx context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	inner, err := d.target.Start(ctx, meta, from)
	if err != nil {
		return nil, deferred(err)
	}
	return deferringDelivery{inner}, nil
}

type deferringDelivery struct{ module.Delivery }

func (d deferringDelivery) AddRcpt(ctx context.Context, to string, o smtp.RcptOptions) error {
	return deferred(d.Delivery.AddRcpt(ctx, to, o))
}

func (d deferringDelivery) Body(ctx context.Context, h textproto.Header, b buffer.Buffer) error {
	return deferred(d.Delivery.Body(ctx, h, b))
}

func (d deferringDelivery) Commit(ctx context.Context) error {
	return deferred(d.Delivery.Commit(ctx))
}

// deferred leaves an error that has its answer, and gives 451 to one that has
// none, or a permanent one because of something that passes.
func deferred(err error) error {
	if err == nil {
		return nil
	}
	code, answered := exterrors.Fields(err)["smtp_code"].(int)
	if answered && (code/100 == 4 || !passes(err)) {
		return err
	}
	return &exterrors.SMTPError{
		Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 3, 0},
		Message:    "The mailboxes cannot take the message just now, try again later",
		TargetName: deferringName, Err: err,
	}
}

// passes says whether an error is a database's or a connection's.
func passes(err error) bool {
	var (
		state interface{ SQLState() string } // PostgreSQL's, of either driver
		lost  net.Error
	)
	return errors.As(err, &state) || errors.As(err, &lost) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
