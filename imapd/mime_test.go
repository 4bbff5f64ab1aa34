// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// TestWalkBounds: nesting and parts are bounded, and a message of many costs no more
// than its octets.
func TestWalkBounds(t *testing.T) {
	t.Parallel()
	var nested, messages strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=b%04d\r\n\r\n--b%04d\r\n", i, i)
		messages.WriteString("Content-Type: message/rfc822\r\n\r\n")
	}
	for name, c := range map[string]struct {
		text         string
		depth, parts int
	}{
		"multiparts": {nested.String() + "\r\nx", maxNesting, maxNesting},
		"messages":   {messages.String() + "x", maxNesting, maxNesting},
		"parts": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			strings.Repeat("--b\r\n\r\nx\r\n", 30_000), 2, maxParts},
		"fields":         {strings.Repeat("To: a@x.example\r\n", 200_000) + "\r\nx", 1, 1},
		"one long field": {"To: " + strings.Repeat("a@x.example, ", 200_000) + "\r\n\r\nx", 1, 1},
		"parameters":     {"Content-Type: text/plain" + strings.Repeat("; a=b", 50_000) + "\r\n\r\nx", 1, 1},
		"comments":       {"Content-Type: text/plain " + strings.Repeat("(", 60_000) + "\r\n\r\nx", 1, 1},
	} {
		root, err := walk(strings.NewReader(c.text), false)
		if err != nil {
			t.Fatal(name, err)
		}
		depth, parts := measure(root)
		if depth != c.depth || parts != c.parts {
			t.Errorf("%s: depth %d, %d parts; want %d and %d", name, depth, parts, c.depth, c.parts)
		}
		answer := structure{extended: true}.appendEnvelope(structure{extended: true}.appendBody(nil, root), root)
		if len(answer) > 2<<20 {
			t.Errorf("%s: the answer has %d octets", name, len(answer))
		}
	}
}

func measure(p *part) (depth, parts int) {
	parts = 1
	for _, kid := range p.kids {
		d, n := measure(kid)
		depth, parts = max(depth, d), parts+n
	}
	return depth + 1, parts
}

// TestAddresses reads what is meant to be addresses.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "",
		"a@x":                               "|a@x",
		"Shop, The Best <a@x>":              "Shop, The Best|a@x",
		"Shop, Inc., Berlin <a@x>, b@y":     "Shop, Inc., Berlin|a@x |b@y",
		"root":                              "|root@",
		"root, bob":                         "|root@ |bob@",
		"a@x, Two <b@x>":                    "|a@x Two|b@x",
		`"a@b, c" <d@x>`:                    "a@b, c|d@x",
		"a@x (Anna), b@x":                   "Anna|a@x |b@x",
		"=?windows-1251?B?yOLg7Q==?= <a@x>": "=?windows-1251?B?yOLg7Q==?=|a@x",
		"Nobody <>":                         "Nobody|@",
		"all: a@x, B <b@x>; c@x":            "|all(:) |a@x B|b@x |(:) |c@x",
		"all:":                              "|all(:) |(:)",
		"a@x b@y":                           "|a@xb@y",
		"<a@x":                              "|a@x",
		`"open <a@x>`:                       "|open <a@x>",
		"a@x,,b@x,":                         "|a@x |b@x",
		"(only a comment)":                  "",
		`"q\"x"@y.example`:                  `|q"x@y.example`,
		"A B. C <a@x>;":                     "A B. C|a@x",
	} {
		var got []string
		for _, a := range addresses(text) {
			host := "@" + a.host
			if !a.hasHost {
				host = "(:)"
			}
			got = append(got, a.name+"|"+a.mailbox+host)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", text, strings.Join(got, " "), want)
		}
	}
	if n := len(addresses(strings.Repeat("a@x,", 100_000))); n != maxAddresses {
		t.Errorf("%d addresses of very many", n)
	}
}

// TestMatches compares names with patterns of LIST.
func TestMatches(t *testing.T) {
	t.Parallel()
	for pattern, names := range map[string]string{
		"*":     "a a.b a.b.c INBOX",
		"%":     "a INBOX",
		"a.%":   "a.b",
		"a*c":   "a.b.c",
		"%.%":   "a.b",
		"":      "",
		"*%*%*": "a a.b a.b.c INBOX",
		"inbox": "",
		"?":     "",
	} {
		for _, name := range []string{"a", "a.b", "a.b.c", "INBOX"} {
			want := strings.Contains(" "+names+" ", " "+name+" ")
			if matches(pattern, name) != want {
				t.Errorf("%q matches %q: %v", pattern, name, !want)
			}
		}
	}
}

// FuzzWalk: whatever a message is, its parts lie in each other and in order, and are
// the same however it is read.
func FuzzWalk(f *testing.F) {
	mails, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range mails {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.ReplaceAll(string(text), "\n", "\r\n"))
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		root, err := walk(strings.NewReader(text), false)
		if err != nil {
			t.Fatal(err)
		}
		again, err := walk(iotest.OneByteReader(strings.NewReader(text)), false)
		if err != nil {
			t.Fatal(err)
		}
		w := structure{extended: true}
		answer := string(w.appendEnvelope(w.appendBody(nil, root), root))
		if other := string(w.appendEnvelope(w.appendBody(nil, again), again)); answer != other {
			t.Errorf("%q is\n%s, and octet by octet\n%s", text, answer, other)
		}
		checkPart(t, root, extent{0, int64(len(text))})
	})
}

func checkPart(t *testing.T, p *part, within extent) {
	t.Helper()
	if p.header.start < within.start || p.header.end < p.header.start || p.body.start != p.header.end ||
		p.body.end < p.body.start || p.body.end > within.end || p.lines < 0 || p.lines > p.body.len() {
		t.Fatalf("a part with header %v and body %v of %d lines in %v", p.header, p.body, p.lines, within)
	}
	inside := p.body
	for _, kid := range p.kids {
		checkPart(t, kid, inside)
		inside.start = kid.body.end
	}
}
