// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
)

// hookCall is a call of a webhook.
type hookCall struct {
	path   string
	header http.Header
	body   string
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	calls := make(chan hookCall, 20)
	fail := map[string]int{"/json": 1, "/gone": 99}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		calls <- hookCall{r.URL.Path, r.Header, string(b)}
		switch {
		case r.URL.Path == "/gone":
			w.WriteHeader(http.StatusGone)
		case r.URL.Path == "/json" && fail["/json"] > 0: // one call at a time
			fail["/json"]--
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	w := newWorld(t, func(o *Options) {
		o.Webhooks = []notify.Webhook{
			{URL: server.URL + "/json", Format: notify.HookJSON, Secret: "s3cret"},
			{URL: server.URL + "/ntfy", Format: notify.HookNtfy, Secret: "token", For: []string{"host@mall.example"}},
			{URL: server.URL + "/mm", Format: notify.HookMattermost},
			{URL: server.URL + "/gone", Format: notify.HookJSON},
			{URL: server.URL + "/other", Format: notify.HookJSON, For: []string{"other@mall.example"}},
		}
	})
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "a secret between us"})
	kim.typ(frame.TAck)
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.until("a notification", func(f *frame.Frame) bool { return f.T == frame.TState && f.Attempt.Pushed != nil })
	got := map[string][]hookCall{}
	for range 5 { // json twice
		select {
		case c := <-calls:
			got[c.path] = append(got[c.path], c)
		case <-time.After(patience):
			t.Fatalf("calls %v", got)
		}
	}
	if len(got["/json"]) != 2 || len(got["/ntfy"]) != 1 || len(got["/mm"]) != 1 || len(got["/gone"]) != 1 {
		t.Fatalf("calls %v", got)
	}
	for path, list := range got {
		if strings.Contains(list[0].body, "secret") {
			t.Errorf("%s was told what was said: %s", path, list[0].body)
		}
	}
	c := got["/json"][1]
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(c.header.Get("CHmail-Timestamp") + "." + c.body))
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); c.header.Get("CHmail-Signature") != want {
		t.Errorf("signature %s, want %s", c.header.Get("CHmail-Signature"), want)
	}
	var said struct {
		Event, Room, Subject, URL string
		Logins                    []string
		From                      struct{ Name, Addr string }
	}
	if err := json.Unmarshal([]byte(c.body), &said); err != nil || said.Event != "alarm" ||
		said.Room != w.room || said.Subject != "Order 7" ||
		said.From.Name != "Kim" || len(said.Logins) != 1 || said.Logins[0] != w.host ||
		said.URL != w.web.URL+"/desk#"+w.room {
		t.Errorf("%s: %+v, %v", c.body, said, err)
	}
	if c := got["/ntfy"][0]; c.body != "Order 7" ||
		c.header.Get("Title") != "Kim, by link wants to chat with host@mall.example" ||
		c.header.Get("Authorization") != "Bearer token" || c.header.Get("Click") == "" {
		t.Errorf("ntfy got %+v", c)
	}
	var text struct{ Text string }
	if c := got["/mm"][0]; json.Unmarshal([]byte(c.body), &text) != nil ||
		!strings.Contains(text.Text, "**Kim, by link wants to chat with host") {
		t.Errorf("Mattermost got %s", c.body)
	}
}
