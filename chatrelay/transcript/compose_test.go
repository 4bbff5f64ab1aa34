// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"encoding/base64"
	"fmt"
	"mime/quotedprintable"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func sample(t *testing.T, lang string) Transcript {
	t.Helper()
	zone, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 5, 14, 58, 0, 0, time.UTC) // 23:58 in Seoul
	return Transcript{
		Subject: "Order 17 <b>", People: []string{"미나 & Co", "Jun"}, Link: "https://chat.mall.example/c/x?a=1&b=2",
		Lang: lang, Zone: zone, Earlier: 3,
		Lines: []Line{
			{At: at, Name: "미나 & Co", Text: "Hello <script>alert(1)</script>\n15:05  Jun\nnot Jun's line"},
			{At: at.Add(time.Minute), Text: "Jun did not answer."},
			{At: at.Add(3 * time.Minute), Name: "Jun", Text: "Here.", Edited: true, Files: []File{
				{Name: "견적서 <1>.pdf", URL: "https://chat.mall.example/f/1?x=\"y\"", Size: 1 << 21},
				{Name: "evil", URL: "javascript:alert(1)", Size: 10},
			}},
			{At: at.Add(4 * time.Minute), Name: "Jun", Text: "secret", Deleted: true},
		},
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	for lang, want := range map[string][]string{
		"en": {"Transcript: Order 17 <b>", "Monday, 5 January 2026", "Tuesday, 6 January 2026", "11:58 PM  미나 & Co",
			"12:01 AM  Jun (edited)", "This message was deleted.", "3 earlier messages", "Asia/Seoul"},
		"ko": {"대화 기록: Order 17 <b>", "2026년 1월 5일 월요일", "2026년 1월 6일 화요일", "오후 11:58  미나 & Co", "오전 12:01  Jun (수정됨)",
			"삭제된 메시지입니다.", "이전 메시지 3개", "Asia/Seoul"},
	} {
		subject, text, page, err := sample(t, lang).Compose()
		if err != nil || subject != want[0] {
			t.Errorf("%s: %q, %v", lang, subject, err)
		}
		for _, s := range append(want[1:], "    Hello <script>alert(1)</script>\n    15:05  Jun\n    not Jun's line\n",
			"  Jun did not answer.", "[견적서 <1>.pdf, 2.1 MB] https://chat.mall.example/f/1?x=\"y\"", "[evil, 10 B]\n") {
			if !strings.Contains(text, s) {
				t.Errorf("%s: no %q in:\n%s", lang, s, text)
			}
		}
		for _, s := range []string{"<script", "Order 17 <b>", "javascript:", "secret", "<1>"} {
			if strings.Contains(page, s) || s == "secret" && strings.Contains(text, s) {
				t.Errorf("%s: %q in:\n%s", lang, s, page)
			}
		}
		for _, s := range []string{want[1], `href="https://chat.mall.example/c/x?a=1&amp;b=2"`, "미나 &amp; Co",
			`lang="` + lang + `"`, "Hello &lt;script&gt;"} {
			if !strings.Contains(page, s) {
				t.Errorf("%s: no %q in:\n%s", lang, s, page)
			}
		}
		if _, err := html.Parse(strings.NewReader(page)); err != nil {
			t.Error(err)
		}
		if dir := os.Getenv("TRANSCRIPT_OUT"); dir != "" {
			os.WriteFile(dir+"/"+lang+".html", []byte(page), 0o600)
			os.WriteFile(dir+"/"+lang+".txt", []byte(text), 0o600)
		}
	}
}

// TestRoundTrip answers a transcript as mail programs do that mark no
// quotation, and that mark it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "ko"} {
		_, text, page, err := sample(t, lang).Compose()
		if err != nil {
			t.Fatal(err)
		}
		for kind, body := range map[string]string{
			"text/plain":          "Yes.\n\n" + text,
			"text/plain; x=quote": "Yes.\n\n> " + strings.ReplaceAll(text, "\n", "\n> "),
			"text/html":           "<p>Yes.</p>" + page,
		} {
			var b strings.Builder
			w := quotedprintable.NewWriter(&b)
			fmt.Fprint(w, body)
			w.Close()
			p, err := Parse(strings.NewReader("From: a@b.example\r\nContent-Type: " + kind + "; charset=utf-8\r\n" +
				"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b.String()))
			if err != nil || p.Text != "Yes." {
				t.Errorf("%s, %s: %q, %v", lang, kind, p.Text, err)
			}
		}
	}
}

func TestComposeBounds(t *testing.T) {
	t.Parallel()
	many := Transcript{Lang: "en", Lines: make([]Line, 10*maxLines), Earlier: 5}
	for i := range many.Lines {
		many.Lines[i] = Line{Name: "x", Text: fmt.Sprint("line ", i)}
	}
	large := Transcript{Lang: "en"}
	for range 1000 {
		large.Lines = append(large.Lines, Line{Name: "x", Text: strings.Repeat("가", 5000)})
	}
	for name, tr := range map[string]Transcript{"many": many, "large": large} {
		_, text, page, err := tr.Compose()
		if err != nil || len(text) > 2*maxWritten || len(page) > 3*maxWritten ||
			!strings.Contains(text, "earlier messages") {
			t.Errorf("%s: %d octets of text, %d of HTML, %v", name, len(text), len(page), err)
		}
	}
	if _, text, _, _ := many.Compose(); !strings.Contains(text, fmt.Sprint("line ", len(many.Lines)-1)) ||
		strings.Contains(text, "line 0\n") || !strings.Contains(text,
		fmt.Sprint(len(many.Lines)-maxLines+5, " earlier")) {
		t.Error("not the newest lines were written")
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	s, err := NewSealer("Mall.example", key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 5, 3, 4, 5, 0, time.UTC)
	room := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef"))
	for _, a := range []Address{{room, 1, now.Add(time.Hour)}, {room, 1 << 40, now.AddDate(1, 0, 0)},
		{"raw room!", 0, now.Add(time.Minute)}, {"", 7, now.Add(time.Hour)}} {
		addr, err := s.Seal(a)
		local, domain, _ := strings.Cut(addr, "@")
		if err != nil || domain != "mall.example" || len(local) > 64 || !strings.HasPrefix(local, "reply+") ||
			strings.Trim(local[6:], "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Fatalf("Seal(%+v) = %q, %v", a, addr, err)
		}
		again, err := NewSealer("mall.example", key)
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []string{addr, strings.ToUpper(addr), " " + addr} {
			got, err := again.Open(spelling, now)
			if err != nil || got.Room != a.Room || got.Participant != a.Participant || got.Expires.Sub(a.Expires) < 0 ||
				got.Expires.Sub(a.Expires) >= time.Hour {
				t.Errorf("Open(%q) = %+v, %v, want %+v", spelling, got, err, a)
			}
		}
		if got, err := s.Open(addr, a.Expires.Add(time.Hour)); err != ErrExpired || got.Room != a.Room {
			t.Errorf("expired: %+v, %v", got, err)
		}
		for i := len(prefix); i < len(local); i++ { // one letter is another
			for _, c := range "abcdefghijklmnopqrstuvwxyz234567" {
				if forged := local[:i] + string(c) + local[i+1:] + "@" + domain; forged != addr {
					if _, err := s.Open(forged, now); err != ErrAddress {
						t.Fatalf("forged %q: %v", forged, err)
					}
				}
			}
		}
		other := &Sealer{key: []byte("another key"), domain: "mall.example"}
		for _, bad := range []string{local + "@other.example", local, "", "@", "reply+@mall.example",
			"reply+a@mall.example", local[:20] + "@" + domain, "x" + addr} {
			if _, err := s.Open(bad, now); err != ErrAddress {
				t.Errorf("Open(%q): %v", bad, err)
			}
		}
		if _, err := other.Open(addr, now); err != ErrAddress {
			t.Errorf("another server's: %v", err)
		}
	}
	for _, a := range []Address{{strings.Repeat("!", 30), 1, now}, {room, -1, now},
		{room, 1 << 62, now}, {room, 1, time.Unix(-7200, 0)}} {
		if addr, err := s.Seal(a); err == nil {
			t.Errorf("Seal(%+v) = %s", a, addr)
		}
	}
	if _, err := NewSealer("mall.example", []byte("short")); err == nil {
		t.Error("a damaged key was taken")
	}
}

func FuzzAddress(f *testing.F) {
	s := &Sealer{key: []byte("key"), domain: "x.example"}
	addr, err := s.Seal(Address{"room", 3, time.Unix(1<<31, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(addr)
	f.Fuzz(func(t *testing.T, in string) {
		if a, err := s.Open(in, time.Unix(0, 0)); err == nil {
			back, err := s.Seal(a)
			if err != nil || !strings.EqualFold(back, strings.TrimSpace(in)) {
				t.Errorf("%q opens to %+v, which seals to %q, %v", in, a, back, err)
			}
		}
	})
}
