// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"
)

// big is a message with an attachment of size bytes, never held in memory.
func big(size int64) (textproto.Header, Source) {
	var h textproto.Header
	h.Add("Content-Type", "multipart/mixed; boundary=b")
	return h, func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(
			strings.NewReader(crlf("--b\nContent-Type: text/html\n\n<p>Hi</p></body>\n--b\n"+
				"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n")),
			io.LimitReader(lines{}, size), strings.NewReader("\r\n--b--\r\n"))), nil
	}
}

// lines is base64 without end.
type lines struct{}

func (lines) Read(b []byte) (int, error) {
	for n := 0; n < len(b); {
		n += copy(b[n:], "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVpBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWkFCQ0RF\r\n")
	}
	return len(b), nil
}

func TestMemory(t *testing.T) { // alone, because it counts what the process allocates
	for name, source := range map[string]func() (textproto.Header, Source){
		"attachment": func() (textproto.Header, Source) { return big(50 << 20) },
		"one line of HTML": func() (textproto.Header, Source) {
			var h textproto.Header
			h.Add("Content-Type", "text/html")
			return h, func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(io.LimitReader(zeros{}, 50<<20), strings.NewReader("</body>"))), nil
			}
		},
	} {
		h, open := source()
		if plan, err := Scan(h, open, base); err != nil || len(plan.edits) != 1 {
			t.Fatalf("%s: %v, %+v", name, err, plan)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Write(io.Discard, h, open, base, sample); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
			t.Errorf("%s: %d bytes allocated for 50 MB", name, n)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '<'
	}
	return len(b), nil
}

func BenchmarkStamp50MB(b *testing.B) {
	h, open := big(50 << 20)
	if plan, err := Scan(h, open, base); err != nil || len(plan.edits) != 1 {
		b.Fatalf("%v, %+v", err, plan)
	}
	b.SetBytes(50 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(io.Discard, h, open, base, sample); err != nil {
			b.Fatal(err)
		}
	}
}
