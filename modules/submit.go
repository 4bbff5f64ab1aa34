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

	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

// onceID begins the ID of a message that a mailbox or a queue takes once
// (chat.Letter.Once). No ID that maddy makes begins so.
const onceID = "once-"

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
	if l.Once {
		hash := sha256.Sum256([]byte(l.MessageID))
		id = onceID + hex.EncodeToString(hash[:16])
	}
	from := cmp.Or(l.ReturnPath, l.From.Addr)
	conn := &module.ConnState{AuthUser: l.Login, Proto: "HTTP"}
	if l.IP.IsValid() {
		conn.RemoteAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.IP, 0))
	}
	d, err := target.Start(ctx, &module.MsgMetadata{ID: id, Conn: conn, OriginalFrom: from,
		DontTraceSender: true}, from)
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
