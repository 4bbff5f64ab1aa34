// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// TestIMAP is not parallel: maddy's registry is global and unlocked.
func TestIMAP(t *testing.T) {
	storage, err := initModule(t, "storage.maildrop", "path "+filepath.Join(t.TempDir(), "s")+"\nmin_free 0")
	if err != nil {
		t.Fatal(err)
	}
	drop := storage.(*Maildrop)
	drop.instance = "imap_mail"
	module.RegisterInstance(drop, config.NewMap(nil, config.Node{}))
	module.Initialized["imap_mail"] = true
	seen := make(chan presence.Address, 10)
	others{name: "imap_test", seen: seen}.register()
	module.RegisterInstance(nameless{"imap_nothing"}, config.NewMap(nil, config.Node{}))
	module.Initialized["imap_nothing"] = true
	references := "auth &imap_test\nstorage &imap_mail\n"

	for _, wrong := range []string{
		"insecure_auth yes", // no auth, no storage
		references,          // no TLS and no insecure_auth
		"auth &imap_test\nstorage &imap_nothing\ninsecure_auth yes",
		references + "insecure_auth yes\nmax_connections 0",
		references + "insecure_auth yes\nmax_connections_per_ip 0",
		references + "insecure_auth yes\nno_such_directive",
		references + "insecure_auth yes\npresence &imap_nothing",
	} {
		mod, err := module.GetEndpoint("chmail.imap")("chmail.imap", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := mod.Init(config.NewMap(map[string]interface{}{}, block(t, "tls off\n"+wrong))); err == nil {
			t.Errorf("no error for %q", wrong)
		}
		if err := mod.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	}

	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(testpart.FreePort(t)))
	endpoint, err := module.GetEndpoint("chmail.imap")("chmail.imap", []string{"tcp://" + address, "tls://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	given := block(t, references+"presence &imap_test\ntls self_signed\ninsecure_auth yes\n")
	if err := endpoint.Init(config.NewMap(map[string]interface{}{}, given)); err != nil {
		t.Fatal(err)
	}
	got := dialog(t, address, `1 LOGIN ALICE@Example.ORG "`+password+`"`, "2 STATUS INBOX (MESSAGES)", "3 LOGOUT")
	if !strings.Contains(got, "\r\n* STATUS INBOX (MESSAGES 0)\r\n2 OK ") {
		t.Errorf("signed in: %q", got)
	}
	if a := <-seen; a.Login != alice || a.Source != presence.IMAP {
		t.Errorf("presence got %+v", a)
	}
	for given, want := range map[string]string{"down": "1 NO [UNAVAILABLE]", "wrong": "1 NO [AUTHENTICATIONFAILED]"} {
		if got := dialog(t, address, "1 LOGIN "+alice+" "+given, "2 LOGOUT"); !strings.Contains(got, want) {
			t.Errorf("password %s: %q, want %q", given, got, want)
		}
	}
	second, err := module.GetEndpoint("chmail.imap")("chmail.imap", []string{"tcp://" + address})
	if err != nil {
		t.Fatal(err)
	}
	given = block(t, references+"tls self_signed\n")
	if err := second.Init(config.NewMap(map[string]interface{}{}, given)); err == nil ||
		!strings.Contains(err.Error(), address) {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := endpoint.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
}
