// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/internal/testpart"
)

// keeper is a delivery target that keeps the last message.
type keeper struct {
	nameless
	meta   module.MsgMetadata
	from   string
	rcpts  []string
	header textproto.Header
}

func (k *keeper) Start(_ context.Context, meta *module.MsgMetadata, from string) (module.Delivery, error) {
	k.meta, k.from, k.rcpts = *meta, from, nil
	return k, nil
}

func (k *keeper) AddRcpt(_ context.Context, to string, _ smtp.RcptOptions) error {
	k.rcpts = append(k.rcpts, to)
	return nil
}

func (k *keeper) Body(_ context.Context, h textproto.Header, _ buffer.Buffer) error {
	k.header = h
	return nil
}
func (k *keeper) Commit(context.Context) error { return nil }
func (k *keeper) Abort(context.Context) error  { return nil }

// TestSMTP is not parallel: maddy's registry is global and unlocked.
func TestSMTP(t *testing.T) {
	config.StateDirectory = t.TempDir()
	keep := &keeper{nameless: nameless{"smtp_keeper"}}
	module.RegisterInstance(keep, config.NewMap(nil, config.Node{}))
	module.Initialized["smtp_keeper"] = true
	others{name: "smtp_accounts"}.register()
	globals := map[string]any{"hostname": "mx.example"}
	begin := func(name, text string, addrs ...string) (module.Module, error) {
		mod, err := module.GetEndpoint(name)(name, addrs)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := mod.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		})
		return mod, mod.Init(config.NewMap(globals, block(t, text)))
	}
	const accounts, deliver = "auth &smtp_accounts\n", "deliver_to &smtp_keeper\n"

	for text, want := range map[string]string{
		"tls off\ninsecure_auth yes\n" + deliver:                             "auth",
		"tls off\n" + accounts + deliver:                                     "without TLS",
		"tls off\ninsecure_auth yes\n" + accounts:                            "", // nowhere to go
		"tls off\ninsecure_auth yes\nsent_messages 0\n" + accounts + deliver: "sent_messages",
		"tls off\ninsecure_auth yes\nbuffer 0\n" + accounts + deliver:        "buffer",
		"tls off\ninsecure_auth yes\nno_such x\n" + accounts + deliver:       "no_such",
	} {
		if _, err := begin("chmail.submission", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := begin("chmail.smtp", "tls off\n"+accounts+deliver); err == nil {
		t.Error("nobody signs in at chmail.smtp, and it takes `auth`")
	}
	if _, err := begin("chmail.smtp", "tls off\n"+deliver, "tls://127.0.0.1:0"); err == nil {
		t.Error("tls:// without a certificate")
	}

	port := func() string { return fmt.Sprintf("127.0.0.1:%d", testpart.FreePort(t)) }
	outside := port()
	const checks = "limits {\n all concurrency 1\n}\ndmarc no\ncheck {\n dkim\n}\n"
	if _, err := begin("chmail.smtp", "tls self_signed\n"+checks+deliver, "tcp://"+outside); err != nil {
		t.Fatal(err)
	}
	got := dialog(t, outside, "EHLO c.example", "MAIL FROM:<bob@far.example>", "RCPT TO:<"+alice+">", "DATA",
		"Authentication-Results: mx.example; dkim=pass", "From: bob@far.example", "", "hi", ".")
	if !strings.Contains(got, "250 2.0.0 OK") || strings.Contains(got, "AUTH") || !strings.Contains(got, "STARTTLS") {
		t.Fatalf("from outside: %q", got)
	}
	v := keep.header.Values("Authentication-Results")
	if len(v) != 1 || !strings.HasPrefix(v[0], "mx.example; dkim=none") {
		t.Errorf("whose verdict is it? %q", v)
	}
	if v := keep.header.Get("Received"); !strings.HasPrefix(v, "from c.example (") ||
		!strings.Contains(v, "[127.0.0.1]) by mx.example (envelope-sender <bob@far.example>) with ESMTP id "+
			keep.meta.ID) {
		t.Errorf("Received: %q", v)
	}
	if c := keep.meta.Conn; c.Hostname != "c.example" || c.RemoteAddr.(*net.TCPAddr).IP.String() != "127.0.0.1" ||
		c.Proto != "ESMTP" || c.RDNSName == nil || keep.from != "bob@far.example" {
		t.Errorf("the pipeline knows of %+v, from %s", c, keep.from)
	}

	inside, implicit := port(), port()
	const aliases = "aliases static {\n entry sales@example.org " + alice + "\n}\n"
	if _, err := begin("chmail.submission", "tls self_signed\ninsecure_auth yes\n"+aliases+accounts+deliver,
		"tcp://"+inside, "tls://"+implicit); err != nil {
		t.Fatal(err)
	}
	plain := func(p string) string {
		return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ALICE@example.org\x00"+p))
	}
	got = dialog(t, inside, "EHLO c", plain(password), "MAIL FROM:<sales@example.org>", "RCPT TO:<bob@far.example>",
		"DATA", "From: Sales <SALES@example.org>", "", "hi", ".", "MAIL FROM:<boss@example.org>")
	if !strings.Contains(got, "250 2.0.0 OK") || !strings.Contains(got, "553 5.7.1") {
		t.Errorf("submitted: %q", got)
	}
	if v := keep.header.Get("Received"); !strings.HasPrefix(v, "by mx.example") || keep.meta.Conn.AuthUser != alice {
		t.Errorf("submitted by %q: Received: %q", keep.meta.Conn.AuthUser, v)
	}
	for given, want := range map[string]string{"down": "454 4.7.0", "wrong": "535 5.7.8"} {
		if got := dialog(t, inside, "EHLO c", plain(given)); !strings.Contains(got, want) {
			t.Errorf("password %s: %q", given, got)
		}
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}
	if _, err := tls.Dial("tcp", implicit, old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	c, err := tls.Dial("tcp", implicit, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 3)); n != 3 || err != nil {
		t.Errorf("at tls:// there is no greeting: %v", err)
	}
	_, err = begin("chmail.smtp", "tls off\n"+deliver, "tcp://"+outside)
	if err == nil || !strings.Contains(err.Error(), outside) {
		t.Errorf("a port that is taken: %v", err)
	}
}
