// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bufio"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/addresses"
)

// sent is a delivery target that keeps every message.
type sent struct {
	nameless
	all []*keptMail
}

type keptMail struct {
	from   string
	to     []string
	header textproto.Header
	out    bool
}

func (s *sent) Start(_ context.Context, _ *module.MsgMetadata, from string) (module.Delivery, error) {
	m := &keptMail{from: from}
	s.all = append(s.all, m)
	return m, nil
}

func (m *keptMail) AddRcpt(_ context.Context, to string, _ smtp.RcptOptions) error {
	m.to = append(m.to, to)
	return nil
}

func (m *keptMail) Body(_ context.Context, h textproto.Header, _ buffer.Buffer) error {
	m.header = h
	return nil
}
func (m *keptMail) Commit(context.Context) error { m.out = true; return nil }
func (m *keptMail) Abort(context.Context) error  { return nil }

// take returns what was delivered and forgets it.
func (s *sent) take() (out []*keptMail) {
	for _, m := range s.all {
		if m.out {
			out = append(out, m)
		}
	}
	s.all = nil
	return out
}

// TestDelivery is not parallel: the state directory is global.
func TestDelivery(t *testing.T) {
	config.StateDirectory = t.TempDir()
	const kim, mina = "kim@mall.example", "mina@mall.example"
	store, err := addresses.Open(t.Context(), addresses.Options{DSN: "sqlite:" + t.TempDir() + "/a.db",
		Domains: []string{"mall.example"}, Delimiter: "+",
		Exists: func(_ context.Context, login string) (bool, error) { return login == kim || login == mina, nil }})
	if err != nil {
		t.Fatal(err)
	}
	own := &Addresses{delimiter: "+", configured: []string{"mall.example"}}
	if err := own.store.set(store); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	boxes, outside, answers := new(sent), new(sent), new(sent)
	target := &Delivery{addresses: own, mailboxes: boxes, outside: outside, answers: answers}
	ctx := t.Context()
	deliver := func(from, to, text string, junk bool) error {
		t.Helper()
		d, err := target.Start(ctx, &module.MsgMetadata{ID: "id", Quarantine: junk}, from)
		if err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"
		h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err = d.AddRcpt(ctx, to, smtp.RcptOptions{}); err == nil {
			err = d.Body(ctx, h, buffer.MemoryBuffer{Slice: []byte("hi\r\n")})
		}
		if err != nil {
			return errors.Join(err, d.Abort(ctx))
		}
		return d.Commit(ctx)
	}
	code := func(err error) int {
		var answer *exterrors.SMTPError
		if errors.As(err, &answer) {
			return answer.Code
		}
		return 0
	}
	const plain = "From: joon@far.example\nTo: kim@mall.example\nDKIM-Signature: v=1; b=abc"
	if err := errors.Join(store.SetRules(ctx, kim, addresses.Rules{Forward: []string{"kim@else.example"}, Keep: true,
		Vacation: addresses.Vacation{On: true, Text: "Away."}}),
		store.AddAlias(ctx, "team@mall.example", kim, mina, "out@far.example")); err != nil {
		t.Fatal(err)
	}

	// Forwarded with a sender of ours, as it came, and answered once.
	for i := range 2 {
		if err := deliver("joon@far.example", kim, plain, false); err != nil {
			t.Fatal(err)
		}
		here, left, said := boxes.take(), outside.take(), answers.take()
		if len(here) != 1 || here[0].from != "joon@far.example" || !slices.Equal(here[0].to, []string{kim}) {
			t.Errorf("the mailbox got %+v", here)
		}
		if len(left) != 1 || !slices.Equal(left[0].to, []string{"kim@else.example"}) ||
			!strings.HasPrefix(left[0].from, "SRS0=") || left[0].header.Get("DKIM-Signature") != "v=1; b=abc" {
			t.Fatalf("forwarded: %+v", left)
		}
		if len(said) != 1-i || i == 0 && (said[0].from != "" || said[0].to[0] != "joon@far.example") {
			t.Errorf("mail %d was answered by %+v", i, said)
		}
		// What comes back goes to who wrote it, and to nobody else's account.
		if err := deliver("", left[0].from, "From: <>", false); err != nil {
			t.Fatal(err)
		}
		if back := outside.take(); len(back) != 1 || !slices.Equal(back[0].to, []string{"joon@far.example"}) {
			t.Errorf("the bounce went to %+v", back)
		}
		if err := deliver("spam@far.example", left[0].from, plain, false); code(err) != 550 {
			t.Errorf("a mail to a forwarder's address: %v", err)
		}
		// Where it comes again it goes no further.
		if err := deliver("joon@far.example", kim, plain+"\nDelivered-To: "+kim, false); err != nil {
			t.Error(err)
		}
		if here, left := boxes.take(), outside.take(); len(here) != 1 || len(left) != 0 {
			t.Errorf("in a circle: %d here, %d left", len(here), len(left))
		}
		answers.take()
	}

	// A group's members, each once, and junk stays.
	if err := deliver("joon@far.example", "team@mall.example", plain, true); err != nil {
		t.Fatal(err)
	}
	if here, left, said := boxes.take(), outside.take(), answers.take(); len(here) != 1 ||
		!slices.Equal(here[0].to, []string{kim, mina}) || len(left)+len(said) != 0 {
		t.Errorf("junk for a group: %+v, %d left, %d answers", here, len(left), len(said))
	}

	// Forwarding that keeps nothing: the mailbox has what does not leave.
	if err := store.SetRules(ctx, mina, addresses.Rules{Forward: []string{"mina@else.example"}}); err != nil {
		t.Fatal(err)
	}
	for what, junk := range map[string]bool{"mail": false, "junk": true} {
		if err := deliver("joon@far.example", mina, plain, junk); err != nil {
			t.Fatal(err)
		}
		if here, left := boxes.take(), outside.take(); (len(here) == 1) != junk || (len(left) == 1) == junk {
			t.Errorf("%s: %d here, %d left", what, len(here), len(left))
		}
	}

	if err := store.Disable(ctx, mina, true, ""); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]int{"nobody@mall.example": 550, "x@far.example": 550, mina: 550} {
		if err := deliver("joon@far.example", to, plain, false); code(err) != want {
			t.Errorf("%s: %v", to, err)
		}
	}
	if len(outside.take()) != 0 {
		t.Error("mail from anybody to anywhere was taken")
	}
	if got := own.expand(ctx, "Kim+x@mall.example"); !slices.Equal(got, []string{"Kim+x@mall.example"}) {
		t.Errorf("what is no alias became %q", got)
	}
	if got := own.expand(ctx, "team@mall.example"); !slices.Equal(got, []string{kim, "out@far.example"}) {
		t.Errorf("the group is %q", got)
	}
}
