// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/words"
)

func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(st.do("GET", "/desk", "").body)
	if len(style) != 2 || style[1] == "" {
		t.Fatal("a page has no style of its own")
	}
	hash := sha256.Sum256([]byte(style[1]))
	styleHash := base64.StdEncoding.EncodeToString(hash[:])
	for path, status := range map[string]int{
		"/": 200, "/c/" + linkGood: 200, "/c/" + linkUnknown: 404, "/desk": 200, "/desk/rooms": 401,
		"/healthz": 200, "/nowhere": 404, "/favicon.svg": 200, st.server.assets.Link("desk.en.js"): 200,
	} {
		r := st.do("GET", path, "")
		st.want(r, status)
		for name, part := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-" +
				styleHash + "'; img-src 'self' blob:;",
			"Referrer-Policy":            "no-referrer",
			"X-Content-Type-Options":     "nosniff",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Permissions-Policy":         "microphone=()",
		} {
			if !strings.Contains(r.Header.Get(name), part) {
				t.Errorf("%s: %s is %q, want %q in it", path, name, r.Header.Get(name), part)
			}
		}
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp,
			"connect-src 'self' ws://localhost:8080 https://localhost:* https://relay.example:* https://127.0.0.1:*;") {
			t.Errorf("%s: connect-src in %q", path, csp)
		}
		if len(r.Cookies()) > 0 {
			t.Errorf("%s: a GET set cookies: %v", path, r.Cookies())
		}
		if r.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS over http", path)
		}
		if robots := r.Header.Get("X-Robots-Tag"); (robots == "noindex") != strings.HasPrefix(path, "/c/") {
			t.Errorf("%s: X-Robots-Tag %q", path, robots)
		}
		immutable := strings.HasPrefix(path, "/assets/")
		if caching := r.Header.Get("Cache-Control"); immutable != strings.Contains(caching, "immutable") ||
			path != "/favicon.svg" && !immutable && caching != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, caching)
		}
	}
}

func TestHTTPSHeaders(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) { o.Base.Scheme = "https" })
	r := st.do("POST", "/desk/sign-in", `{"login":"host@mall.example","password":"right"}`)
	st.want(r, 204)
	if r.Header.Get("Strict-Transport-Security") == "" ||
		!strings.Contains(r.Header.Get("Content-Security-Policy"), "wss://localhost:8080") {
		t.Errorf("headers %v", r.Header)
	}
	if c := r.Cookies()[0]; !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
		t.Errorf("session cookie %v", c)
	}
}

func TestLinkPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.relay.subject = "</script><script>alert(1)</script><!-- \u2028 & \"quoted\""
	r := st.do("GET", "/c/"+linkGood, "", "Accept-Language", "ko-KR,en;q=0.5")
	st.want(r, 200)
	var d chatData
	st.data(r, &d)
	if d.Callee.Name != "Mina <3" || d.Nonce == "" || d.Token != linkGood || d.Mine || d.Status.State != "available" {
		t.Errorf("data %+v", d)
	}
	if !strings.HasPrefix(d.Reply, "mailto:host@mall.example?subject=Re%3A%20%3C") {
		t.Errorf("reply %q", d.Reply)
	}
	if strings.Contains(r.body, "<script>alert") ||
		strings.Contains(r.body, "\u2028") && strings.Contains(pageJSON.FindString(r.body), "\u2028") {
		t.Errorf("the subject broke out: %s", r.body)
	}
	// The whole card is there before any script: who, about what, whether they are there, and what to press.
	for _, part := range []string{`<html lang="ko">`, "<title>Mina &lt;3님과 대화</title>", "<h1><bdi>Mina &lt;3</bdi></h1>",
		"<bdi>host@mall.example</bdi>", `role="status"`, words.In("ko").Say("status.available"),
		"&lt;/script&gt;&lt;script&gt;alert(1)", ">지금 대화하기</span></button>", `<a class="quiet" href="mailto:host@mall.example`,
		"<noscript>", "<bdi>Jae (customer@mall.example)</bdi>",
		`src="` + st.server.assets.Link("chat.ko.js"), `<style>`,
		// and the way to all that the conversation needs.
		`"talk":"` + st.server.assets.Link("talk.ko.js"),
		`"gate":"` + st.server.assets.Link("gate.ko.js"), `"style":"` + st.server.assets.Link("app.css")} {
		if !strings.Contains(r.body, part) {
			t.Errorf("%q is not in %s", part, r.body)
		}
	}
	if r := st.do("HEAD", "/c/"+linkGood, ""); r.StatusCode != 200 || r.body != "" {
		t.Errorf("HEAD: %d %q", r.StatusCode, r.body)
	}
}

// TestAnew: a page that is open learns a new nonce and whether the person is
// there, and that its link leads nowhere any more.
func TestAnew(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	var d chatData
	r := st.do("GET", "/c/"+linkGood+"/state", "")
	st.want(r, 200)
	if err := json.Unmarshal([]byte(r.body), &d); err != nil || d.Nonce == "" || d.Status.State != "available" {
		t.Errorf("%v: %s", err, r.body)
	}
	for token, status := range map[string]int{linkExpired: 410, linkRevoked: 410, linkUnknown: 404, "x": 404} {
		st.want(st.do("GET", "/c/"+token+"/state", ""), status)
	}
	if n := st.relay.others("Card"); n > 0 {
		t.Errorf("%d other calls", n)
	}
	r = st.do("GET", "/desk/me", "")
	st.want(r, 200)
	if !strings.Contains(r.body, `"login":null`) {
		t.Error(r.body)
	}
}

// TestMishap: a page whose script made a mistake is counted, by its name.
func TestMishap(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for _, page := range []string{"landing", "another", strings.Repeat("x", 1<<20)} {
		st.want(st.do("POST", "/mishap", page), 204)
	}
	metrics := httptest.NewRecorder()
	promhttp.Handler().ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
	if text := metrics.Body.String(); !strings.Contains(text, `chmail_web_script_errors_total{page="landing"} 1`) ||
		strings.Contains(text, `chmail_web_script_errors_total{page="another"}`) {
		t.Errorf("counted otherwise: %s", text)
	}
}

// TestInitials: as the pages' script has them, so that a face does not change.
func TestInitials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, addr, initials string
		hue                  uint32
	}{
		{"Mina Kim", "host@mall.example", "MK", 0}, {"", "jun.park@mall.example", "JP", 3}, {"김미나", "x", "미나", 0},
		{"élan", "a@b.c", "É", 0}, {"...", "...", "?", 6}, {"Anna Maria van Dyk", "", "AD", 0},
	} {
		if p := (person{c.name, c.addr}); p.Initials() != c.initials || p.Hue() != c.hue {
			t.Errorf("%+v: %s %d, want %s %d", p, p.Initials(), p.Hue(), c.initials, c.hue)
		}
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for token, want := range map[string]struct {
		status        int
		reason, whose string
	}{
		linkUnknown: {404, "unknown", ""}, "short": {404, "unknown", ""}, linkGood + "A": {404, "unknown", ""},
		"%3Cscript%3E": {404, "unknown", ""}, linkExpired: {410, "expired", "Jae"},
		linkRevoked: {410, "revoked", "Jae"},
	} {
		r := st.do("GET", "/c/"+token, "")
		st.want(r, want.status)
		if strings.Contains(r.body, "<script") {
			t.Errorf("%s: a page that needs no script has one", token)
		}
		for _, part := range []string{words.In("en").Say("gone." + want.reason + ".title"), "<bdi>" + want.whose + "</bdi>"} {
			if want.whose != "" && !strings.Contains(r.body, part) {
				t.Errorf("%s: %q is not in %s", token, part, r.body)
			}
		}
		if offers := strings.Contains(r.body, `href="mailto:host@mall.example`); offers != (want.status == 410) {
			t.Errorf("%s: an answer by mail is offered: %t", token, offers)
		}
	}
	r := st.do("GET", "/c/"+linkBroken, "")
	st.want(r, 503)
	if r.Header.Get("Retry-After") == "" || strings.Contains(r.body, "database is gone") {
		t.Errorf("503: %v %s", r.Header, r.body)
	}
	if n := st.relay.others("Card"); n > 0 {
		t.Errorf("%d other calls", n)
	}
}

func TestFollowingALinkDoesNothing(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for range 1000 {
		st.want(st.do("GET", "/c/"+linkGood, ""), 200)
		st.want(st.do("HEAD", "/c/"+linkGood, ""), 200)
	}
	for _, path := range []string{"/chat", "/ticket", "/code"} {
		if r := st.do("GET", "/c/"+linkGood+path, ""); r.StatusCode != 404 {
			t.Errorf("GET %s: %d", path, r.StatusCode)
		}
	}
	if n := st.relay.others("Card"); n > 0 {
		t.Errorf("%d calls other than Card", n)
	}
}

func TestLanding(t *testing.T) {
	t.Parallel()
	demo, problem := json.RawMessage(nil), error(nil)
	st := newSite(t, func(o *Options) { o.Landing = func() (json.RawMessage, error) { return demo, problem } })
	get := func() string {
		var d landingData
		r := st.do("GET", "/", "")
		st.want(r, 200)
		if !strings.Contains(r.body, `href="/desk"`) {
			t.Errorf("no way to the desk in %s", r.body)
		}
		if !strings.Contains(r.body, "<script") {
			return "null"
		}
		st.data(r, &d)
		return string(d.Demo)
	}
	if got := get(); got != "null" {
		t.Errorf("no data yet: %s", got)
	}
	demo = json.RawMessage(`{"web":"</script>"}`)
	if got := get(); got != `{"web":"\u003c/script\u003e"}` {
		t.Errorf("data: %s", got)
	}
	demo = json.RawMessage(`{"web":`)
	if got := get(); got != "null" {
		t.Errorf("broken data: %s", got)
	}
	demo, problem = nil, errors.New("unreadable")
	if got := get(); got != "null" {
		t.Errorf("unreadable data: %s", got)
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	script := st.server.assets.Link("chat.en.js")
	plain := st.do("GET", script, "", "Accept-Encoding", "identity")
	zipped := st.do("GET", script, "", "Accept-Encoding", "br;q=1, gzip;q=0.5")
	if plain.body != string(testAssets["chat.en.js"].Data) || len(zipped.body) >= len(plain.body) ||
		zipped.Header.Get("Content-Encoding") != "gzip" ||
		plain.Header.Get("ETag") == zipped.Header.Get("ETag") ||
		plain.Header.Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("plain %v, zipped %v", plain.Header, zipped.Header)
	}
	st.want(st.do("GET", script, "", "Accept-Encoding", "gzip", "If-None-Match", zipped.Header.Get("ETag")), 304)
	st.want(st.do("GET", script, "", "Accept-Encoding", "gzip;q=0", "If-None-Match", zipped.Header.Get("ETag")), 200)
	st.want(st.do("GET", "/assets/chat.en.js", ""), 404)
	for prefer, lang := range map[string]string{"": "en", "ko-KR, en;q=0.5": "ko", "en": "en"} {
		r := st.do("GET", "/sw.js", "", "Accept-Language", prefer, "Accept-Encoding", "identity")
		if r.body != string(testAssets["sw."+lang+".js"].Data) || r.Header.Get("Cache-Control") != "no-cache" ||
			!slices.Equal(r.Header.Values("Vary"), []string{"Accept-Language", "Accept-Encoding"}) {
			t.Errorf("the service worker in %q: %v %s", prefer, r.Header, r.body)
		}
	}
	for missing, line := range map[string]string{"chat.ko.js": "web: assets/chat.ko.js is missing: run make build",
		"app.css":  "web: assets/app.css is missing: run make build",
		"sw.en.js": "web: assets/sw.en.js is missing: run make build"} {
		some := fstest.MapFS{}
		for name, f := range testAssets {
			if name != missing {
				some[name] = f
			}
		}
		opts := testOptions(&fakeRelay{})
		opts.Assets = some
		if _, err := New(opts); err == nil || err.Error() != line {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if _, err := embedded().Open("static/favicon.svg"); err != nil {
		t.Error(err)
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) { o.Landing = func() (json.RawMessage, error) { panic("a secret") } })
	r := st.do("GET", "/", "")
	st.want(r, 500)
	if strings.Contains(r.body, "secret") {
		t.Error(r.body)
	}
	st.want(st.do("GET", "/healthz", ""), 200)
}

func TestPageLimit(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) {
		o.TrustedProxies = append(o.TrustedProxies, limit.Prefix(limit.AddrOf("127.0.0.1:1")))
	})
	st.server.limits.page = bucket(0.1, 3)
	get := func() reply { return st.do("GET", "/desk", "", "X-Forwarded-For", "192.0.2.1") }
	for range 3 {
		st.want(get(), 200)
	}
	r := get()
	st.want(r, 429)
	st.want(st.do("GET", "/desk", ""), 200) // this machine
	if r.Header.Get("Retry-After") == "" || !strings.Contains(r.body, "Too many requests") {
		t.Errorf("%v %s", r.Header, r.body)
	}
}

// TestDown: until the relay is there, pages say so in the reader's language and
// requests get words; afterwards the same server answers all.
func TestDown(t *testing.T) {
	t.Parallel()
	opts := testOptions(nil)
	opts.Relay, opts.Key = nil, nil
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, lang string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Accept-Language", lang)
		s.ServeHTTP(rec, r)
		return rec
	}
	for _, c := range []struct{ method, path, lang, text string }{
		{"GET", "/desk", "en", "Not available right now"},
		{"GET", "/c/" + linkGood, "ko", "지금은 이용할 수 없습니다"},
		{"GET", "/healthz", "en", "Not available right now"},
		{"GET", "/chat", "en", "unavailable"},
		{"POST", "/desk/sign-in", "en", "unavailable"},
	} {
		r := ask(c.method, c.path, c.lang)
		if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), c.text) {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, r.Code, r.Header(), r.Body)
		}
	}
	if r := ask("GET", "/offline", "en"); r.Code != 200 {
		t.Errorf("the offline page: %d", r.Code)
	}
	if err := s.Open(&fakeRelay{}, make([]byte, 31)); err == nil {
		t.Error("a short key was taken")
	}
	if err := s.Open(&fakeRelay{}, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if r := ask("GET", "/desk", "en"); r.Code != 200 {
		t.Errorf("with a relay: %d", r.Code)
	}
}
