// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

func newModule(t *testing.T, block string) (*Module, error) {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(block), "test.conf")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModule(modName, "mailboxes", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Init(config.NewMap(nil, config.Node{Children: nodes, File: "test.conf"})); err != nil {
		return nil, err
	}
	t.Cleanup(func() { m.(io.Closer).Close() })
	return m.(*Module), nil
}

// deliver runs one delivery as maddy's pipeline does.
func deliver(m *Module, meta *module.MsgMetadata, text string, rcpts ...string) error {
	ctx := context.Background()
	d, err := m.Start(ctx, meta, "sender@example.org")
	if err != nil {
		return err
	}
	for _, rcpt := range rcpts {
		if err := d.AddRcpt(ctx, rcpt, smtp.RcptOptions{}); err != nil {
			return errors.Join(err, d.Abort(ctx))
		}
	}
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	h := textproto.Header{}
	for _, line := range slices.Backward(strings.Split(head, "\r\n")) {
		k, v, _ := strings.Cut(line, ": ")
		h.Add(k, v)
	}
	if err := d.Body(ctx, h, buffer.MemoryBuffer{Slice: []byte(body)}); err != nil {
		return errors.Join(err, d.Abort(ctx))
	}
	return d.Commit(ctx)
}

func wantSMTP(t *testing.T, err error, code int, enhanced exterrors.EnhancedCode) {
	t.Helper()
	var answer *exterrors.SMTPError
	if !errors.As(err, &answer) || answer.Code != code || answer.EnhancedCode != enhanced {
		t.Errorf("got %v, want %d %v", err, code, enhanced)
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := newModule(t, fmt.Sprintf("path %s\nquota 20K\nquota_login Big@X 1M\nquota_domain X 1M\nmin_free 0\nexpire 24h Trash\n", filepath.Join(dir, "store")))
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"a@x", "B@x", "big@x"} {
		if err := m.CreateIMAPAcct(login); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := m.ListIMAPAccts(); err != nil || !slices.Equal(got, []string{"a@x", "b@x", "big@x"}) {
		t.Fatal(got, err)
	}
	if err := deliver(m, &module.MsgMetadata{}, text("hello", 100), "A@x", "a@X", "b@x"); err != nil {
		t.Fatal(err)
	}
	want := "Return-Path: <sender@example.org>\r\nDelivered-To: a@x\r\n" + text("hello", 100)
	if got := contents(t, inbox(t, m.store, "a@x")); len(got) != 1 || got[1] != want {
		t.Errorf("delivered %q, want %q", got[1], want)
	}
	if err := deliver(m, &module.MsgMetadata{Quarantine: true}, text("spam", 100), "a@x"); err != nil {
		t.Fatal(err)
	}
	junk, err := m.store.Mailbox("a@x", "Junk")
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	if msg, err := junk.message(1); err != nil || !slices.Contains(msg.keywords, "$Junk") {
		t.Errorf("quarantined mail: %+v, %v", msg, err)
	}

	wantSMTP(t, deliver(m, &module.MsgMetadata{}, "x", "nobody@x"), 550, exterrors.EnhancedCode{5, 1, 1})
	// SIZE tells before the body comes.
	sized := func(n int64) *module.MsgMetadata {
		return &module.MsgMetadata{SMTPOpts: smtp.MailOptions{Size: n}}
	}
	d, _ := m.Start(context.Background(), sized(30<<10), "")
	wantSMTP(t, d.AddRcpt(context.Background(), "a@x", smtp.RcptOptions{}), 552, exterrors.EnhancedCode{5, 2, 3})
	if err := d.AddRcpt(context.Background(), "big@x", smtp.RcptOptions{}); err != nil {
		t.Error(err)
	}
	if err := deliver(m, sized(15<<10), text("", 15<<10), "a@x"); err != nil {
		t.Fatal(err)
	}
	d, _ = m.Start(context.Background(), sized(15<<10), "")
	wantSMTP(t, d.AddRcpt(context.Background(), "a@x", smtp.RcptOptions{}), 452, exterrors.EnhancedCode{4, 2, 2})
	wantSMTP(t, deliver(m, &module.MsgMetadata{}, text("", 15<<10), "a@x"), 452, exterrors.EnhancedCode{4, 2, 2})
	checkClean(t, m.store)

	// Another process finds the store in use and asks this one.
	if _, err := Open(m.path, Options{}); !errors.Is(err, ErrInUse) {
		t.Fatal(err)
	}
	remote, err := Dial(m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	if got, err := remote.Accounts(); err != nil || len(got) != 3 {
		t.Error(got, err)
	}
	if err := remote.CreateAccount("c@x", DefaultFolders...); err != nil {
		t.Error(err)
	}
	if err := remote.CreateAccount("c@x"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if err := remote.DeleteAccount("b@x"); err != nil {
		t.Error(err)
	}
	if err := remote.DeleteAccount("b@x"); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
	big := text("import", 400<<10)
	if err := remote.Import(context.Background(), Recipient{Login: "big@x", Mailbox: "Old", UID: 77, Validity: 9}, strings.NewReader(big), int64(len(big))); err != nil {
		t.Error(err)
	}
	if err := remote.Import(context.Background(), Recipient{Login: "b@x"}, strings.NewReader(big), int64(len(big))); !errors.Is(err, ErrNoAccount) {
		t.Error(err)
	}
	if st, err := remote.Stats(); err != nil || st.Messages != 4 || st.Accounts != 3 {
		t.Errorf("%+v, %v", st, err)
	}
	if r, err := remote.Check(context.Background(), nil); err != nil || r.Messages != 4 || r.Found != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := remote.Backup(context.Background(), filepath.Join(dir, "backup")); err != nil {
		t.Error(err)
	}
	if err := remote.Backup(context.Background(), filepath.Join(dir, "backup")); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	box, err := m.store.Mailbox("big@x", "Old")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if st := mustStatus(t, box); st.Validity != 9 || st.Next != 78 {
		t.Errorf("imported: %+v", st)
	}
	if got := contents(t, box); got[77] != big {
		t.Errorf("imported %d octets", len(got[77]))
	}
}

func TestModuleRefuses(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"quota_login x\n":         "takes a name and a size",
		"quota_domain x 1Q\n":     "unit suffix",
		"quota_domain a@x 1G\n":   "not a domain",
		"expire 1m Trash\n":       "an hour or more",
		"expire 24h\n":            "takes an age",
		"large_body 1K\n":         "large_body",
		"appendlimit 5G\n":        "appendlimit",
		"delivery_normalize no\n": "delivery_normalize",
		"unknown yes\n":           "unknown",
	} {
		if _, err := newModule(t, "path "+filepath.Join(t.TempDir(), "s")+"\n"+block); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", block, err, want)
		}
	}
}

// TestModuleExpires: the directive's age and names reach the store.
func TestModuleExpires(t *testing.T) {
	t.Parallel()
	m, err := newModule(t, "path "+filepath.Join(t.TempDir(), "s")+"\nmin_free 0\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CreateIMAPAcct("a@x"); err != nil {
		t.Fatal(err)
	}
	for _, meta := range []*module.MsgMetadata{{}, {Quarantine: true}} {
		if err := deliver(m, meta, text("x", 10), "a@x"); err != nil {
			t.Fatal(err)
		}
	}
	count := func(name string) int {
		box, err := m.store.Mailbox("a@x", name)
		if err != nil {
			t.Fatal(err)
		}
		defer box.Close()
		return len(uids(t, box))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		m.expire(ctx, []expiry{{24 * time.Hour, []string{"INBOX"}}, {-time.Hour, []string{"junk"}}})
		close(done)
	}()
	waitFor(t, "Junk to be empty", func() bool { return count("Junk") == 0 })
	cancel()
	<-done
	if n := count("INBOX"); n != 1 {
		t.Errorf("INBOX has %d messages, want the young one", n)
	}
}
