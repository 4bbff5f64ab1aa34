// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-msgauth/authres"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mta/greylist"
)

// verdict is a check that has decided.
type verdict struct{ r module.CheckResult }

func (v *verdict) CheckStateForMsg(context.Context, *module.MsgMetadata) (module.CheckState, error) {
	return v, nil
}
func (*verdict) CheckConnection(context.Context) module.CheckResult     { return module.CheckResult{} }
func (*verdict) CheckSender(context.Context, string) module.CheckResult { return module.CheckResult{} }
func (*verdict) CheckRcpt(context.Context, string) module.CheckResult   { return module.CheckResult{} }
func (v *verdict) CheckBody(context.Context, textproto.Header, buffer.Buffer) module.CheckResult {
	return v.r
}
func (*verdict) Close() error { return nil }

// TestSenderForwarded: a mail that fails SPF alone is no junk when its author has signed it.
func TestSenderForwarded(t *testing.T) {
	t.Parallel()
	failed := module.CheckResult{Quarantine: true, Reason: errors.New("SPF"),
		AuthResult: []authres.Result{&authres.SPFResult{Value: authres.ResultFail}}}
	signed := func(domain string, value authres.ResultValue) module.CheckResult {
		return module.CheckResult{AuthResult: []authres.Result{&authres.DKIMResult{Value: value, Domain: domain}}}
	}
	for name, c := range map[string]struct {
		dkim module.CheckResult
		from []string
		junk bool
	}{
		"forwarded":        {signed("far.example", authres.ResultPass), []string{"Lee <lee@far.example>"}, false},
		"subdomain":        {signed("mail.far.example", authres.ResultPass), []string{"lee@news.far.example"}, false},
		"not signed":       {module.CheckResult{}, []string{"lee@far.example"}, true},
		"broken":           {signed("far.example", authres.ResultFail), []string{"lee@far.example"}, true},
		"another's":        {signed("spam.example", authres.ResultPass), []string{"lee@far.example"}, true},
		"a shared suffix":  {signed("evil.co.uk", authres.ResultPass), []string{"lee@good.co.uk"}, true},
		"two From fields":  {signed("far.example", authres.ResultPass), []string{"a@far.example", "b@x.example"}, true},
		"no address":       {signed("far.example", authres.ResultPass), []string{"Lee"}, true},
		"DKIM's own doubt": {module.CheckResult{Quarantine: true}, []string{"lee@far.example"}, true},
	} {
		m := &Sender{base: base{name: "check.chmail_sender"}, dkim: &verdict{c.dkim}, spf: &verdict{failed}}
		s, err := m.CheckStateForMsg(t.Context(), &module.MsgMetadata{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		h := textproto.Header{}
		for _, f := range c.from {
			h.Add("From", f)
		}
		r := s.CheckBody(t.Context(), h, nil)
		if r.Quarantine != c.junk || (r.Reason != nil) != c.junk {
			t.Errorf("%s: junk %v (%v), want %v", name, r.Quarantine, r.Reason, c.junk)
		}
		if want := len(c.dkim.AuthResult) + 1; len(r.AuthResult) != want {
			t.Errorf("%s: %d results, want %d", name, len(r.AuthResult), want)
		}
	}
	list, err := greylist.Open(filepath.Join(t.TempDir(), "greylist.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	passed := module.CheckResult{AuthResult: []authres.Result{&authres.SPFResult{Value: authres.ResultPass}}}
	for i, want := range []bool{true, true, false} {
		if i == 2 {
			list.Wrote("lee@far.example")
		}
		s := &Sender{base: base{name: "check.chmail_sender"}, dkim: &verdict{}, spf: &verdict{passed}, greylist: list}
		state, err := s.CheckStateForMsg(t.Context(), &module.MsgMetadata{ID: "x", OriginalFrom: "lee@far.example",
			Conn: &module.ConnState{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		r := state.CheckBody(t.Context(), textproto.Header{}, nil)
		if r.Reject != want {
			t.Errorf("mail %d of a new sender: refused %v", i, r.Reject)
		} else if want {
			wantSMTP(t, r.Reason, 451, exterrors.EnhancedCode{4, 7, 1})
		}
	}
	m, err := initModule(t, "check.chmail_sender", "spf {\n fail_action reject\n}")
	if err != nil || m.(*Sender).spf == nil || m.(*Sender).dkim == nil {
		t.Errorf("the block: %v", err)
	}
}
