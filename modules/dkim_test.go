// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/module"
)

// TestDKIM: each domain signs with its own key, and with a new one without a restart.
func TestDKIM(t *testing.T) {
	got, err := initModule(t, dkimName, "domains mall.example other.example\nkey_path "+t.TempDir()+
		"/{domain}_{selector}.key\nnewkey_algo ed25519")
	if err != nil {
		t.Fatal(err)
	}
	m := got.(*DKIM)
	sign := func(from, want string) {
		t.Helper()
		s, err := m.ModStateForMsg(t.Context(), &module.MsgMetadata{ID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.RewriteSender(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		h := textproto.Header{}
		h.Add("From", from)
		if err := s.RewriteBody(t.Context(), &h, buffer.MemoryBuffer{Slice: []byte("Hello\r\n")}); err != nil {
			t.Fatal(err)
		}
		n := h.FieldsByKey("DKIM-Signature").Len()
		if signature := strings.Join(strings.Fields(h.Get("DKIM-Signature")), " "); want == "" && n != 0 ||
			want != "" && (n != 1 || !strings.Contains(signature, want)) {
			t.Errorf("mail from %q has %d signatures: %s; want %s", from, n, signature, want)
		}
	}
	sign("kim@mall.example", "s=default")
	sign("kim@Other.example", "d=Other.example")
	sign("", "d=mall.example")
	sign("kim@far.example", "")
	selector, err := m.domains[0].Rotate(time.Now(), true)
	if err != nil {
		t.Fatal(err)
	}
	m.signers["mall.example"].checked = time.Time{} // a second has passed
	sign("kim@mall.example", "s="+selector)
	sign("kim@other.example", "s=default")
}
