// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

const (
	alice    = "alice@example.org"
	password = "secret word"
)

// block reads the inside of a block.
func block(t *testing.T, text string) config.Node {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(text), "test.conf")
	if err != nil {
		t.Fatal(err)
	}
	return config.Node{Children: nodes, File: "test.conf"}
}

// dialog sends lines to a server and returns all that it answers, until it closes.
func dialog(t *testing.T, address string, lines ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// TestPOP3 is not parallel: maddy's registry is global and unlocked.
func TestPOP3(t *testing.T) {
	storage, err := initModule(t, "storage.maildrop", "path "+filepath.Join(t.TempDir(), "s")+"\nmin_free 0")
	if err != nil {
		t.Fatal(err)
	}
	drop := storage.(*Maildrop)
	drop.instance = "pop3_mail"
	module.RegisterInstance(drop, config.NewMap(nil, config.Node{}))
	module.Initialized["pop3_mail"] = true
	seen := make(chan presence.Address, 1)
	others{name: "pop3_test", seen: seen}.register()
	module.RegisterInstance(nameless{"pop3_nothing"}, config.NewMap(nil, config.Node{}))
	module.Initialized["pop3_nothing"] = true
	if err := drop.CreateIMAPAcct(alice); err != nil {
		t.Fatal(err)
	}
	text := "From: bob@example.org\r\n\r\nhello\r\n"
	if err := deliver(drop, &module.MsgMetadata{}, text, alice); err != nil {
		t.Fatal(err)
	}
	references := "auth &pop3_test\nstorage &pop3_mail\n"

	for _, wrong := range []string{
		"insecure_auth yes", // no auth, no storage
		references,          // no TLS and no insecure_auth
		references + "insecure_auth yes\nidle_timeout 1m",
		references + "insecure_auth yes\nmax_connections 0",
		references + "insecure_auth yes\nmax_connections_per_ip 0",
		references + "insecure_auth yes\nauth &pop3_test",
		references + "insecure_auth yes\nno_such_directive",
		references + "insecure_auth yes\npresence &pop3_nothing",
	} {
		mod, err := module.GetEndpoint("pop3")("pop3", nil)
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

	port := testpart.FreePort(t)
	endpoint, err := module.GetEndpoint("pop3")("pop3",
		[]string{fmt.Sprintf("tcp://127.0.0.1:%d", port), "tls://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	given := block(t, references+"presence &pop3_test\ntls self_signed\ninsecure_auth yes\n")
	if err := endpoint.Init(config.NewMap(map[string]interface{}{}, given)); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	got := dialog(t, address, "USER ALICE@Example.ORG", "PASS "+password, "STAT")
	if want := fmt.Sprintf("\r\n+OK 1 %d\r\n+OK bye\r\n", len(text)+len("Return-Path: <sender@example.org>\r\n"+
		"Delivered-To: "+alice+"\r\n")); !strings.HasSuffix(got, want) {
		t.Errorf("signed in: %q, want %q", got, want)
	}
	if a := <-seen; a.Login != alice {
		t.Errorf("presence got %+v", a)
	}
	for given, want := range map[string]string{"down": "-ERR [SYS/TEMP]", "wrong": "-ERR [AUTH]"} {
		if got := dialog(t, address, "USER "+alice, "PASS "+given); !strings.Contains(got, want) {
			t.Errorf("password %s: %q, want %q", given, got, want)
		}
	}
	if got := dialog(t, address, "USER \xff\xfe", "PASS x"); !strings.Contains(got, "-ERR [AUTH]") {
		t.Errorf("a login that is no text: %q", got)
	}

	second, err := module.GetEndpoint("pop3")("pop3", []string{"tcp://" + address})
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
