// SPDX-License-Identifier: GPL-3.0-or-later

package reply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/transcript"
)

type fakeRelay struct {
	addr, reply error
	said        []string
}

func (f *fakeRelay) ReplyAddress(context.Context, string) (transcript.Address, error) {
	return transcript.Address{}, f.addr
}

func (f *fakeRelay) Reply(_ context.Context, addr string, mail io.Reader) error {
	if f.reply != nil {
		return f.reply
	}
	p, err := transcript.Parse(mail)
	f.said = append(f.said, addr+" "+p.MessageID+" "+p.Text)
	return err
}

// deliver is what SMTP does with one mail.
func deliver(t *Target, rcpts ...string) error {
	ctx := context.Background()
	d, err := t.Start(ctx, &module.MsgMetadata{ID: "1"}, "kim@far.example")
	if err != nil {
		return err
	}
	for _, rcpt := range rcpts {
		if err := d.AddRcpt(ctx, rcpt, smtp.RcptOptions{}); err != nil {
			return err
		}
	}
	h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader("From: kim@far.example\r\n" +
		"Message-ID: <1@far>\r\n\r\n")))
	if err != nil {
		return err
	}
	if err := d.Body(ctx, h, buffer.MemoryBuffer{Slice: []byte("Yes.\r\n\r\n> No?\r\n")}); err != nil {
		return err
	}
	return d.Commit(ctx)
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	f := &fakeRelay{}
	target := &Target{Log: slog.New(slog.DiscardHandler), Relay: func() Replies { return f }}
	if err := deliver(target, "reply+a@mall.example"); err != nil {
		t.Fatal(err)
	}
	if len(f.said) != 1 || f.said[0] != "reply+a@mall.example 1@far Yes." {
		t.Errorf("said %q", f.said)
	}
	for name, c := range map[string]struct {
		addr, reply error
		code        int
		text        string
	}{
		"a bad seal":       {addr: transcript.ErrAddress, code: 550, text: "damaged"},
		"too old":          {addr: transcript.ErrExpired, code: 550, text: "expired"},
		"no room":          {addr: fmt.Errorf("x: %w", chat.ErrUnknown), code: 550, text: "gone"},
		"another sender":   {reply: transcript.ErrSender, code: 550, text: "address that the transcript"},
		"nothing new":      {reply: transcript.ErrEmpty, code: 550, text: "no text"},
		"too long":         {reply: transcript.ErrTooLong, code: 552, text: "too long"},
		"too large":        {reply: transcript.ErrTooLarge, code: 552, text: "too large"},
		"not a mail":       {reply: transcript.ErrMalformed, code: 550, text: "cannot be read"},
		"no database":      {reply: errors.New("the secret cause"), code: 451, text: "try again"},
		"none to look at":  {addr: errors.New("the secret cause"), code: 451, text: "try again"},
		"too many at once": {code: 452, text: "Too many"},
	} {
		f.addr, f.reply = c.addr, c.reply
		rcpts := []string{"reply+a@mall.example"}
		if c.code == 452 {
			rcpts = make([]string, maxRecipients+1)
		}
		var e *exterrors.SMTPError
		if err := deliver(target, rcpts...); !errors.As(err, &e) || e.Code != c.code ||
			e.EnhancedCode[0] != c.code/100 ||
			!strings.Contains(e.Message, c.text) || strings.Contains(e.Message, "secret") {
			t.Errorf("%s: %#v", name, err)
		}
	}
	off := &Target{Log: slog.New(slog.DiscardHandler), Relay: func() Replies { return nil }}
	if err := deliver(off); !exterrors.IsTemporary(err) {
		t.Errorf("without a relay: %v", err)
	}
}
