// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// TestRepairs: what RFC 6409 lets a server mend is mended, and nothing else.
func TestRepairs(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, submission(s), false)
	c := dial().kim()
	send := func(header string) *taken {
		t.Helper()
		c.data(kim, "a@far.test", header+"\r\n\r\nhi", "250")
		return s.last(t)
	}

	for date, kept := range map[string]bool{
		"Tue, 24 Nov 2026 10:00:00 +0000": true, "24 Nov 2026 10:00:00 GMT": true,
		"Tue, 24 Nov 2026 10:00:00 +0900 (KST)": true, "Tue, 24 Nov 2026 10:00:00": false,
		"Di, 24 Nov 2026 10:00:00 +0100": false, "Tue, 24 Nov 2026 10:00:00 +01:00": false,
		"Tue Nov 24 10:00:00 2026": false, "2026-11-24T10:00:00Z": false, "": false,
	} {
		m := send("From: " + kim + "\r\nDate: " + date)
		got := m.header.Values("Date")
		if len(got) != 1 || (got[0] == date) != kept {
			t.Errorf("Date %q is now %q", date, got)
		}
		if _, err := mail.ParseDate(m.header.Get("Date")); err != nil {
			t.Errorf("Date %q: %v", m.header.Get("Date"), err)
		}
	}
	for id, kept := range map[string]bool{"<a.b@c>": true, "": false, "a@b": false, "<a b@c>": false,
		"<a@b> <c@d>": false} {
		got := send("From: " + kim + "\r\nMessage-ID: " + id).header.Values("Message-Id")
		if len(got) != 1 || (got[0] == id) != kept || !isMessageID.MatchString(got[0]) {
			t.Errorf("Message-ID %q is now %q", id, got)
		}
	}
	m := send("From: " + kim + "\r\nSender: boss@mall.test\r\nBcc: b@far.test\r\nBCC : c@far.test" +
		"\r\nResent-Bcc: d@far.test\r\nReturn-Path: <x@y>\r\nAuthentication-Results: mx.test; spf=pass" +
		"\r\nSubject: kept")
	for _, key := range []string{"Sender", "Bcc", "Resent-Bcc", "Return-Path", "Authentication-Results"} {
		if m.header.Has(key) {
			t.Errorf("%s is still there: %q", key, m.header.Values(key))
		}
	}
	if m.header.Get("Subject") != "kept" || !m.meta.DontTraceSender || m.meta.Conn.AuthUser != kim {
		t.Errorf("subject %q, meta %+v", m.header.Get("Subject"), m.meta)
	}
	m = send("From: Kim, the Best <" + kim + ">\r\nTo: Lee, A <a@far.test>, \xc0\xb1 <b@far.test>\r\n" +
		"Cc: nobody can read this <\r\n" +
		"Content-Type: text/plain; charset=windows-1251")
	if got := m.header.Get("From"); got != `"Kim, the Best" <`+kim+`>` {
		t.Errorf("From is now %q", got)
	}
	if got := spell(mailboxes(m.header.Get("To"), "")); got != "Lee, A|a@far.test, А±|b@far.test" {
		t.Errorf("To is now %q, %q", m.header.Get("To"), got)
	}
	if got := m.header.Get("Cc"); got != "nobody can read this <" {
		t.Errorf("Cc is now %q", got)
	}
}

// TestWhoWrites: a submitted message has one From with one address that the login
// may use, and the refusal says which rule it breaks.
func TestWhoWrites(t *testing.T) {
	t.Parallel()
	s := &sink{}
	o := submission(s)
	o.MayUse = func(_ context.Context, login, addr string) (bool, error) {
		if addr == "broken@mall.test" {
			return false, errors.New("the table is away")
		}
		return login == kim && addr == "sales@mall.test", nil
	}
	_, dial := start(t, o, false)
	c := dial().kim()
	const rule = "550 5.6.0 A message has one From field with one address: "
	for header, want := range map[string]string{
		"From: " + kim:                                                      "250",
		"From: Kim <KIM@mall.TEST>":                                         "250",
		"From: Sales <Sales@mall.test>":                                     "250",
		"From: All: " + kim + ";":                                           "250",
		"From: boss@mall.test":                                              "550 5.7.1 From: You are signed in as kim@mall.test",
		"From: boss@mall.test\r\nSender: " + kim:                            "550 5.7.1",
		"From: \"" + kim + "\" <boss@mall.test>":                            "550 5.7.1",
		"From: " + kim + " <boss@mall.test>":                                "550 5.7.1",
		"From: broken@mall.test":                                            "451 4.3.0",
		"From: " + kim + "\r\nFrom: boss@mall.test":                         rule + "this one has 2 such fields",
		"From: " + kim + "\r\nFROM : boss@mall.test":                        "550 5.6.0",
		"From: " + kim + ", boss@mall.test":                                 rule + "this one has 2 addresses",
		"From: <" + kim + "> boss@mall.test, Lee":                           "550 5.6.0",
		"From: " + kim + " boss@mall.test":                                  "550 5.6.0",
		"From: " + kim + "\x00":                                             "550 5.6.0",
		"From: Kim":                                                         rule + "no address",
		"From:":                                                             "550 5.6.0",
		"From: " + kim + "\r\nResent-From: " + kim:                          "250",
		"From: " + kim + "\r\nResent-From: boss@mall.test":                  "550 5.7.1 Resent-From: You are",
		"From: " + kim + "\r\nResent-Sender: boss@mall.test":                "550 5.7.1 Resent-Sender: You are",
		"From: " + kim + "\r\nResent-From: " + kim + "\r\nResent-From: ???": "550 5.6.0 Resent-From has no address",
		"Subject: x": rule + "this one has 0 such fields",
	} {
		n := len(s.done())
		c.data(kim, "a@far.test", header+"\r\nTo: a@far.test\r\n\r\nhi", want)
		if more := len(s.done()) - n; more != 0 && want[0] != '2' {
			t.Errorf("%q went on", header)
		}
	}
	c.ask("MAIL FROM:<boss@mall.test>",
		"553 5.7.1 You are signed in as kim@mall.test, which may not send as boss@mall.test")
	c.ask("MAIL FROM:<broken@mall.test>", "451")
	c.data("sales@mall.test", "a@far.test", "From: "+kim+"\r\n\r\nhi", "250")
	c.data("", "a@far.test", "From: "+kim+"\r\n\r\nread", "250") // a read receipt
	if m := s.last(t); m.from != "" {
		t.Errorf("the null sender is %q", m.from)
	}
	c.data("", "a@far.test", "From: boss@mall.test\r\n\r\nread", "550")
}

// TestFromOutside: a message from outside has one writer, whom DMARC can see, and its
// octets stay as they are signed.
func TestFromOutside(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s}, false)
	c := dial().hello()
	for from, sees := range map[string]string{
		"From: a@far.test": "a@far.test",
		"From: =?windows-1252?Q?J=FCrgen?= <a@far.test>":      "a@far.test",
		"From: =?koi8-r?B?6dfBzg==?=\r\n <a@far.test>":        "a@far.test",
		"From: A, the Best <a@far.test>":                      "a@far.test",
		"From : A <a@far.test>":                               "a@far.test",
		"From: \xe9 <a@far.test>":                             "a@far.test",
		"From: \"ceo@strict.test\" <a@far.test>":              "a@far.test",
		"From: ceo@strict.test <a@far.test>":                  "a@far.test",
		"From: Kim <a..b.@far.test>":                          "x@far.test", // as some providers in Japan had them
		"From: .@far.test":                                    "x@far.test",
		"From: a@far.test, ceo@strict.test":                   "",
		"From: a@far.test ceo@strict.test":                    "",
		"From: a@far.test\r\nFrom: ceo@strict.test":           "",
		"From: =?windows-1252?Q?x?= <a@far.test>, <c@d.test>": "",
		"From: nobody":                                        "",
		"Subject: x":                                          "envelope@far.test", // as scanners send
	} {
		want := "250"
		if sees == "" {
			want = "550 5.6.0"
		}
		c.data("envelope@far.test", kim, from+"\r\nTo: "+kim+"\r\n\r\nhi", want)
		if sees == "" {
			continue
		}
		m := s.last(t)
		list, err := mail.ParseAddressList(m.header.Get("From"))
		if err != nil || len(list) != 1 || list[0].Address != sees && !strings.HasPrefix(sees, "x@") ||
			!strings.HasSuffix(list[0].Address, sees[strings.IndexByte(sees, '@'):]) {
			t.Errorf("%q: DMARC sees %q, %v", from, m.header.Get("From"), err)
		}
		sent := strings.Replace(from, " :", ":", 1) + "\r\nTo: " + kim + "\r\n\r\nhi\r\n"
		if strings.HasPrefix(from, "From") && m.raw != sent {
			t.Errorf("%q came as %q", from, m.raw)
		}
	}
	c.data("", kim, "Subject: x\r\n\r\nhi", "550")
	c.data("", kim, "From: MAILER-DAEMON@far.test\r\n\r\nhi", "250")
	rounds := strings.Repeat("Received: by x\r\n", maxReceived+1)
	c.data("a@far.test", kim, rounds+"From: a@far.test\r\n\r\nhi", "554 5.4.6")
}

// txt is a resolver of TXT records.
type txt map[string]string

func (r txt) LookupTXT(_ context.Context, name string) ([]string, error) {
	if v, ok := r[strings.TrimSuffix(name, ".")]; ok {
		return []string{v}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}
func (r txt) LookupAddr(context.Context, string) ([]string, error)       { return nil, nil }
func (r txt) LookupHost(context.Context, string) ([]string, error)       { return nil, nil }
func (r txt) LookupMX(context.Context, string) ([]*net.MX, error)        { return nil, nil }
func (r txt) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) { return nil, nil }

// TestForgedFields: what only this server may say goes, and CHmail-* fields that
// nobody vouches for.
func TestForgedFields(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	_, dial := start(t, Options{Target: s, Resolver: txt{"x._domainkey.far.test": "v=DKIM1; k=ed25519; p=" +
		base64.StdEncoding.EncodeToString(public)}}, false)
	c := dial().hello()
	c.data("a@far.test", kim, "Return-Path: <x@y>\r\nAuthentication-Results: mx.test; spf=pass\r\n"+
		"authentication-results: (c) MX.test 1; dkim=pass\r\nAuthentication-Results: \"mx.test\"; spf=pass\r\n"+
		"Authentication-Results: ; spf=pass\r\nAuthentication-Results: mx.far.test; spf=pass\r\nCHmail-Login: "+kim+
		"\r\nchmail-CHAT: <https://evil.test/c/x>\r\nFrom: a@far.test\r\n\r\nhi", "250")
	if got := s.last(t).raw; got != "Authentication-Results: mx.far.test; spf=pass\r\nFrom: a@far.test\r\n\r\nhi\r\n" {
		t.Errorf("it came as %q", got)
	}
	const fields = "From: a@far.test\r\nCHmail-Login: a@far.test\r\nCHmail-Chat: <https://far.test/c/x>\r\n"
	all := []string{"From", "CHmail-Login", "CHmail-Chat"}
	for name, signed := range map[string]struct {
		keys   []string
		domain string
		more   string
		kept   bool
	}{
		"signed":            {all, "far.test", "", true},
		"by another domain": {all, "evil.test", "", false},
		"one is not signed": {[]string{"From", "CHmail-Login"}, "far.test", "", false},
		"another on top":    {all, "far.test", "CHmail-Login: " + kim + "\r\n", false},
		"one more":          {all, "far.test", "CHmail-Port: 1\r\n", false},
	} {
		var out bytes.Buffer
		if err := dkim.Sign(&out, strings.NewReader(fields+"\r\nhi\r\n"), &dkim.SignOptions{Domain: signed.domain,
			Selector: "x", Signer: crypto.Signer(private), HeaderKeys: signed.keys}); err != nil {
			t.Fatal(err)
		}
		message := signed.more + out.String()
		c.data("a@far.test", kim, strings.TrimSuffix(message, "\r\n"), "250")
		if has := s.last(t).header.Has("CHmail-Login"); has != signed.kept {
			t.Errorf("%s: the fields stay is %v", name, has)
		}
	}
}

// TestPostmaster: the one recipient without a domain, however it is written.
func TestPostmaster(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s}, false)
	c := dial().hello()
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("RCPT TO:<postmaster>", "250")
	c.ask("rcpt to: <PostMaster> NOTIFY=NEVER", "250") // the same one again
	c.ask("RCPT TO:<someone>", "501")
	c.ask("DATA", "354")
	c.send("From: a@far.test\r\n\r\nx\r\n.\r\n")
	c.want("", "250")
	if m := s.last(t); !slices.Equal(m.to, []string{"postmaster"}) {
		t.Errorf("it went to %q", m.to)
	}
}

// TestOneCopy: a recipient who is named twice gets one.
func TestOneCopy(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s}, false)
	c := dial().hello()
	c.ask("MAIL FROM:<a@far.test>", "250")
	for _, to := range []string{kim, "KIM@mall.test", "kim@MALL.test", "lee@mall.test", kim} {
		c.ask("RCPT TO:<"+to+">", "250")
	}
	c.ask("DATA", "354")
	c.send("From: a@far.test\r\n\r\nx\r\n.\r\n")
	c.want("", "250")
	if m := s.last(t); !slices.Equal(m.to, []string{kim, "lee@mall.test"}) {
		t.Errorf("it went to %q", m.to)
	}
}

// TestParameters: those of MAIL and RCPT reach the pipeline, or are refused.
func TestParameters(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s, MaxSize: 1000, MaxRecipients: 3}, false)
	c := dial()
	c.want("", "220")
	caps := c.ask("EHLO c", "250")
	for _, want := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES",
		"SIZE 1000", "LIMITS RCPTMAX=3"} {
		if !strings.Contains(caps, want) {
			t.Errorf("EHLO does not tell of %s", want)
		}
	}
	c.ask("MAIL FROM:<a@far.test> SIZE=1001", "552 5.3.4")
	c.ask("MAIL FROM:<a@far.test> SIZE=99999999999999999999", "552 5.3.4")
	c.ask("MAIL FROM:<a@far.test> REQUIRETLS", "555")
	c.ask("MAIL FROM:<a@far.test> X=y", "555")
	c.ask("MAIL FROM:<\xc3\xa4@far.test>", "550 5.6.7")
	c.ask("MAIL FROM:<a\x01@far.test>", "553 5.1.7")
	c.ask("MAIL FROM:a@<far.test", "553 5.1.7")
	c.ask("MAIL FROM:<\"a b\"@[IPv6:2001:db8::1]>", "250")
	c.ask("RSET", "250")
	c.ask("MAIL FROM:<\xc3\xa4@far.test> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=q+2B SIZE=900", "250")
	c.ask("MAIL FROM:<a@far.test>", "503 5.5.1")
	c.ask("RCPT TO:<"+kim+"> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;k+2B@x", "250")
	c.ask("RCPT TO:<a\x7f@far.test>", "501 5.1.3")
	c.ask("DATA", "354")
	c.send("From: a@far.test\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n.\r\n")
	c.want("a larger one", "552 5.3.4")
	c.ask("MAIL FROM:<a@far.test> RET=FULL ENVID=q+2B", "250")
	c.ask("RCPT TO:<"+kim+"> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;k+2B@x", "250")
	c.send("BDAT 30 LAST\r\nFrom: a@far.test\r\n\r\n0123456789")
	c.want("BDAT", "250")
	m := s.last(t)
	if got := fmt.Sprint(m.meta.SMTPOpts.Return, m.meta.SMTPOpts.EnvelopeID, m.opts); got !=
		"FULLq+[{[SUCCESS DELAY] RFC822 k+@x}]" {
		t.Error("the pipeline got", got)
	}
	c.ask("MAIL FROM:<a@far.test>", "250")
	for i := range 3 {
		c.ask(fmt.Sprintf("RCPT TO:<a%d@mall.test>", i), "250")
	}
	c.ask("RCPT TO:<a4@mall.test>", "452 4.5.3")
}
