// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mta"
)

// noDNS does not answer.
type noDNS struct{}

func (noDNS) LookupMX(context.Context, string) (bool, []*net.MX, error) { return false, nil, io.EOF }

// TestQueue: the block is read, a mail is kept as it came, under its own ID once, and an
// address that is suppressed is refused at RCPT with words.
func TestQueue(t *testing.T) {
	dir := t.TempDir()
	until := time.Now().Add(time.Hour).Format(time.RFC3339)
	if err := os.MkdirAll(filepath.Join(dir, "suppressed"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(dir, "suppressed", "x"), fmt.Appendf(nil,
		`{"address":"gone@far.example","bounces":3,"last":%q,"answer":"550 5.1.1 No such user","until":%[1]q}`, until),
		0o600)
	if err != nil {
		t.Fatal(err)
	}
	block := "location " + dir + "\nipv6 no\nlife 24h\ndestination Slow.example 1 2\nmx_auth {\n local_policy {\n" +
		" min_tls_level none\n min_mx_level none\n }\n}"
	got, err := initModule(t, queueName, block)
	if err != nil {
		t.Fatal(err)
	}
	m := got.(*Queue)
	if len(m.remote.Policies) != 1 || m.options.Limits["slow.example"].Rate != 2 || m.options.Life != 24*time.Hour {
		t.Errorf("the block became %+v", m.options)
	}
	m.remote.Resolver = noDNS{}
	send := func(id, to string) error {
		d, err := m.Start(t.Context(), &module.MsgMetadata{ID: id}, "kim@mall.example")
		if err != nil {
			return err
		}
		if err := d.AddRcpt(t.Context(), to, smtp.RcptOptions{}); err != nil {
			return err
		}
		h := textproto.Header{}
		h.Add("Message-Id", "<1@mall.example>")
		if err := d.Body(t.Context(), h, buffer.MemoryBuffer{Slice: []byte("Hello\r\n")}); err != nil {
			return err
		}
		return d.Commit(t.Context())
	}
	err = send("a", "Gone@far.example")
	wantSMTP(t, err, 550, exterrors.EnhancedCode{5, 1, 1})
	if err == nil || !strings.Contains(exterrors.Fields(err)["smtp_msg"].(string), "refused 3 times in a row") {
		t.Errorf("the refusal says %v", err)
	}
	wantSMTP(t, send("a", "lee@[192.0.2.1]"), 550, exterrors.EnhancedCode{5, 1, 3})
	for range 2 {
		if err := send(mta.OnceID+"b", "lee@127.0.0.1.invalid"); err != nil {
			t.Error(err)
		}
	}
	if n := len(m.queue.List("")); n != 1 {
		t.Errorf("%d mails wait of one that was sent twice under an ID for once", n)
	}
	if text, err := os.ReadFile(filepath.Join(dir, mta.OnceID+"b.mail")); string(text) !=
		"Message-Id: <1@mall.example>\r\n\r\nHello\r\n" {
		t.Errorf("the file has %q, %v", text, err)
	}
	for _, wrong := range []string{"rate 0", "life 1m", "destination far.example", "destination far.example 0 1",
		"ipv6 maybe", "suppress_after -1"} {
		if _, err := initModule(t, queueName, "location "+t.TempDir()+"\n"+wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// TestQueueFull: what passes is answered 4xx, a full disk above all.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("queueing: %w", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	wantSMTP(t, queueFailure(full), 452, exterrors.EnhancedCode{4, 3, 1})
	wantSMTP(t, queueFailure(errors.New("odd")), 451, exterrors.EnhancedCode{4, 3, 0})
}
