// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/mta"
)

// submitTo returns a function that hands what people write at the desk to a
// delivery target, as mail that the login submitted.
func submitTo(target module.DeliveryTarget) func(context.Context, chat.Letter) error {
	return func(ctx context.Context, l chat.Letter) error {
		err := submit(ctx, target, l)
		var answer *exterrors.SMTPError
		if errors.As(err, &answer) && answer.Code >= 500 {
			code := answer.EnhancedCode
			err = &chat.RefusedError{Text: answer.Message, Status: fmt.Sprintf("%d.%d.%d", code[0], code[1], code[2])}
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
	meta := &module.MsgMetadata{OriginalFrom: cmp.Or(l.ReturnPath, l.From.Addr)}
	if l.Once {
		hash := sha256.Sum256([]byte(l.MessageID))
		meta.ID = mta.OnceID + hex.EncodeToString(hash[:16])
	}
	meta.Conn = &module.ConnState{AuthUser: l.Login, Proto: "HTTP"}
	if l.IP.IsValid() {
		meta.Conn.RemoteAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.IP, 0))
	}
	return deliverTo(ctx, target, meta, l.To.Addr, header, body)
}

// deliverTo hands a mail from meta.OriginalFrom to a delivery target. It has the ID
// meta.ID, or a new one.
func deliverTo(ctx context.Context, target module.DeliveryTarget, meta *module.MsgMetadata, to string,
	header textproto.Header, body []byte) (err error) {
	if meta.ID == "" {
		if meta.ID, err = module.GenerateMsgID(); err != nil {
			return err
		}
	}
	meta.DontTraceSender = true
	d, err := target.Start(ctx, meta, meta.OriginalFrom)
	if err != nil {
		return err
	}
	if err = d.AddRcpt(ctx, to, smtp.RcptOptions{}); err == nil {
		err = d.Body(ctx, header, buffer.MemoryBuffer{Slice: body})
	}
	if err != nil {
		return errors.Join(err, d.Abort(ctx))
	}
	return d.Commit(ctx)
}
