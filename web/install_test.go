// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io/fs"
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/words"
)

// TestServiceWorker: it is at the root, so that it may serve the desk, and is
// asked for anew each time; the page it keeps needs no session.
func TestServiceWorker(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	r := st.do("GET", "/sw.js", "")
	st.want(r, 200)
	if r.Header.Get("Content-Type") != "text/javascript; charset=utf-8" ||
		r.Header.Get("Cache-Control") != "no-cache" || r.Header.Get("ETag") == "" {
		t.Errorf("headers %v", r.Header)
	}
	for lang, title := range map[string]string{"en": words.In("en").Say("offline.title"), "ko": words.In("ko").Say("offline.title")} {
		r = st.do("GET", "/offline", "", "Accept-Language", lang)
		st.want(r, 200)
		if !strings.Contains(r.body, `<html lang="`+lang+`">`) || !strings.Contains(r.body, title) {
			t.Errorf("%s: %s", lang, r.body)
		}
		// The worker finds what the page needs by these.
		if !strings.Contains(r.body, "<style>body{}</style>") ||
			!strings.Contains(r.body, `src="`+st.server.assets.Link("offline."+lang+".js")+`"`) {
			t.Errorf("the bundles are not in %s", r.body)
		}
	}
}

// TestInstalledApp: the manifest names icons that are there and as large as it
// says, one of them for masks.
func TestInstalledApp(t *testing.T) {
	t.Parallel()
	b, err := fs.ReadFile(embedded(), "static/manifest.webmanifest")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		ID, Name, Display string
		StartURL          string `json:"start_url"`
		Icons             []struct{ Src, Sizes, Type, Purpose string }
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.ID != "/desk" || m.StartURL != "/desk" || m.Display != "standalone" || m.Name == "" {
		t.Errorf("manifest %+v", m)
	}
	found := make(map[string]bool)
	for _, icon := range m.Icons {
		found[icon.Sizes+" "+icon.Purpose] = true
		b, err := fs.ReadFile(embedded(), "static"+icon.Src)
		if err != nil {
			t.Error(err)
			continue
		}
		if icon.Type != "image/png" {
			continue
		}
		c, err := png.DecodeConfig(bytes.NewReader(b))
		if err != nil || fmt.Sprintf("%dx%d", c.Width, c.Height) != icon.Sizes {
			t.Errorf("%s: %v, %d by %d", icon.Src, err, c.Width, c.Height)
		}
	}
	for _, want := range []string{"192x192 ", "512x512 ", "512x512 maskable"} {
		if !found[want] {
			t.Errorf("no icon %q", want)
		}
	}
	// What the shell and the notifications refer to.
	for _, name := range []string{"icon-180.png", "badge-96.png"} {
		if _, err := fs.Stat(embedded(), "static/"+name); err != nil {
			t.Error(err)
		}
	}
}
