// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
)

type noMail struct{}

func (noMail) Send(context.Context, chat.ServerMail) error { return nil }

// newTalk is a front door with a real relay behind it: the room of a mail from
// host@mall.example to kim@far.example, and Kim's link.
func newTalk(t *testing.T, change func(*chatrelay.Options)) (st *site, roomID, link string) {
	t.Helper()
	dir, err := local.Open(local.Options{Ranges: presence.HostRanges{{Host: "localhost",
		Range: presence.Range{Lo: 29000, Hi: 29009}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	rooms, err := store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rooms.Close() })
	opt := chatrelay.Options{WebBase: "http://localhost:8080", Presence: dir, Rooms: rooms,
		Mailer: noMail{}, Key: bytes.Repeat([]byte{7}, 32),
		BlockUDP: true, Files: t.TempDir(), MaxFile: 1 << 20, MaxRoom: 2 << 20}
	if change != nil {
		change(&opt)
	}
	relay, err := chatrelay.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close() })
	o, err := rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "1@mall.example",
		Sender:     chat.Person{Login: "host@mall.example", Addr: "host@mall.example"},
		Recipients: []chat.Person{{Addr: "kim@far.example", Name: "Kim"}}, Subject: "Order 7", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return newSite(t, func(opts *Options) { opts.Relay = relay }), o.Room, o.Invites["kim@far.example"]
}

// claimLink comes in through a link.
func (st *site) claimLink(link string) {
	st.t.Helper()
	st.want(st.do("POST", "/c/"+link+"/chat", fmt.Sprintf(`{"nonce":%q}`, st.page(link).Nonce)), 200)
}

// send sends a file and returns the answer.
func (st *site) send(path, kind string, body io.Reader) reply {
	st.t.Helper()
	req, err := http.NewRequest("POST", st.url+path, body)
	if err != nil {
		st.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	r, err := st.browser.Do(req)
	if err != nil {
		st.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		st.t.Fatal(err)
	}
	return reply{Response: r, body: string(b)}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	st, roomID, link := newTalk(t, nil)
	at, desk := "/c/"+link+"/files", "/desk/rooms/"+roomID+"/files"
	st.want(st.send(at+"?id=1&name=a.txt", "text/plain", strings.NewReader("words")), 403, "claim")
	st.want(st.do("GET", at+"/"+strings.Repeat("a", 64), ""), 403, "claim")
	st.want(st.send(desk+"?id=1", "text/plain", strings.NewReader("words")), 401, "sign-in")
	st.want(st.do("GET", desk+"/"+strings.Repeat("a", 64), ""), 401, "sign-in")
	st.claimLink(link)

	r := st.send(at+"?id=1&text=look&name="+url.QueryEscape("../한글 \u202efile.html"), "text/html",
		strings.NewReader("<script>alert(1)</script>"))
	st.want(r, 201)
	var got struct{ Msg chat.Message }
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || got.Msg.File == nil || got.Msg.Text != "look" ||
		got.Msg.File.Name != "한글 file.html" {
		t.Fatalf("%s, %v", r.body, err)
	}
	file := got.Msg.File
	r = st.do("GET", at+"/"+file.ID, "")
	st.want(r, 200)
	h := r.Header
	if r.body != "<script>alert(1)</script>" || h.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(h.Get("Content-Disposition"), "attachment") ||
		!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%q with %v", r.body, h)
	}
	st.want(st.do("HEAD", at+"/"+file.ID, ""), 200)
	st.want(st.do("GET", at+"/"+strings.Repeat("a", 64), ""), 404, "unknown")
	st.want(st.do("GET", at+"/nothing", ""), 404, "unknown")
	st.want(st.do("GET", desk+"/"+file.ID, ""), 401, "sign-in")
	st.signIn()
	st.want(st.do("GET", desk+"/"+file.ID+"/thumb", ""), 200)
	st.want(st.do("GET", "/desk/rooms/none/files/"+file.ID, ""), 404, "unknown")

	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	w.WriteField("id", "2")
	w.WriteField("text", "caption")
	part, _ := w.CreateFormFile("file", "b.txt")
	io.WriteString(part, "in a form")
	w.Close()
	r = st.send(desk, w.FormDataContentType(), &form)
	st.want(r, 201)
	if !strings.Contains(r.body, `"name":"b.txt"`) || !strings.Contains(r.body, `"text":"caption"`) {
		t.Errorf("a form: %s", r.body)
	}
	for name, c := range map[string]struct {
		query, kind string
		body        io.Reader
		status      int
		code        string
	}{
		"too large": {"?id=3&name=x", "x/y", bytes.NewReader(make([]byte, 1<<20+1)), 413, "too-large"},
		"endless":   {"?id=3&name=x", "x/y", io.LimitReader(zeros{}, 3<<20), 413, "too-large"},
		"empty":     {"?id=3&name=x", "x/y", strings.NewReader(""), 400, "empty"},
		"no id":     {"?name=x", "x/y", strings.NewReader("x"), 400, "bad-request"},
		"long name": {"?id=3&name=" + strings.Repeat("x", maxFileName+1), "x/y",
			strings.NewReader("x"), 400, "bad-request"},
		"not a form":  {"", "multipart/form-data; boundary=x", strings.NewReader("nothing"), 400, "bad-request"},
		"no boundary": {"", "multipart/form-data", strings.NewReader("nothing"), 400, "bad-request"},
		"half a form": {"", "multipart/form-data; boundary=x",
			strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n3"), 400, "bad-request"},
		"a cut file": {"", "multipart/form-data; boundary=x",
			strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n3\r\n--x\r\n" +
				"Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nhalf"), 400, "bad-request"},
		"pixels galore": {"?id=3&name=x.png", "image/png", strings.NewReader(bomb), 415, "picture"},
	} {
		r := st.send(desk+c.query, c.kind, c.body)
		if r.StatusCode != c.status || !strings.Contains(r.body, `"`+c.code+`"`) {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
	}
	for i := range 2 {
		if r = st.send(desk+fmt.Sprintf("?id=r%d&name=x", i), "x/y",
			bytes.NewReader(make([]byte, 1<<20-100))); r.StatusCode != 201 {
			break
		}
	}
	st.want(st.send(desk+"?id=last&name=x", "x/y", bytes.NewReader(make([]byte, 1<<19))), 507, "room-full")
	for i := range 30 {
		if r = st.send(at+fmt.Sprintf("?id=o%d&name=x", i), "x/y", strings.NewReader("x")); r.StatusCode != 201 {
			break
		}
	}
	st.want(r, 429, "too-often")
	if r.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	// Other sites cannot send with the browser's cookies.
	req, _ := http.NewRequest("POST", st.url+desk+"?id=x&name=x", strings.NewReader("x"))
	req.Header.Set("Origin", "https://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if r, err := st.browser.Do(req); err != nil || r.StatusCode != 403 {
		t.Errorf("from another site: %v, %v", r, err)
	}
}

// bomb is the beginning of a picture of 30,000 by 30,000 pixels.
const bomb = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x75\x30\x00\x00\x75\x30" +
	"\x08\x06\x00\x00\x00\x66\x27\xf8\xba\x00\x00\x00\x00IEND\xaeB\x60\x82"

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestSearch(t *testing.T) {
	t.Parallel()
	st, _, _ := newTalk(t, nil)
	st.want(st.do("GET", "/desk/search?q=order", ""), 401, "sign-in")
	st.signIn()
	r := st.do("GET", "/desk/search?q=ORDER", "")
	st.want(r, 200)
	if !strings.Contains(r.body, `"snippet":"Order 7"`) || !strings.Contains(r.body, `"kind":"mail"`) {
		t.Errorf("found %s", r.body)
	}
	r = st.do("GET", "/desk/search?q=nothing", "")
	st.want(r, 200)
	if strings.TrimSpace(r.body) != `{"hits":[]}` {
		t.Errorf("found %s", r.body)
	}
	for _, bad := range []string{"", "?q=%20", "?q=" + strings.Repeat("x", 201),
		"?q=x&limit=0", "?q=x&limit=a", "?q=x&before=x"} {
		st.want(st.do("GET", "/desk/search"+bad, ""), 400, "bad-request")
	}
	for range 30 {
		if r = st.do("GET", "/desk/search?q=x", ""); r.StatusCode != 200 {
			break
		}
	}
	st.want(r, 429, "too-often")
}

func FuzzForm(f *testing.F) {
	f.Add([]byte("--x\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\n3\r\n--x\r\n"+
		"Content-Disposition: form-data; name=\"file\"; filename=\"../x\"\r\n\r\nwords\r\n--x--"), "x")
	f.Add([]byte(""), "")
	f.Fuzz(func(t *testing.T, body []byte, boundary string) {
		var in chatrelay.Incoming
		if form(bytes.NewReader(body), boundary, &in) != nil {
			return
		}
		if in.Body == nil || len(in.ID) > 16<<10 || len(in.Text) > 16<<10 {
			t.Errorf("a form of %d and %d octets without a file", len(in.ID), len(in.Text))
		}
		if n, err := io.Copy(io.Discard, in.Body); n > int64(len(body)) {
			t.Errorf("%d octets of %d, %v", n, len(body), err)
		}
	})
}
