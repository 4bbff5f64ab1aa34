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

// deliver is what SMTP does with one mail that the checks have found to be Kim's.
func deliver(t *Target, rcpts ...string) error {
	return deliverAs(t, &module.MsgMetadata{ID: "1"}, "kim@far.example",
		"Authentication-Results: mx.mall.example; dmarc=pass header.from=far.example\r\nReceived: x\r\n"+
			"From: kim@far.example\r\n", rcpts...)
}

func deliverAs(t *Target, meta *module.MsgMetadata, from, header string, rcpts ...string) error {
	ctx := context.Background()
	d, err := t.Start(ctx, meta, from)
	if err != nil {
		return err
	}
	for _, rcpt := range rcpts {
		if err := d.AddRcpt(ctx, rcpt, smtp.RcptOptions{}); err != nil {
			return err
		}
	}
	h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader(header + "Message-ID: <1@far>\r\n\r\n")))
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
	target := &Target{Log: slog.New(slog.DiscardHandler), Hostname: "mx.mall.example",
		Relay: func() Replies { return f }}
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

// TestForged: only mail that is shown to come from the address in its From field
// says something.
func TestForged(t *testing.T) {
	t.Parallel()
	const (
		kim   = "From: Kim <kim@far.example>\r\n"
		ours  = "Authentication-Results: mx.mall.example; "
		taken = "Received: from x by mx.mall.example\r\n"
		end   = "\r\n" + taken + kim
		pass  = "dmarc=pass header.from=far.example"
	)
	login := func(name string) *module.MsgMetadata {
		return &module.MsgMetadata{Conn: &module.ConnState{AuthUser: name}}
	}
	outside := &module.MsgMetadata{Conn: &module.ConnState{}}
	for name, c := range map[string]struct {
		meta   *module.MsgMetadata
		header string
		code   int
	}{
		"its login":           {login("Kim@far.example"), kim, 0},
		"another login":       {login("eve@far.example"), kim, 550},
		"another login, fine": {login("eve@far.example"), ours + "spf=pass smtp.mailfrom=far.example" + end, 550},
		"nothing is known":    {outside, kim, 550},
		"SPF":                 {outside, ours + "spf=pass smtp.mailfrom=far.example" + end, 0},
		"SPF of a part":       {outside, ours + "spf=pass smtp.mailfrom=bounces.far.example" + end, 0},
		"SPF of another":      {outside, ours + "spf=pass smtp.mailfrom=evil.example" + end, 550},
		"SPF fails":           {outside, ours + "spf=fail smtp.mailfrom=far.example" + end, 550},
		"a public suffix": {outside, ours + "spf=pass smtp.mailfrom=evil.co.uk\r\n" + taken +
			"From: k@far.co.uk\r\n", 550},
		"the null sender's": {outside, ours + "spf=pass smtp.helo=far.example" + end, 550},
		"DKIM":              {outside, ours + "spf=none; dkim=pass header.d=far.example" + end, 0},
		"DKIM of another":   {outside, ours + "dkim=pass header.d=evil.example header.i=@far.example" + end, 550},
		"DMARC":             {outside, ours + pass + end, 0},
		"DMARC of another":  {outside, ours + "dmarc=pass header.from=evil.example" + end, 550},
		"not now":           {outside, ours + "dkim=temperror header.d=far.example" + end, 451},
		"another's":         {outside, "Authentication-Results: mx.far.example; " + pass + end, 550},
		"brought along":     {outside, taken + ours + pass + "\r\n" + kim, 550},
		"nowhere received":  {outside, ours + pass + "\r\n" + kim, 550},
		"the client's name": {outside, ours + "spf=fail smtp.helo=\"x; spf=pass\" smtp.mailfrom=far.example" + end,
			550},
		"a reason": {outside, ours + "dkim=fail reason=\"\\\\\"; dmarc=pass header.from=far.example" + end,
			550},
		"an open quote": {outside, ours + "dkim=fail reason=\"x; dmarc=pass header.from=far.example" + end, 550},
		"two From fields": {outside, ours + pass + end +
			"From: eve@far.example\r\n", 550},
		"two addresses": {outside, ours + pass + "\r\n" + taken +
			"From: kim@far.example, eve@far.example\r\n", 550},
		"quarantined": {&module.MsgMetadata{Quarantine: true}, ours + pass + end,
			550},
		"a quarantined login": {&module.MsgMetadata{Quarantine: true, Conn: login("kim@far.example").Conn},
			kim, 550},
	} {
		f := &fakeRelay{}
		target := &Target{Log: slog.New(slog.DiscardHandler), Hostname: "mx.mall.example",
			Relay: func() Replies { return f }}
		err := deliverAs(target, c.meta, "kim@far.example", c.header, "reply+a@mall.example")
		var e *exterrors.SMTPError
		if c.code == 0 && (err != nil || len(f.said) != 1) ||
			c.code != 0 && (!errors.As(err, &e) || e.Code != c.code || len(f.said) != 0) ||
			c.code == 550 && !strings.Contains(e.Message, "Use the link") {
			t.Errorf("%s: %v, said %q", name, err, f.said)
		}
		// What a machine sent is dropped, and answered with nothing.
		f.said = nil
		if err := deliverAs(target, c.meta, "", c.header, "reply+a@mall.example"); err != nil || len(f.said) != 0 {
			t.Errorf("%s, from a machine: %v, said %q", name, err, f.said)
		}
	}
}
