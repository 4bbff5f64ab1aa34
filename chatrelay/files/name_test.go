// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
	"golang.org/x/text/unicode/norm"
)

func TestName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"report.pdf":                       "report.pdf",
		"견적서 (최종).hwp":                     "견적서 (최종).hwp",
		norm.NFD.String("견적서.hwp"):         "견적서.hwp",
		"../../etc/passwd":                 "passwd",
		`C:\Users\mina\photo.jpg`:          "photo.jpg",
		"/":                                "file",
		"":                                 "file",
		"..":                               "file",
		". . .":                            "file",
		".htaccess":                        "htaccess",
		"a\x00b\r\nc.txt":                  "ab c.txt",
		"photo\u202Egpj.exe":               "photogpj.exe",
		"pho\u200Bto.jpg":                  "photo.jpg",
		"우리 👩\u200D👩\u200D👧.jpg":           "우리 👩\u200D👩\u200D👧.jpg",
		"葛\U000E0100飾.txt":                 "葛\U000E0100飾.txt",
		`a<b>c:d"e|f?g*h.txt`:              "a_b_c_d_e_f_g_h.txt",
		"name. . ":                         "name",
		"CON":                              "_CON",
		"nul.txt":                          "_nul.txt",
		"com1.tar.gz":                      "_com1.tar.gz",
		"LPT².x":                           "_LPT².x",
		"com10.txt":                        "com10.txt",
		"console.txt":                      "console.txt",
		strings.Repeat("가", 300) + ".docx": strings.Repeat("가", 65) + ".docx",
		strings.Repeat("x", 300) + ".docx": strings.Repeat("x", 115) + ".docx",
		"\u3164":                           "file",
		"\xff\xfe.bin":                     "\uFFFD\uFFFD.bin",
	} {
		if got := Name(in); got != want {
			t.Errorf("Name(%+q) = %+q, want %+q", in, got, want)
		}
	}
	if got := Name(strings.Repeat("x", 10<<20) + ".pdf"); !strings.HasSuffix(got, "x.pdf") {
		t.Errorf("10 MB: %q", got)
	}
}

func TestSniff(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]string{
		"hello": "text/plain; charset=utf-8",
		"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4": octetStream, // EUC-KR
		"<html><script>":                      octetStream,
		"<?xml version='1.0'?><svg onload=x>": octetStream,
		"<svg xmlns='x' onload=alert(1)>":     "text/plain; charset=utf-8",
		"%PDF-1.7":                            "application/pdf",
		"PK\x03\x04":                          octetStream,
		"MZ\x90\x00\x03":                      octetStream,
		"\x00\x00\x00\x20ftypavif":            "image/avif",
		"\x00\x00\x00\x18ftypheic":            "image/heic",
		"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom": "video/mp4",
		"\x00\x00\x00\x14ftypqt  ":                         "video/quicktime",
		"RIFF\x00\x00\x00\x00WEBPVP8 ":                     typeWebP,
		"GIF89a":                                           typeGIF,
		"\xff\xd8\xff\xe0":                                 typeJPEG,
		"ID3\x03":                                          "audio/mpeg",
		strings.Repeat("가", 171)[:512]:                     "text/plain; charset=utf-8",
		"\x00":                                             octetStream,
	} {
		if got := sniff([]byte(head)); got != want {
			t.Errorf("sniff(%q) = %s, want %s", head, got, want)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	page := h.mustPut("r", `악"성\.html`, []byte("<html><script>alert(document.domain)</script>"))
	pic := h.mustPut("r", "p.png", pngOf(900, 500))
	get := func(f chat.File, thumb bool, header ...string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, "/f/"+f.ID, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		if err := h.Serve(w, r, f, thumb); err != nil {
			t.Fatal(err)
		}
		return w.Result()
	}
	res := get(page, false)
	disposition, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition"))
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != octetStream || err != nil ||
		disposition != "attachment" || params["filename"] != page.Name {
		t.Errorf("a page: %v, %v", res.Header, err)
	}
	for key, want := range map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Content-Security-Policy":      "default-src 'none'; sandbox; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
	} {
		if got := res.Header.Get(key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	full, small := get(pic, false), get(pic, true)
	if full.Header.Get("Content-Type") != typePNG ||
		!strings.HasPrefix(full.Header.Get("Content-Disposition"), "inline;") {
		t.Errorf("a picture: %v", full.Header)
	}
	if small.Header.Get("Content-Type") != typeJPEG || small.Header.Get("Etag") == full.Header.Get("Etag") {
		t.Errorf("a thumbnail: %v", small.Header)
	}
	if res := get(pic, false, "If-None-Match", full.Header.Get("Etag")); res.StatusCode != http.StatusNotModified {
		t.Errorf("again: %d", res.StatusCode)
	}
	part := get(page, false, "Range", "bytes=1-4")
	if b, _ := io.ReadAll(part.Body); part.StatusCode != http.StatusPartialContent || string(b) != "html" {
		t.Errorf("a range: %d, %q", part.StatusCode, b)
	}
	if err := h.Serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil),
		chat.File{ID: strings.Repeat("0", 64)}, false); err == nil {
		t.Error("an unknown file was served")
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a.txt", "../x", "CON.txt", "a\u202Eb.exe", ". .",
		strings.Repeat("가", 300) + ".x", "a. .b", "NUL .x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := Name(s)
		if name == "" || !utf8.ValidString(name) || len(name) > maxOctets+1 ||
			strings.ContainsAny(name, "/\\\x00\r\n<>:\"|?*\u202E\u200B") ||
			name[0] == '.' || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || reserved(name) {
			t.Errorf("Name(%+q) = %+q", s, name)
		}
		if again := Name(name); again != name {
			t.Errorf("again: %+q becomes %+q", name, again)
		}
		h := make(http.Header)
		SetHeader(h, chat.File{Name: name})
		if _, params, err := mime.ParseMediaType(h.Get("Content-Disposition")); err != nil ||
			params["filename"] != name {
			t.Errorf("%q: %v, %v", h.Get("Content-Disposition"), params, err)
		}
	})
}

// FuzzPicture: no octets make a decoder panic, and what it takes for its own
// is encoded within its bounds.
func FuzzPicture(f *testing.F) {
	for _, b := range [][]byte{pngOf(3, 3), jpegOf(9, 9, 6), hugeGIF(2), hugeJPEG(), lossyWebP, losslessWebP,
		hugeWebP(), []byte("\x00\x00\x00\x20ftypavif")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := sniff(b[:min(len(b), sniffLen)])
		if !decodable(kind) {
			return
		}
		d, err := decode(bytes.NewReader(b), kind)
		if err == nil && int64(d.image.Bounds().Dx())*int64(d.image.Bounds().Dy()) > maxPixels {
			t.Errorf("%v pixels", d.image.Bounds())
		}
	})
}
