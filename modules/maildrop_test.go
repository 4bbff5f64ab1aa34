// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/imapd"
	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

func maildrop(t *testing.T, block string) (*Maildrop, error) {
	t.Helper()
	m, err := initModule(t, "storage.maildrop", block)
	if err != nil {
		return nil, err
	}
	return m.(*Maildrop), nil
}

// mails are the messages of a mailbox, UID to text, and their flags.
func mails(t *testing.T, m *Maildrop, login, mailbox string) (texts map[uint32]string, flags map[uint32][]string) {
	t.Helper()
	account, err := m.IMAP().Account(login)
	if err != nil {
		t.Fatal(err)
	}
	box, err := account.Open(mailbox)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	texts, flags = map[uint32]string{}, map[uint32][]string{}
	err = box.Messages(1, math.MaxUint32, func(msg imapd.Message) bool {
		body, err := box.Body(msg.UID)
		if errors.Is(err, imapd.ErrNoMessage) {
			return true // it was removed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		flags[msg.UID] = msg.Flags
		defer body.Close()
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		texts[msg.UID] = string(b)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts, flags
}

// text is a mail with a subject and so many octets of body.
func text(subject string, octets int) string {
	return "From: bob@example.org\r\nSubject: " + subject + "\r\n\r\n" +
		strings.Repeat("0123456789abcde\n", octets/16+1)[:octets]
}

// deliver runs one delivery as maddy's pipeline does.
func deliver(m *Maildrop, meta *module.MsgMetadata, text string, rcpts ...string) error {
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

func TestMaildrop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m, err := maildrop(t, fmt.Sprintf("path %s\nquota 20K\nquota_login Big@X 1M\nquota_domain X 1M\nmin_free 0\n"+
		"expire 24h Trash\n", filepath.Join(dir, "store")))
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
	if got, _ := mails(t, m, "a@x", "INBOX"); len(got) != 1 || got[1] != want {
		t.Errorf("delivered %q, want %q", got[1], want)
	}
	if err := deliver(m, &module.MsgMetadata{Quarantine: true}, text("spam", 100), "a@x"); err != nil {
		t.Fatal(err)
	}
	if _, flags := mails(t, m, "a@x", "Junk"); !slices.Contains(flags[1], "$Junk") {
		t.Errorf("quarantined mail: %v", flags)
	}

	wantSMTP(t, deliver(m, &module.MsgMetadata{}, "x", "nobody@x"), 550, exterrors.EnhancedCode{5, 1, 1})
	wantSMTP(t, deliver(m, &module.MsgMetadata{}, "x", "nobody+a@x"), 550, exterrors.EnhancedCode{5, 1, 1})
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
	if r, err := m.store.Check(context.Background(), nil); err != nil || r.Found != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMaildropRefuses(t *testing.T) {
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
		if _, err := maildrop(t, "path "+filepath.Join(t.TempDir(), "s")+"\n"+block); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", block, err, want)
		}
	}
}

// TestMaildropExpires: the directive's age and names reach the store.
func TestMaildropExpires(t *testing.T) {
	t.Parallel()
	m, err := maildrop(t, "path "+filepath.Join(t.TempDir(), "s")+"\nmin_free 0\n")
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
		texts, _ := mails(t, m, "a@x", name)
		return len(texts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		m.expire(ctx, []expiry{{24 * time.Hour, []string{"INBOX"}}, {-time.Hour, []string{"junk"}}})
		close(done)
	}()
	for end := time.Now().Add(10 * time.Second); count("Junk") > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Junk is not empty")
		}
	}
	cancel()
	<-done
	if n := count("INBOX"); n != 1 {
		t.Errorf("INBOX has %d messages, want the young one", n)
	}
}

// TestDelimiter: an address with a tag is its account's, unless it is one itself.
func TestDelimiter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		directive, rcpt, account string // empty: refused
	}{
		{"", "kim+shop@x", "kim@x"}, {"", "Kim+a+b@X", "kim@x"}, {"", "kim+own@x", "kim+own@x"},
		{"", "lee+shop@x", ""}, {"", "+kim@x", ""}, {"", "kim-shop@x", ""},
		{"delimiter -\n", "kim-shop@x", "kim@x"}, {"delimiter none\n", "kim+shop@x", ""},
	} {
		m, err := maildrop(t, fmt.Sprintf("path %s\nmin_free 0\n%s", filepath.Join(t.TempDir(), "store"), c.directive))
		if err != nil {
			t.Fatal(err)
		}
		for _, login := range []string{"kim@x", "kim+own@x"} {
			if err := m.CreateIMAPAcct(login); err != nil {
				t.Fatal(err)
			}
		}
		err = deliver(m, &module.MsgMetadata{}, text("x", 10), c.rcpt)
		if c.account == "" {
			wantSMTP(t, err, 550, exterrors.EnhancedCode{5, 1, 1})
		} else if got, _ := mails(t, m, c.account, "INBOX"); err != nil || len(got) != 1 {
			t.Errorf("%s%s: %v, %v", c.directive, c.rcpt, got, err)
		}
	}
}
