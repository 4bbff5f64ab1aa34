// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

// submitTo returns a function that hands what people write at the desk to a
// delivery target, as mail that the login submitted.
func submitTo(target module.DeliveryTarget) func(context.Context, chat.Letter) error {
	return func(ctx context.Context, l chat.Letter) error {
		err := submit(ctx, target, l)
		var answer *exterrors.SMTPError
		if errors.As(err, &answer) && answer.Code >= 500 {
			err = &chat.RefusedError{Text: answer.Message}
		}
		if err != nil {
			return fmt.Errorf("submitting a mail: %w", err)
		}
		return nil
	}
}

func submit(ctx context.Context, target module.DeliveryTarget, l chat.Letter) error {
	header, body, err := notify.ComposeLetter(l, time.Now())
	if err != nil {
		return err
	}
	id, err := module.GenerateMsgID()
	if err != nil {
		return err
	}
	conn := &module.ConnState{AuthUser: l.Login, Proto: "HTTP",
		RemoteAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.IP, 0))}
	d, err := target.Start(ctx, &module.MsgMetadata{ID: id, Conn: conn, OriginalFrom: l.From.Addr,
		DontTraceSender: true}, l.From.Addr)
	if err != nil {
		return err
	}
	if err = d.AddRcpt(ctx, l.To.Addr, smtp.RcptOptions{}); err == nil {
		err = d.Body(ctx, header, buffer.MemoryBuffer{Slice: body})
	}
	if err != nil {
		return errors.Join(err, d.Abort(ctx))
	}
	return d.Commit(ctx)
}
