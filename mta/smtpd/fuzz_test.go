// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"
)

// isReply is a line of a reply.
var isReply = regexp.MustCompile(`^[2-5][0-9]{2}[ -].*\r\n$`)

// panics fails a test at the first error that is logged: go-smtp logs panics so.
type panics struct {
	slog.Handler
	t testing.TB
}

func (p panics) Enabled(context.Context, slog.Level) bool { return true }
func (p panics) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		p.t.Error(r.Message)
	}
	return nil
}
func (p panics) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p panics) WithGroup(string) slog.Handler      { return p }

// FuzzConnection says anything to a server, before and after a sign-in. It answers in
// lines of SMTP, holds nothing afterwards, and what it takes has lines of CR LF.
func FuzzConnection(f *testing.F) {
	auth := "AUTH PLAIN " + plainText(kim, password) + "\r\n"
	begin := "MAIL FROM:<" + kim + ">\r\nRCPT TO:<a@far.test>\r\n"
	for _, s := range []string{"", "EHLO a\r\n", "EHLO a\r\nSTARTTLS\r\n\x16\x03\x01\x02\x00\x01",
		"NOOP\nRSET\r\r\n\r\n",
		"EHLO a\r\n" + begin + "DATA\r\nFrom: a@b\r\n\r\nx\r\r\n.\r\nQUIT\r\n",
		"EHLO a\r\n" + begin + "DATA\r\nFrom a@b\r\n>From x\r\nno colon\r\n" +
			"From: =?gb2312?B?1cXI/Q==?=, x <kim@mall.test>\r\n\r\n..\r\n.\n.\r\n",
		"EHLO a\r\n" + begin + "BDAT 4\r\nFromRSET\r\n" + begin +
			"BDAT 25 LAST\r\nFrom: a@b\r\nTo: x, y <\r\n\r\n.\nQUIT\r\n",
		"EHLO a\r\nAUTH LOGIN\r\na2lt\r\n*\r\nAUTH LOGIN\r\n=\r\n?\r\nAUTH XOAUTH2 dXNlcj1h\r\n",
		"HELO a\r\nMAIL FROM:<@a,@b:\"x y\"@c> SIZE=99999999999 RET=HDRS ENVID=+\r\n" +
			"RCPT TO:<postmaster> NOTIFY=NEVER,DELAY ORCPT=x;y\r\n",
		"EHLO a\r\n" + begin + "DATA\r\n" + strings.Repeat("\r", 5000) + "\n" + strings.Repeat("x", 5000) + "\r\n.\r\n",
	} {
		f.Add(false, []byte(s))
		f.Add(true, []byte(strings.Replace(s, "EHLO a\r\n", "EHLO a\r\n"+auth, 1)))
	}
	pipelines := map[bool]*sink{false: {}, true: {}}
	folder := f.TempDir()
	servers := make(map[bool]*Server)
	for in, s := range pipelines {
		o := Options{Target: s, Transactions: 1 << 30, SentMails: 1 << 30, SentRecipients: 1 << 30, Memory: 64,
			Name: "fuzz", Hostname: "mx.test", Folder: folder, Log: slog.New(panics{t: f}), PerPrefix: 1 << 20,
			TLS: tlsOf(certificate(f)), MaxSize: 1 << 16, MaxHeader: 1 << 14}
		if in {
			o.Submission, o.SignIn, o.InsecureAuth = true, newCheck(), true
		}
		servers[in] = New(o)
		f.Cleanup(func() { _ = servers[in].Shutdown(context.Background()) }) // all is closed before
	}
	f.Fuzz(func(t *testing.T, in bool, said []byte) {
		mine, its := net.Pipe()
		c := newConn(servers[in], its, false, false)
		servers[in].handOver(c)
		go func() {
			_, _ = mine.Write(said) // the server may have closed
			_ = mine.SetReadDeadline(time.Now().Add(time.Second / 2))
			_, _ = mine.Write([]byte("\r\n.\r\nQUIT\r\n"))
		}()
		answers, _ := io.ReadAll(mine)
		_ = mine.Close()
		for line := range bytes.SplitAfterSeq(answers, []byte("\n")) {
			if bytes.HasPrefix(line, []byte("220 2.0.0")) {
				break // TLS follows
			}
			if len(line) > 0 && !isReply.Match(line) {
				t.Fatalf("it was answered %q", line)
			}
		}
		<-c.ctx.Done()
		s := pipelines[in]
		for deadline := time.Now().Add(5 * time.Second); s.begun() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a delivery is held")
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, m := range s.mails {
			if !m.finished {
				continue
			}
			if plain := strings.ReplaceAll(m.raw, "\r\n", ""); strings.ContainsAny(plain, "\r\n") {
				t.Fatalf("it took %q", m.raw)
			}
			list, err := mail.ParseAddressList(m.header.Get("From"))
			if err != nil || len(list) != 1 || in && !strings.EqualFold(list[0].Address, kim) {
				t.Fatalf("it took From %q, %v", m.header.Get("From"), err)
			}
		}
		s.mails = nil
	})
}

// FuzzMessage reads a message of any octets: as lines of CR LF, and its header and
// body without a panic.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "From a\r\n\r\n", "A : b\r\nc\r\n d\r\n", "\r\r\n.\n.\r\n",
		"From: \"a, <b@c>\r\n\r\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, sent []byte, dots bool) {
		m := newChunkedMessage(bytes.NewReader(sent), 1<<20)
		m.dots = dots
		h, rest, err := readHeader(m, 1<<16)
		if err != nil {
			return
		}
		for _, v := range h.Values("From") {
			if list, _, err := mailboxes(v, "big5"); err == nil {
				if again, err := mail.ParseAddressList(format(list)); err != nil || len(again) != len(list) {
					t.Errorf("%q is written as %q: %v", v, format(list), err)
				}
			}
		}
		body, _ := io.ReadAll(rest)
		if plain := bytes.ReplaceAll(body, crlf, nil); bytes.ContainsAny(plain, "\r\n") {
			t.Errorf("its body is %q", body)
		}
	})
}
