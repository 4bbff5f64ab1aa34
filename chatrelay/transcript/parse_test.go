// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestReplies parses the answers of testdata/replies, written as the mail
// programs that their names tell do: what is new is in the .txt beside each.
func TestReplies(t *testing.T) {
	t.Parallel()
	mails, err := filepath.Glob("testdata/replies/*.eml")
	if err != nil || len(mails) < 30 {
		t.Fatalf("%d answers, %v", len(mails), err)
	}
	for _, name := range mails {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".eml"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(name, ".eml") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(bytes.NewReader(raw))
			if err != nil || p.Text != strings.TrimSuffix(string(want), "\n") {
				t.Errorf("got, %v:\n%s\nwant:\n%s", err, p.Text, want)
			}
			if p.From != "hong@example.com" {
				t.Errorf("from %q", p.From)
			}
			if n := strings.Count(string(raw), "Content-Disposition: attachment"); p.Attachments != n {
				t.Errorf("%d attachments, want %d", p.Attachments, n)
			}
		})
	}
}

const head = "From: =?euc-kr?B?yKux5rW/?= <Hong@Example.com>\r\nSubject: =?utf-8?q?Re:_=E2=80=AEorder?=\r\n" +
	"Date: Mon, 5 Jan 2026 15:10:00 +0900\r\n" +
	"Message-ID: <m1@example.com>\r\nIn-Reply-To: <t1@mall.example>\r\nMIME-Version: 1.0\r\n"

func TestHeader(t *testing.T) {
	t.Parallel()
	p, err := Parse(strings.NewReader(head + "\r\nhello\r\n"))
	want := Reply{From: "hong@example.com", Name: "홍길동", Subject: "Re: order", MessageID: "m1@example.com",
		InReplyTo: "t1@mall.example", Date: p.Date, Text: "hello"}
	if err != nil || p != want || !p.Date.Equal(time.Date(2026, 1, 5, 6, 10, 0, 0, time.UTC)) {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestAutomatic(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]error{
		"Auto-Submitted: auto-replied":                                ErrAuto,
		"Auto-Submitted: auto-generated (vacation)":                   ErrAuto,
		"Auto-Submitted: no":                                          nil,
		"Precedence: bulk":                                            ErrAuto,
		"Precedence: normal":                                          nil,
		"X-Autoreply: yes":                                            ErrAuto,
		"List-Id: <x.example>":                                        ErrAuto,
		"List-Post: <mailto:x@y.example>":                             ErrAuto,
		"List-Unsubscribe: <mailto:x@y.example>":                      ErrAuto,
		"Return-Path: <>":                                             ErrAuto,
		"Return-Path: <hong@example.com>":                             nil,
		"X-Mail-Autoreply: vacation":                                  ErrAuto,
		"X-Naver-AutoReply: 1":                                        ErrAuto,
		"X-Autoresponder: y":                                          ErrAuto,
		"X-Vacation: y":                                               ErrAuto,
		"X-Auto-Response-Suppress: All":                               ErrAuto,
		"X-Failed-Recipients: a@b.example":                            ErrAuto,
		"X-Automobile: y":                                             nil,
		"Content-Type: multipart/report; report-type=x; boundary=b":   ErrAuto,
		"Content-Type: text/plain; charset=utf-8\r\nX-Priority: high": nil,
	} {
		p, err := Parse(strings.NewReader(head + line + "\r\n\r\nI am away.\r\n"))
		if !errors.Is(err, want) || p.From != "hong@example.com" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestAutomaticSubject: old auto-responders have no field that says what they are.
func TestAutomaticSubject(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]error{
		"Out of Office: Transcript":                             ErrAuto,
		"I am out of the office":                                nil,
		"Out of the office until Monday":                        ErrAuto,
		"Automatic reply: Transcript":                           ErrAuto,
		"Auto-Reply":                                            ErrAuto,
		"AutoReply: x":                                          ErrAuto,
		"Automatische Antwort: x":                               ErrAuto,
		"Réponse automatique : x":                               ErrAuto,
		"[자동응답] 휴가중입니다":                                         ErrAuto,
		"Автоматический ответ: x":                               ErrAuto,
		"Automatyczna odpowiedź: x":                             ErrAuto,
		"Odpowiedź: x":                                          nil,
		"자동 회신: 대화":                                             ErrAuto,
		"自動返信":                                                  ErrAuto,
		"=?utf-8?B?7J6Q64+ZIO2ajOyLoDog64yA7ZmU?=":              ErrAuto,
		"Re: Automatic reply: x":                                nil,
		"Re: Transcript: Out of office furniture":               nil,
		"Automobile":                                            nil,
		"=?utf-8?B?UmU6IOyekOuPmSDtmozsi6A=?= about automation": nil,
	} {
		_, err := Parse(strings.NewReader("From: hong@example.com\r\nSubject: " + subject +
			"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nI am away.\r\n"))
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// TestLanguages: what programs that speak other languages quote is cut.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for name, quotation := range map[string]string{
		"Outlook de": "Von: Shop <r@mall.example>\nGesendet: Donnerstag, 26. November 2026 08:06\nAn: k\n" +
			"Betreff: x\n\nold",
		"Outlook fr": "De : Shop <r@mall.example>\nEnvoyé : jeudi 26 novembre 2026 08:06\nÀ : k\nObjet : x\n\nold",
		"Outlook ja": "差出人: Shop <r@mall.example>\n送信日時: 2026年11月26日 8:06\n宛先: k\n件名: x\n\nold",
		"Outlook zh": "发件人: Shop <r@mall.example>\n发送时间: 2026年11月26日 8:06\n收件人: k\n主题: x\n\nold",
		"Gmail zh":   "Shop <r@mall.example> 于2026年11月26日周四 08:06写道：\n\n> old",
		"Gmail nl":   "Op do 26 nov 2026 om 08:06 schreef Shop <r@mall.example>:\n\n> old",
		"GMX":        "-----Ursprüngliche Nachricht-----\nold",
		"iPhone de":  "Von meinem iPhone gesendet\n\nAm 26.11.2026 um 08:06 schrieb Shop <r@mall.example>:\n\n> old",
		"a rule only": "________________________________\nНаправил: S <r@mall.example>\nКад: 26.11.2026 08:06\n" +
			"Коме: k\n\nold",
	} {
		p, err := Parse(strings.NewReader(head + "Content-Type: text/plain; charset=utf-8\r\n\r\n" +
			strings.ReplaceAll("Yes.\n\n"+quotation, "\n", "\r\n")))
		if err != nil || p.Text != "Yes." {
			t.Errorf("%s: %q, %v", name, p.Text, err)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":      "\r\n",
		"white space":  "\r\n \r\n\u200b\r\n",
		"history only": "\r\nOn Mon, Jan 5, 2026 at 3:04 PM Mina <m@x> wrote:\r\n> a\r\n",
		"marker only":  "\r\n" + markers["en"] + "\r\nrest\r\n",
		"a picture":    "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\n",
		"encrypted": "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n" +
			"\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n" +
			"Content-Type: application/octet-stream\r\n\r\nx\r\n--b--\r\n",
		"no boundary":    "Content-Type: multipart/mixed\r\n\r\nhello\r\n",
		"signature only": "\r\n-- \r\nHong\r\n",
	} {
		if p, err := Parse(strings.NewReader(head + body)); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: %q, %v", name, p.Text, err)
		}
	}
}

// endless gives a line again and again.
type endless struct {
	line string
	left int64 // octets
	rest string
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if e.rest == "" {
		e.rest = strings.Repeat(e.line, 1+4096/len(e.line))
	}
	n := copy(p[:min(int64(len(p)), e.left)], e.rest)
	e.rest, e.left = e.rest[n:], e.left-int64(n)
	return n, nil
}

func TestBounds(t *testing.T) {
	t.Parallel()
	history := "Yes.\r\n\r\nOn Mon, Jan 5, 2026 at 3:04 PM Mina <m@x> wrote:\r\n"
	html := head + "Content-Type: text/html; charset=utf-8\r\n\r\n<p>Yes.</p>"
	deep, wide := "", "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for i := range 100 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	wide += strings.Repeat("--b\r\n\r\n\r\n", 1000)
	for name, c := range map[string]struct {
		r    io.Reader
		text string
		err  error
	}{
		"10 MB of quoted history": {io.MultiReader(strings.NewReader(head+"\r\n"+history),
			&endless{line: "> " + strings.Repeat("line of history ", 16) + "\r\n", left: 10 << 20}), "Yes.", nil},
		"10 MB of HTML history": {io.MultiReader(strings.NewReader(html+"<blockquote>"),
			&endless{line: "<div>line of history<br></div>", left: 10 << 20}), "Yes.", nil},
		"blockquotes in each other": {io.MultiReader(strings.NewReader(html),
			&endless{line: "<blockquote>x", left: 2 << 20}), "Yes.", nil},
		"end tags of nothing": {io.MultiReader(strings.NewReader(html+strings.Repeat("<div>", 1900)),
			&endless{line: "</p></b></i>", left: 2 << 20}), "Yes.", nil},
		"10 MB written anew": {io.MultiReader(strings.NewReader(head+"\r\n"),
			&endless{line: "word ", left: 10 << 20}), "", ErrTooLong},
		"one long line": {io.MultiReader(strings.NewReader(head+"\r\n"),
			&endless{line: "On 1", left: 2 << 20}), "", ErrTooLong},
		"attributions without end": {io.MultiReader(strings.NewReader(head+"\r\n"),
			&endless{line: "On 1 at 2:22 <a@b>\r\n", left: 1 << 20}), "", ErrTooLong},
		"a huge mail": {io.MultiReader(strings.NewReader(head+"Content-Type:"+
			" multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nYes.\r\n--b\r\nContent-Type: x/y\r\n\r\n"),
			&endless{line: "line\r\n", left: 65 << 20}), "", ErrTooLarge},
		"a huge header": {io.MultiReader(strings.NewReader(head+"X: "),
			&endless{line: "word\r\n ", left: 1 << 20}), "", ErrTooLarge},
		"parts in parts": {strings.NewReader(head + deep), "", ErrTooLarge},
		"many parts":     {strings.NewReader(head + wide), "", ErrTooLarge},
		"not a mail":     {strings.NewReader("\x00\x01\x02"), "", ErrMalformed},
		"nothing":        {strings.NewReader(""), "", ErrEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			p, err := Parse(c.r)
			if !errors.Is(err, c.err) || p.Text != c.text {
				t.Errorf("%d octets %.80q, %v", len(p.Text), p.Text, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	broken := errors.New("the disk is gone")
	if _, err := Parse(io.MultiReader(strings.NewReader(head+"\r\nYes"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a reader's error: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestISO2022KR reads the encoding in pieces of every size.
func TestISO2022KR(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/replies/iso-2022-kr.eml")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 40; n++ {
		p, err := Parse(&pieces{raw, n})
		if err != nil || !strings.HasPrefix(p.Text, "네, 내일") {
			t.Errorf("in pieces of %d: %q, %v", n, p.Text, err)
		}
	}
}

type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

func FuzzParse(f *testing.F) {
	mails, _ := filepath.Glob("testdata/replies/*.eml")
	for _, name := range mails {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Parse(bytes.NewReader(raw))
		if !utf8.ValidString(p.Text) || len(p.Text) > MaxText || err == nil && strings.TrimSpace(p.Text) == "" ||
			err != nil && p.Text != "" {
			t.Errorf("%d octets %q, %v", len(p.Text), p.Text, err)
		}
		for _, line := range strings.Split(p.Text, "\n") {
			if isMarker(line) {
				t.Errorf("the marker is left: %q", p.Text)
			}
		}
	})
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           "",
		"plain":                      "plain",
		"안녕":                         "안녕",
		"안녕"[:5]:                     "안", // cut at a bound
		"\xbe\xc8\xb3\xe7":           "안녕",
		"yes \xb0\xa1":               "yes 가",
		"caf\xe9 na\xefve \x93x\x94": "café naïve “x”",
	} {
		if got := guess([]byte(in)); got != want {
			t.Errorf("guess(%q) = %q, want %q", in, got, want)
		}
	}
}
