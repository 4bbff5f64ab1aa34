// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"os/exec"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"
	"github.com/emersion/go-message/textproto"
	"golang.org/x/text/encoding/ianaindex"

	"github.com/chmail/chmail/internal/testpart"
)

const (
	base = "https://chat.mall.example"
	link = base + "/c/3q2-7wAAQ0mXk1Zr9m0V4A"
)

var sample = Stamp{Login: "host@mall.example", Host: "chat.mall.example",
	Port: 20017, URL: link, SenderName: "Jürgen 민준 <b>", Lang: "en"}

func crlf(v string) string { return strings.ReplaceAll(v, "\n", "\r\n") }

func source(body string) Source {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
}

// split separates a message into header and body.
func split(t testing.TB, msg string) (textproto.Header, string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(msg))
	h, err := textproto.ReadHeader(br)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(br)
	return h, string(body)
}

// stampIt returns the stamped message and its plan, and checks Growth.
func stampIt(t testing.TB, msg string, s Stamp) (string, *Plan) {
	t.Helper()
	h, body := split(t, msg)
	plan, err := Scan(h, source(body), base)
	if err != nil {
		t.Fatal(err)
	}
	var out, all bytes.Buffer
	nh, err := Write(&out, h, source(body), base, s)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := int64(out.Len()), int64(len(body))+plan.Copy(s).Growth(); got != want {
		t.Fatalf("the body has %d bytes, Growth says %d", got, want)
	}
	if back := unstamp(t, out.String(), body, plan, s); back != body {
		t.Fatalf("without the edits the body is not what it was:\n%q\n%q", back, body)
	}
	_ = textproto.WriteHeader(&all, nh)
	all.Write(out.Bytes())
	return all.String(), plan
}

// unstamp takes the edits out again.
func unstamp(t testing.TB, out, raw string, p *Plan, s Stamp) string {
	var b strings.Builder
	var at int64
	c := p.Copy(s)
	for i, e := range c.edits {
		b.WriteString(out[:e.at-at])
		out = out[e.at-at:]
		rest, ok := strings.CutPrefix(out, string(c.texts[i]))
		if !ok {
			t.Fatalf("no insert at %d", e.at)
		}
		b.WriteString(raw[e.at : e.at+e.del])
		out, at = rest, e.at+e.del
	}
	return b.String() + out
}

type part struct {
	path, media, text string
	raw               bool // the encoding or charset is unknown
}

func parts(msg string) ([]part, error) {
	e, err := message.Read(strings.NewReader(msg))
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return nil, err
	}
	var all []part
	err = e.Walk(func(path []int, e *message.Entity, err error) error {
		unknown := message.IsUnknownCharset(err) || message.IsUnknownEncoding(err)
		if err != nil && !unknown {
			return err
		}
		media, _, _ := e.Header.ContentType()
		if strings.HasPrefix(media, "multipart/") && e.MultipartReader() != nil {
			return nil
		}
		text, err := io.ReadAll(e.Body)
		if err != nil {
			return err
		}
		all = append(all, part{fmt.Sprint(path), media, string(text), unknown})
		return nil
	})
	return all, err
}

func encode(enc, charset, text string) string {
	c, err := ianaindex.MIME.Encoding(charset)
	if err != nil {
		panic(err)
	}
	raw, err := c.NewEncoder().String(text)
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	switch enc {
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(raw))
		w.Close()
	case "base64":
		return string(wrap(base64.StdEncoding.EncodeToString([]byte(raw)), 0, "\r\n"))
	default:
		return raw
	}
	return b.String()
}

func leafOf(kind, enc, charset, extra, text string) string {
	return "Content-Type: text/" + kind + "; charset=" + charset + extra + "\r\nContent-Transfer-Encoding: " + enc +
		"\r\n\r\n" + encode(enc, charset, text)
}

const picture = "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"

func multi(kind, boundary string, parts ...string) string {
	b := "Content-Type: multipart/" + kind + "; boundary=\"" + boundary + "\"\r\n\r\npreamble\r\n"
	for _, p := range parts {
		b += "--" + boundary + "\r\n" + p + "\r\n"
	}
	return b + "--" + boundary + "--\r\nepilogue\r\n"
}

var encodings = map[string]string{
	"us-ascii": "Hello = you", "utf-8": "Grüße 안녕 こんにちは", "iso-8859-1": "Grüße", "iso-2022-jp": "こんにちは",
	"euc-kr": "안녕하세요", "windows-1252": "Preis: 5 €",
}

func structures(plain, page string) map[string]string {
	file := "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nfile"
	return map[string]string{
		"plain": plain, "html": page,
		"alternative": multi("alternative", "aa", plain, page),
		"mixed":       multi("mixed", "mm", file, plain, picture, "Content-Type: text/plain\r\n\r\nsecond"),
		"related":     multi("related", "rr", page, picture),
		"nested": multi("mixed", "xx",
			multi("related", "yy", multi("alternative", "zz", plain, page), picture), file),
	}
}

// TestStructures tries every structure, encoding, charset and end of text.
func TestStructures(t *testing.T) {
	t.Parallel()
	for charset, text := range encodings {
		for _, enc := range []string{"7bit", "8bit", "binary", "quoted-printable", "base64"} {
			if enc == "7bit" && charset != "us-ascii" && charset != "iso-2022-jp" {
				continue
			}
			for _, end := range []string{"", "\r\n", " \r\n", "x", "xy"} {
				for _, tail := range []string{"", "</body></html>", "<!-- </body> --></BODY >\r\n</HTML>"} {
					plain := leafOf("plain", enc, charset, "; format=flowed", "Hi\r\n"+text+end)
					page := leafOf("html", enc, charset, "", "<html><body><p>"+text+"</p>"+end+tail)
					for name, msg := range structures(plain, page) {
						checkOne(t, fmt.Sprintf("%s/%s/%s/%q/%q", name, enc, charset, end, tail),
							"From: a@b.example\r\nMIME-Version: 1.0\r\n"+msg)
					}
				}
			}
		}
	}
}

func checkOne(t *testing.T, name, msg string) {
	out, plan := stampIt(t, msg, sample)
	before, err := parts(msg)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	after, err := parts(out)
	if err != nil || len(after) != len(before) || plan.Reason() != "" {
		t.Fatalf("%s: %d parts, then %d: %v %s\n%s", name, len(before), len(after), err, plan.Reason(), out)
	}
	links := 0
	for i, b := range before {
		a := after[i]
		if a.text == b.text {
			continue
		}
		links++
		if !strings.Contains(a.text, link) {
			t.Fatalf("%s: no link in %q", name, a.text)
		}
		switch b.media {
		case "text/plain":
			if !strings.HasPrefix(a.text, b.text) || !strings.Contains(a.text, "\nChat now with ") ||
				!strings.Contains(strings.ReplaceAll(a.text, "\r", ""), "\n"+link+"\n") {
				t.Fatalf("%s: %q", name, a.text)
			}
		case "text/html":
			at := strings.Index(a.text, "<div role")
			if !strings.HasPrefix(b.text, strings.TrimRight(a.text[:at], "\r\n")) || strings.Contains(a.text, "<b>") ||
				!strings.Contains(html.UnescapeString(a.text), "now with "+sample.SenderName) {
				t.Fatalf("%s: %q", name, a.text)
			}
		}
	}
	want := 1
	if strings.Contains(name, "alternative") || strings.HasPrefix(name, "nested") {
		want = 2
	}
	if links != want {
		t.Fatalf("%s: %d parts have the link, want %d\n%s", name, links, want, out)
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(name, "quoted") && len(strings.TrimRight(line, "\r")) > 78 && !strings.Contains(line, ":") {
			t.Fatalf("%s: a line of %d bytes: %q", name, len(line), line)
		}
	}
}

// TestPython has another reader find old text and link.
func TestPython(t *testing.T) {
	t.Parallel()
	python := testpart.Need(t, "python3")
	const script = `
import sys, email, email.policy
for m in sys.stdin.buffer.read().split(b"\0"):
    m = email.message_from_bytes(m, policy=email.policy.default)
    assert not m.defects, m.defects
    n = 0
    for p in m.walk():
        assert not p.defects, p.defects
        if p.get_content_maintype() == "text" and "/c/3q2-" in p.get_content():
            n += 1
            assert sys.argv[1] in p.get_content(), p.get_content()
    assert n >= 1, m
print("good")
`
	for charset, text := range encodings {
		var all []string
		for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
			for _, msg := range structures(leafOf("plain", enc, charset, "", text),
				leafOf("html", enc, charset, "", "<p>"+text+"</body>")) {
				out, _ := stampIt(t, "MIME-Version: 1.0\r\n"+msg, sample)
				all = append(all, out)
			}
		}
		cmd := exec.Command(python, "-c", script, text)
		cmd.Env = append(cmd.Environ(), "PYTHONUTF8=1")
		cmd.Stdin = strings.NewReader(strings.Join(all, "\x00"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", charset, err, out)
		}
	}
}

// TestExact shows what a person gets.
func TestExact(t *testing.T) {
	t.Parallel()
	const block = "\n________________________________\nChat now with Jo\n" +
		"The link opens a page; nothing rings before you press Chat now there:\n" + link + "\n"
	s := sample
	s.SenderName = "Jo"
	for _, c := range []struct{ name, in, want string }{
		{"plain", "\nHi\n", "Hi\n" + block},
		{"no newline", "\nHi", "Hi\n" + block},
		{"empty", "\n", block},
		{"soft break open", "Content-Transfer-Encoding: quoted-printable\n\nHi=", "Hi=\n\n" + block},
		{"soft break", "Content-Transfer-Encoding: quoted-printable\n\nHi=\n", "Hi=\n\n" + block},
		{"shifted", "Content-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B$3", "\x1b$B$3\x1b(B\n" + block},
		{"flowed", "Content-Type: text/plain; format=flowed; delsp=yes\n\nHi \n", "Hi \n" + block},
		{"empty part", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b--\n", "--b\n\n" + block + "--b--\n"},
	} {
		out, _ := stampIt(t, crlf("From: a@b.example\n"+c.in), s)
		_, body := split(t, out)
		if body != crlf(c.want) {
			t.Errorf("%s:\n%q\nwant\n%q", c.name, body, crlf(c.want))
		}
	}
}

// TestUntouched: the header only.
func TestUntouched(t *testing.T) {
	t.Parallel()
	deep := "Content-Type: text/plain\n\nx"
	for i := range maxDepth + 1 {
		deep = strings.ReplaceAll(multi("mixed", fmt.Sprintf("q%02dq", i), deep), "\r", "")
	}
	for name, msg := range map[string]string{
		"signed":    "Content-Type: multipart/signed; boundary=b; protocol=x\n\n--b\n\nHi\n--b--\n",
		"encrypted": "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nHi\n--b--\n",
		"smime":     "Content-Type: application/pkcs7-mime\n\nMIIB",
		"signed within": "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHi\n--b\n" +
			"Content-Type: multipart/signed; boundary=c\n\n--c\n\n--c--\n--b--\n",
		"inline PGP":   "\nHi\n-----BEGIN PGP SIGNED MESSAGE-----\n",
		"no boundary":  "Content-Type: multipart/mixed\n\n--b\n\nHi\n--b--\n",
		"never closed": "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHi\n",
		"inner not closed": "Content-Type: multipart/mixed; boundary=b\n\n--b\n" +
			"Content-Type: multipart/mixed; boundary=c\n\n--c\n\nHi\n--b--\n",
		"prefix": "Content-Type: multipart/mixed; boundary=b\n\n--b\n" +
			"Content-Type: multipart/mixed; boundary=bc\n\n--bc\n\nHi\n--bc--\n--b--\n",
		"almost":          "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHi\n--bx\n--b--\n",
		"bad part header": "Content-Type: multipart/mixed; boundary=b\n\n--b\nnonsense\n\nHi\n--b--\n",
		"long part header": "Content-Type: multipart/mixed; boundary=b\n\n--b\nX: " +
			strings.Repeat("x", maxHeader) + "\n\nHi\n--b--\n",
		"two types":  "Content-Type: text/plain\nContent-Type: text/html\n\nHi",
		"deep":       deep,
		"utf-16":     "Content-Type: text/plain; charset=utf-16\n\nHi",
		"utf-7":      "Content-Type: text/plain; charset=utf-7\n\nHi",
		"bad base64": "Content-Transfer-Encoding: base64\n\nSGk",
		"bad QP":     "Content-Transfer-Encoding: quoted-printable\n\nHi=x",
		"attachment": "Content-Disposition: attachment\n\nHi",
	} {
		_, plan := stampIt(t, crlf("From: a@b.example\n"+msg), sample)
		if plan.Reason() == "" || len(plan.edits) != 0 {
			t.Errorf("%s: edited", name)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	h, _ := split(t, "CHmail-Port: 1\r\nchmail-chat: x\r\nFrom:  a@b.example\r\nchmail-Other: 2\r\n\r\n")
	out := Header(h, sample)
	var b bytes.Buffer
	_ = textproto.WriteHeader(&b, out)
	want := "CHmail-Login: host@mall.example\nCHmail-Host: chat.mall.example\nCHmail-Port: 20017\n" +
		"CHmail-Chat: <" + link + ">\nFrom:  a@b.example\n\n"
	if b.String() != crlf(want) {
		t.Errorf("%s", b.String())
	}
	s := sample
	s.Port, s.Login = 0, "a\r\nX: y"
	if out = Header(h, s); out.Has("CHmail-Port") || out.Has("X") {
		t.Error("a port or an injected field")
	}
	for field, want := range map[string]bool{"X: y": true, "CHmail-Stamp: NO": false, "Auto-Submitted: no": true,
		"Auto-Submitted: auto-replied (x)": false, "List-Id: <a>": false, "List-Post: <a>": false,
		"Precedence: bulk": false, "Precedence: first-class": true} {
		h, _ := split(t, field+"\r\n\r\n")
		if ok, _ := Wanted(h, "a@b.example"); ok != want {
			t.Errorf("%s: %v", field, ok)
		}
		if ok, _ := Wanted(h, ""); ok {
			t.Errorf("%s: a null sender is wanted", field)
		}
	}
}
