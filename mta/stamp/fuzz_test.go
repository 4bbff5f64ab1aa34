// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bufio"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
)

// FuzzStamp: without its edits the body is what it was; it parses if it
// parsed; every part but the edited ones is the same, and those keep their text.
func FuzzStamp(f *testing.F) {
	for charset, text := range encodings {
		for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
			for _, msg := range structures(leafOf("plain", enc, charset, "", text),
				leafOf("html", enc, charset, "", "<p>"+text+"</body>")) {
				f.Add(msg)
			}
		}
	}
	for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
		f.Add(leafOf("plain", enc, "utf-8", "", crlf("Yes.\n\n"+quoteLines("Offer\n"+oldText(f, "ko")+"end", "> "))))
		f.Add(leafOf("html", enc, "utf-8", "", `<p>Yes.</p><blockquote type="cite">`+oldPage(f, "en")+`</blockquote>`))
	}
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b--")
	f.Add("Content-Transfer-Encoding: quoted-printable\r\n\r\n= \r\n")
	f.Fuzz(func(t *testing.T, msg string) {
		br := bufio.NewReader(strings.NewReader(msg))
		if _, err := textproto.ReadHeader(br); err != nil {
			return
		}
		out, plan := stampIt(t, msg, sample)
		before, err := parts(msg)
		if err != nil {
			return
		}
		after, err := parts(out)
		if err != nil || len(after) != len(before) {
			t.Fatalf("%d parts, then %d: %v\n%q\n%q", len(before), len(after), err, msg, out)
		}
		changed := 0
		for i := range before {
			a, b := after[i], before[i]
			if a == b {
				continue
			}
			if changed++; changed > len(plan.edits) || a.path != b.path || a.media != b.media ||
				!plan.Cuts() && !strings.Contains(a.text, link) {
				t.Fatalf("part %s: %q became %q", b.path, b.text, a.text)
			}
		}
		if changed != len(plan.edits) && !plan.Cuts() {
			t.Fatalf("%d parts changed by %d edits", changed, len(plan.edits))
		}
	})
}
