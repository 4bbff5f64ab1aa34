// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bufio"
	"errors"
	"io"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/traditionalchinese"
)

// TestMessageLines: a message ends at CR LF . CR LF alone, and what is given of it
// has no CR or LF but at the ends of lines, however it is cut into reads.
func TestMessageLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*bufferSize)
	for name, c := range map[string]struct{ sent, want string }{
		"nothing":                 {".\r\n", ""},
		"dots":                    {"..\r\n...a\r\n.b\r\n.\r\n", ".\r\n..a\r\nb\r\n"},
		"CR CR LF":                {"a\r\r\n.\r\n", "a\r\n"},
		"many CRs":                {"a\r\r\r\r\n.\r\n", "a\r\n"},
		"LF":                      {"a\nb\r\n.\r\n", "a\r\nb\r\n"},
		"LF dot LF":               {"a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"},
		"LF dot CR LF":            {"a\n.\r\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"},
		"CR dot CR":               {"a\r.\rb\r\n.\r\n", "a . b\r\n"},
		"CR dot CR LF":            {"a\r.\r\nb\r\n.\r\n", "a .\r\nb\r\n"},
		"CR LF dot CR":            {"a\r\n.\rb\r\n.\r\n", "a\r\n b\r\n"},
		"a field by CR":           {"Subject: a\rBcc: b\r\n.\r\n", "Subject: a Bcc: b\r\n"},
		"a long line":             {long + "\r\n.\r\n", long + "\r\n"},
		"a long line and CRs":     {long + "\r\r\n.\r\n", long + "\r\n"},
		"CRs at a buffer's end":   {long[:bufferSize-1] + "\r\r\n.\r\n", long[:bufferSize-1] + "\r\n"},
		"CR at a buffer's end":    {long[:bufferSize-1] + "\rb\r\n.\r\n", long[:bufferSize-1] + " b\r\n"},
		"a dot at a buffer's end": {long[:bufferSize-2] + "\r\n..\r\n.\r\n", long[:bufferSize-2] + "\r\n.\r\n"},
	} {
		for cut, r := range map[string]io.Reader{"whole": strings.NewReader(c.sent + "QUIT\r\n"),
			"by octet": iotest.OneByteReader(strings.NewReader(c.sent + "QUIT\r\n"))} {
			br := bufio.NewReaderSize(r, bufferSize)
			got, err := io.ReadAll(newMessage(br, true, 1<<20))
			if rest, _ := io.ReadAll(br); err != nil || string(got) != c.want || string(rest) != "QUIT\r\n" {
				t.Errorf("%s, %s: %.80q, %v, and %.20q follows; want %.80q", name, cut, got, err, rest, c.want)
			}
		}
	}
}

// TestMessageByChunks: BDAT has no dots, and may end within a line.
func TestMessageByChunks(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{"": "", ".\r\n": ".\r\n", "..a": "..a\r\n", "a\r\n": "a\r\n",
		"a\nb\r": "a\r\nb\r\n", strings.Repeat("y", bufferSize): strings.Repeat("y", bufferSize) + "\r\n"} {
		got, err := io.ReadAll(newChunkedMessage(strings.NewReader(sent), 1<<20))
		if err != nil || string(got) != want {
			t.Errorf("%.30q is read as %.30q, %v", sent, got, err)
		}
	}
}

// TestMessageBounds: a message that does not end, and one that is too large.
func TestMessageBounds(t *testing.T) {
	t.Parallel()
	br := bufio.NewReader(strings.NewReader("a\r\nb"))
	if _, err := io.ReadAll(newMessage(br, true, 100)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("a message without an end:", err)
	}
	for _, lines := range []string{strings.Repeat("a\r\n", 40), strings.Repeat("\r", 200) + "\r\n",
		strings.Repeat("b", 101) + "\r\n"} {
		br := bufio.NewReader(strings.NewReader(lines + ".\r\nQUIT\r\n"))
		m := newMessage(br, true, 100)
		if _, err := io.ReadAll(m); !errors.Is(err, errTooLarge) {
			t.Errorf("%.10q…: %v", lines, err)
		}
		if err := m.skip(1000); err != nil {
			t.Errorf("the rest of %.10q…: %v", lines, err)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "QUIT\r\n" {
			t.Errorf("after the rest of %.10q… comes %q", lines, rest)
		}
	}
}

// TestHeader: what is no header is read as others read it, and nothing is lost.
func TestHeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sent, header, body string }{
		"ordinary":        {"A: b\nC: d\n e\n\nx\n", "A: b\nC: d\n e\n", "x\n"},
		"no body":         {"A: b\n", "A: b\n", ""},
		"empty":           {"", "", ""},
		"only a body":     {"\nx\n", "", "x\n"},
		"no header":       {"Only a text\n", "", "Only a text\n"},
		"no header, more": {"Only a text\nA: b\n\nx\n", "", "Only a text\nA: b\n\nx\n"},
		"of an mbox": {"From a@b Tue Nov 24 10:00:00 2026\nA: b\n\nx\n",
			"X-Mailbox-Line: From a@b Tue Nov 24 10:00:00 2026\nA: b\n", "x\n"},
		"quoted of an mbox": {"A: b\n>>From a@b Tue\n>From c\nC: d\n\nx\n",
			"A: b\nX-Mailbox-Line: >>From a@b Tue\nX-Mailbox-Line: >From c\nC: d\n", "x\n"},
		"space in a name": {"A: b\nX Foo: bar\nC: d\n\nx\n",
			"A: b\nX-Malformed-Header: X Foo: bar\nC: d\n", "x\n"},
		"no colon": {"A: b\nwhat is this\nC: d\n\nx\n",
			"A: b\nX-Malformed-Header: what is this\nC: d\n", "x\n"},
		"no empty line": {"A: b\nHello Kim,\nhow are you?\n", "A: b\n", "Hello Kim,\nhow are you?\n"},
		"no empty line, but one later": {"A: b\nHello Kim,\n\nhow are you?\n", "A: b\n",
			"Hello Kim,\n\nhow are you?\n"},
		"the last line":        {"A: b\nHello", "A: b\n", "Hello\n"},
		"space before a colon": {"A : b\nSubject\t: c\n d\n\nx\n", "A: b\nSubject: c\n d\n", "x\n"},
		"letters":              {"A: b\nÄ: c\nD: e\n\n", "A: b\nX-Malformed-Header: Ä: c\nD: e\n", ""},
		"a space first":        {" A: b\nC: d\n\nx\n", "", " A: b\nC: d\n\nx\n"},
		"a space alone":        {"A: b\n \nC: d\n\nx\n", "A: b\n \nC: d\n", "x\n"},
	} {
		sent := newChunkedMessage(strings.NewReader(strings.ReplaceAll(c.sent, "\n", "\r\n")), 1<<20)
		h, rest, err := readHeader(sent, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got strings.Builder
		for f := h.Fields(); f.Next(); {
			raw, err := f.Raw()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got.Write(raw)
		}
		body, err := io.ReadAll(rest)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, pair := range map[string][2]string{"header": {got.String(), c.header},
			"body": {string(body), c.body}} {
			if want := strings.ReplaceAll(pair[1], "\n", "\r\n"); pair[0] != want {
				t.Errorf("%s: its %s is %q, not %q", name, what, pair[0], want)
			}
		}
	}
}

// TestHeaderBounds: a header has so many octets, and so many fields.
func TestHeaderBounds(t *testing.T) {
	t.Parallel()
	_, _, err := readHeader(strings.NewReader("A: "+strings.Repeat("b", 2000)+"\r\n\r\n"), 1000)
	if err != errHeaderTooLarge {
		t.Error("a header that is too large:", err)
	}
	_, _, err = readHeader(strings.NewReader(strings.Repeat("A:\r\n", maxFields+1)), 1<<20)
	if err != errTooManyFields {
		t.Error("a header with too many fields:", err)
	}
}

// TestMailboxes: addresses are found where they are clear, whatever the names are
// written in.
func TestMailboxes(t *testing.T) {
	t.Parallel()
	raw := func(s string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	big5 := raw(traditionalchinese.Big5.NewEncoder().String("許功蓋")) // with octets of \ and |
	korea := raw(korean.EUCKR.NewEncoder().String("한글"))
	jis := raw(japanese.ISO2022JP.NewEncoder().String("山田"))
	for v, want := range map[string]string{
		"a@b.c":                                 "|a@b.c",
		"A <a@b.c>":                             "A|a@b.c",
		`"B, A" <a@b.c>, d@e.f`:                 "B, A|a@b.c, |d@e.f",
		"B, A <a@b.c>":                          "B, A|a@b.c",
		"C, B, A <a@b.c>, <d@e.f>":              "C, B, A|a@b.c, |d@e.f",
		"=?windows-1251?B?yOLg7Q==?= <a@b.c>":   "Иван|a@b.c",
		"=?koi8-r?B?6dfBzg==?= <a@b.c>":         "Иван|a@b.c",
		"=?gb2312?B?1cXI/Q==?= <a@b.c>":         "张三|a@b.c",
		"=?ks_c_5601-1987?B?x9Gx2w==?= <a@b.c>": "한글|a@b.c",
		"=?x-nobody-knows?Q?A?= <a@b.c>":        "=?x-nobody-knows?Q?A?=|a@b.c",
		"J\xfcrgen <a@b.c>":                     "Jürgen|a@b.c",
		"Jürgen, der Erste <a@b.c>":             "Jürgen, der Erste|a@b.c",
		jis + " <a@b.c>":                        "山田|a@b.c",
		"a@b.c (A)":                             "A|a@b.c",
		"A a@b.c":                               "A|a@b.c",
		"a@b.c <a@b.c>":                         "a@b.c|a@b.c",
		"A:<a@b.c>":                             "A:|a@b.c",
		"All: a@b.c, D <d@e.f>;":                "|a@b.c, D|d@e.f",
		"A \"quote <a@b.c>":                     "A quote|a@b.c",
		"A (smile <a@b.c>":                      "A (smile|a@b.c",
		"<@x.y:a@b.c>":                          "|a@b.c",
		`"ceo@strict.test" <a@b.c>`:             "ceo@strict.test|a@b.c",
		"A <a@b.c>, nobody":                     "A|a@b.c",
		"":                                      "no address",
		"nobody":                                "no address",
		"undisclosed-recipients:;":              "no address",
		"a@b.c d@e.f":                           "it cannot be read",
		"<a@b.c> <d@e.f>":                       "it cannot be read",
		"A <a@b.c":                              "it cannot be read",
		"A <a>":                                 "it has an address that is none",
		"a@b.c\x00":                             "it has an address that is none",
		"A <a@b@c.d>":                           "it has an address that is none",
	} {
		if got := spell(mailboxes(v, "")); got != want {
			t.Errorf("%q is read as %q, not %q", v, got, want)
		}
	}
	for charset, c := range map[string][2]string{"big5": {big5, "許功蓋"}, "euc-kr": {korea, "한글"}} {
		if got := spell(mailboxes(c[0]+" <a@b.c>", charset)); got != c[1]+"|a@b.c" {
			t.Errorf("a name in %s is read as %q", charset, got)
		}
	}
}

func spell(list []*mail.Address, _ bool, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, a := range list {
		all = append(all, a.Name+"|"+a.Address)
	}
	return strings.Join(all, ", ")
}
