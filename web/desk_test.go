// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/presence"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	desk := func() (d deskData) {
		r := st.do("GET", "/desk", "")
		st.want(r, 200)
		st.data(r, &d)
		return d
	}
	if d := desk(); d.Page != "desk" || d.Login != nil {
		t.Errorf("%+v", d)
	}
	st.want(st.do("POST", "/desk/rooms/R1/ticket", ""), 401, "sign-in")
	st.want(st.do("GET", "/desk/ws", ""), 401, "sign-in")
	st.signIn()
	if d := desk(); d.Login == nil || *d.Login != "host@mall.example" || d.Name != "host" {
		t.Errorf("%+v", d)
	}
	if len(st.presence.seen) != 1 || st.presence.seen[0].Login != "host@mall.example" || st.presence.seen[0].Source != presence.Desk ||
		!st.presence.seen[0].IP.IsLoopback() {
		t.Errorf("renewed: %+v", st.presence.seen)
	}
	r := st.do("GET", "/desk/rooms?limit=5&before=2026-11-20T09:00:00.5Z", "")
	st.want(r, 200)
	if strings.TrimSpace(r.body) != `{"me":"host@mall.example","rooms":[]}` {
		t.Error(r.body)
	}
	st.want(st.do("GET", "/desk/rooms?limit=0", ""), 400, "bad-request")
	st.want(st.do("GET", "/desk/rooms?before=yesterday", ""), 400, "bad-request")
	st.want(st.do("POST", "/desk/rooms/R1/ticket", ""), 200)
	st.want(st.do("POST", "/desk/rooms/R2/ticket", ""), 404, "unknown")
	st.want(st.do("POST", "/desk/sign-out", "", "Sec-Fetch-Site", "cross-site"), 403, "origin")

	// A copy of the cookie is worth nothing after signing out.
	at, _ := url.Parse(st.url + "/desk")
	copied := st.browser.Jar.Cookies(at)
	st.want(st.do("POST", "/desk/sign-out", ""), 204)
	if len(st.browser.Jar.Cookies(at)) != 0 {
		t.Error("the cookie is still there")
	}
	st.browser.Jar.SetCookies(at, copied)
	st.want(st.do("GET", "/desk/rooms", ""), 401, "sign-in")
}

func TestSignInRefusalsAreTheSame(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) { o.TrustedProxies = append(o.TrustedProxies, limit.Prefix(remoteIP("127.0.0.1:1"))) })
	type outcome struct {
		body string
		took time.Duration
	}
	try := func(ip, body string) outcome {
		began := time.Now()
		r := st.do("POST", "/desk/sign-in", body, "X-Forwarded-For", ip)
		st.want(r, 401, "credentials")
		if len(r.Cookies()) > 0 {
			t.Error(r.Cookies())
		}
		return outcome{r.body, time.Since(began)}
	}
	first := try("192.0.2.1", `{"login":"host@mall.example","password":"wrong"}`)
	for ip, body := range map[string]string{
		"192.0.2.2": `{"login":"nobody@mall.example","password":"right"}`,
		"192.0.2.3": `{"login":"","password":""}`,
	} {
		o := try(ip, body)
		if o.body != first.body || o.took < minRefusal || (o.took-first.took).Abs() > 250*time.Millisecond {
			t.Errorf("%s: %v, the first %v", body, o, first)
		}
	}
	if again := try("192.0.2.9", `{"login":"HOST@mall.example","password":"wrong"}`); again.took < 2*minRefusal {
		t.Errorf("the second refusal of a login took %v", again.took)
	}
	st.signIn() // the right password is not held up
}

func TestRefusalDelayIsBounded(t *testing.T) {
	t.Parallel()
	th, now := newSite(t).server, time.Now()
	for range 50 {
		th.refuse(now, "a")
	}
	if d := th.refuse(now, "b", "a"); d != maxRefusal {
		t.Errorf("after many: %v", d)
	}
	if d := th.refuse(now.Add(2*refusalDecay), "a"); d != minRefusal {
		t.Errorf("after a while: %v", d)
	}
}

func TestSignInLimit(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.server.limits.signIn = bucket(0.1, 1)
	st.signIn()
	r := st.do("POST", "/desk/sign-in", `{"login":"host@mall.example","password":"right"}`)
	st.want(r, 429, "too-often")
	if r.Header.Get("Retry-After") != "10" {
		t.Error(r.Header)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	now := time.Now()
	cookie := func(began, used time.Time) string {
		w := &headerWriter{h: http.Header{}}
		st.server.setSession(w, session{login: "host@mall.example", id: "x", began: began, used: used})
		c, err := http.ParseSetCookie(w.h.Get("Set-Cookie"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Value
	}
	good := cookie(now, now)
	if who, ok := st.server.openSession(good, now); !ok || who.login != "host@mall.example" {
		t.Error("a good session does not hold")
	}
	for name, value := range map[string]string{
		"empty": "", "cut": good[:len(good)-1], "changed": "A" + good, "idle": cookie(now.Add(-sessionIdle), now.Add(-sessionIdle-time.Minute)),
		"old": cookie(now.Add(-sessionLife-time.Minute), now), "unsigned": strings.Split(good, ".")[0] + ".",
	} {
		if _, ok := st.server.openSession(value, now); ok {
			t.Errorf("%s: it holds", name)
		}
	}
	opts := testOptions(&fakeRelay{})
	again, err := New(opts) // a restart with the same key
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := again.openSession(good, now); !ok {
		t.Error("the session did not survive a restart")
	}
	opts.Key = make([]byte, 32)
	if other, err := New(opts); err != nil {
		t.Fatal(err)
	} else if _, ok := other.openSession(good, now); ok {
		t.Error("a session of another key holds")
	}
}

type headerWriter struct{ h http.Header }

func (w *headerWriter) Header() http.Header         { return w.h }
func (w *headerWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *headerWriter) WriteHeader(int)             {}

func TestDeskSocket(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, st.url+"/desk/ws", &websocket.DialOptions{HTTPClient: st.browser, HTTPHeader: http.Header{
			"Origin": {origin}, "User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/150.0 Safari/537.36"},
		}})
	}
	if _, res, err := dial("https://evil.example"); err == nil || res.StatusCode != 403 {
		t.Errorf("another origin: %v", err)
	}
	c, _, err := dial(st.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); err != nil {
		t.Fatal(err)
	}
	st.relay.mu.Lock()
	defer st.relay.mu.Unlock()
	if d := st.relay.device; d.Login != "host@mall.example" || d.Source != presence.Desk || d.Name != "Chromium on Linux" || len(d.ID) < 16 || !d.IP.IsLoopback() {
		t.Errorf("device %+v", d)
	}
}
