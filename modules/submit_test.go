// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
)

// postbox is a delivery target that keeps one mail.
type postbox struct {
	module.Delivery
	meta      *module.MsgMetadata
	from, to  string
	header    textproto.Header
	body      string
	refuse    error // of the recipient
	committed bool
}

func (p *postbox) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	p.meta, p.from = meta, from
	return p, nil
}

func (p *postbox) AddRcpt(_ context.Context, to string, _ smtp.RcptOptions) error {
	p.to = to
	return p.refuse
}

func (p *postbox) Body(_ context.Context, header textproto.Header, body buffer.Buffer) error {
	r, err := body.Open()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	p.header, p.body = header, string(b)
	return err
}

func (p *postbox) Commit(context.Context) error { p.committed = true; return nil }
func (p *postbox) Abort(context.Context) error  { return nil }

// What is written at the desk is a mail that the login submitted.
func TestSubmitTo(t *testing.T) {
	p := &postbox{}
	l := chat.Letter{Login: "mina@mall.example", IP: netip.MustParseAddr("192.0.2.1"),
		From: chat.Person{Addr: "sales@mall.example", Name: "Sales"}, To: chat.Person{Addr: "kim@far.example", Name: "김"},
		Subject: "Your order\r\nBcc: x@y.example", Text: "It is here.", MessageID: "1@mall.example"}
	if err := submitTo(p)(t.Context(), l); err != nil || !p.committed {
		t.Fatal(err, p.committed)
	}
	if p.meta.Conn.AuthUser != l.Login || p.from != l.From.Addr || p.to != l.To.Addr || p.meta.ID == "" ||
		!strings.HasPrefix(p.meta.Conn.RemoteAddr.String(), "192.0.2.1:") {
		t.Errorf("envelope %+v", p)
	}
	for field, want := range map[string]string{"From": `"Sales" <sales@mall.example>`, "Message-Id": "<1@mall.example>",
		"Bcc": "", "Auto-Submitted": "", "Content-Type": "text/plain; charset=utf-8"} {
		if got := p.header.Get(field); got != want {
			t.Errorf("%s: %q", field, got)
		}
	}
	if strings.TrimSpace(p.body) != "It is here." || p.header.Get("Date") == "" {
		t.Errorf("body %q", p.body)
	}

	p.refuse = &exterrors.SMTPError{Code: 550, Message: "no such user"}
	var refused *chat.RefusedError
	if err := submitTo(p)(t.Context(), l); !errors.As(err, &refused) || refused.Text != "no such user" {
		t.Errorf("refused: %v", err)
	}
	p.refuse = &exterrors.SMTPError{Code: 451, Message: "later"}
	if err := submitTo(p)(t.Context(), l); err == nil || errors.As(err, &refused) {
		t.Errorf("for now: %v", err)
	}
}
