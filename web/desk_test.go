// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/signin"
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
	if d := desk(); d.Login != nil {
		t.Errorf("%+v", d)
	}
	st.want(st.do("POST", "/desk/rooms/R1/ticket", ""), 401, "sign-in")
	st.want(st.do("GET", "/desk/ws", ""), 401, "sign-in")
	st.signIn()
	if d := desk(); d.Login == nil || *d.Login != "host@mall.example" || d.Name != "host" {
		t.Errorf("%+v", d)
	}
	if len(st.presence.seen) != 1 || st.presence.seen[0].Login != "host@mall.example" ||
		st.presence.seen[0].Source != presence.Desk ||
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

// signedInElsewhere is another browser of the same login.
func (st *site) signedInElsewhere() *site {
	other := *st
	other.browser = newBrowser(st.t)
	other.signIn()
	return &other
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.want(st.do("POST", "/desk/sign-out/everywhere", "{}"), 401, "sign-in")
	st.signIn()
	other := st.signedInElsewhere()
	st.want(st.do("POST", "/desk/sign-out", ""), 204)
	other.want(other.do("GET", "/desk/rooms", ""), 200) // one sign-out is that of one browser

	st.signIn()
	for name, wrong := range map[string]struct {
		header []string
		status int
	}{
		"another site": {[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"a form":       {[]string{"Content-Type", "text/plain"}, 415},
	} {
		if r := st.do("POST", "/desk/sign-out/everywhere", "{}", wrong.header...); r.StatusCode != wrong.status {
			t.Errorf("%s: status %d", name, r.StatusCode)
		}
	}
	st.want(st.do("GET", "/desk/sign-out/everywhere", ""), 404) // following a link changes nothing
	other.want(other.do("GET", "/desk/rooms", ""), 200)

	st.want(st.do("POST", "/desk/sign-out/everywhere", "{}"), 204)
	at, _ := url.Parse(st.url + "/desk")
	if len(st.browser.Jar.Cookies(at)) != 0 {
		t.Error("the cookie is still there")
	}
	for _, path := range []string{"/desk/rooms", "/desk/settings", "/desk/ws", "/desk/search?q=x"} {
		other.want(other.do("GET", path, ""), 401, "sign-in")
	}
	other.want(other.do("POST", "/desk/rooms/R1/ticket", ""), 401, "sign-in")
	var d deskData
	other.data(other.do("GET", "/desk", ""), &d)
	if d.Login != nil {
		t.Errorf("the desk still knows %s", *d.Login)
	}
	other.signIn()
	other.want(other.do("GET", "/desk/rooms", ""), 200)
}

// A page of one login does nothing with the session of another one that has
// signed in since, in another tab of the same browser.
func TestPageOfAnotherLogin(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	for login, status := range map[string]int{"host@mall.example": 200, "HOST%40mall.example": 200, "": 200,
		"friend%40mall.example": 409} {
		for method, path := range map[string]string{"GET": "/desk/rooms", "POST": "/desk/rooms/R1/ticket"} {
			r := st.do(method, path, "", "CHmail-Login", login)
			if r.StatusCode != status || status == 409 && !strings.Contains(r.body, `"other-login"`) {
				t.Errorf("%s %s of the page of %q: %d %s", method, path, login, r.StatusCode, r.body)
			}
		}
	}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", st.url}
	st.want(st.do("GET", "/desk/ws?login=friend%40mall.example", "", upgrade...), 409, "other-login")
	if st.relay.calls["ServeDevice"] != 0 {
		t.Error("the page of another login is a device of this one")
	}
}

// changedMeanwhile has the login signed out while its password is checked.
type changedMeanwhile struct {
	SignIns
	relay *fakeRelay
}

func (c changedMeanwhile) SignIn(ctx context.Context, a signin.Attempt) (*signin.Session, error) {
	if err := c.relay.SignOut(ctx, strings.ToLower(a.Login)); err != nil {
		return nil, err
	}
	return c.SignIns.SignIn(ctx, a)
}

// While a password is checked, a new one may be set: the session counts from
// before the check.
func TestSessionBeganBeforeThePasswordWasChecked(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.server.opts.SignIns = changedMeanwhile{st.server.opts.SignIns, st.relay}
	st.signIn()
	st.want(st.do("GET", "/desk/rooms", ""), 401, "sign-in")
}

func TestSessionWithoutTheRelaysDatabase(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	st.relay.mu.Lock()
	st.relay.down = errors.New("the database is gone")
	st.relay.mu.Unlock()
	st.want(st.do("GET", "/desk/rooms", ""), 503, "unavailable")
	st.want(st.do("GET", "/desk", ""), 503) // it does not look signed out
}

func TestSignInRefusalsAreTheSame(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) {
		o.TrustedProxies = append(o.TrustedProxies, limit.Prefix(limit.AddrOf("127.0.0.1:1")))
	})
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
		// That it takes no longer is tested in guard/signin, with a clock of its own.
		if o.body != first.body || o.took < firstRefusal {
			t.Errorf("%s: %v, the first %v", body, o, first)
		}
	}
	if again := try("192.0.2.9", `{"login":"HOST@mall.example","password":"wrong"}`); again.took < 2*firstRefusal {
		t.Errorf("the second refusal of a login took %v", again.took)
	}
	st.signIn() // the right password is not held up
}

// answers are those of a check.
type answers struct{ err error }

func (a answers) SignIn(context.Context, signin.Attempt) (*signin.Session, error) { return nil, a.err }

func TestSignInNotPossible(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.server.opts.SignIns = answers{&signin.BusyError{After: 10 * time.Second}}
	r := st.do("POST", "/desk/sign-in", `{"login":"host@mall.example","password":"right"}`)
	st.want(r, 429, "too-often")
	if r.Header.Get("Retry-After") != "10" {
		t.Error(r.Header)
	}
	st.server.opts.SignIns = answers{errors.New("the database is gone")}
	st.want(st.do("POST", "/desk/sign-in", `{"login":"host@mall.example","password":"right"}`), 503, "unavailable")
}

func TestSessions(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	now := time.Now()
	cookie := func(began, used time.Time) string {
		return st.server.sealSession(session{chat.Session{Login: "host@mall.example", ID: "x", Began: began}, used})
	}
	good := cookie(now, now)
	if who, err := st.server.openSession(good, now); err != nil ||
		who.Login != "host@mall.example" || !who.Began.Equal(now) {
		t.Error("a good session does not hold")
	}
	for name, value := range map[string]string{
		"empty": "", "cut": good[:len(good)-1], "changed": "A" + good,
		"idle": cookie(now.Add(-sessionIdle), now.Add(-sessionIdle-time.Minute)),
		"old":  cookie(now.Add(-sessionLife-time.Minute), now), "unsealed": strings.Repeat("A", 43) + good[43:],
	} {
		if _, err := st.server.openSession(value, now); !errors.Is(err, errNoSession) {
			t.Errorf("%s: it holds", name)
		}
	}
	opts := testOptions(&fakeRelay{})
	again, err := New(opts) // a restart with the same key
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.openSession(good, now); err != nil {
		t.Error("the session did not survive a restart")
	}
	opts.Key = make([]byte, 32)
	if other, err := New(opts); err != nil {
		t.Fatal(err)
	} else if _, err := other.openSession(good, now); err == nil {
		t.Error("a session of another key holds")
	}
}

func TestDeskSocket(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(ctx, st.url+"/desk/ws",
			&websocket.DialOptions{HTTPClient: st.browser, HTTPHeader: http.Header{
				"Origin":     {origin},
				"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/150.0 Safari/537.36"},
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
	d, session := st.relay.device, st.relay.session
	if d.Login != "host@mall.example" || d.Source != presence.Desk || d.Name != "Chromium on Linux" ||
		len(d.ID) < 16 || !d.IP.IsLoopback() {
		t.Errorf("device %+v", d)
	}
	if session.Login != d.Login || len(session.ID) < 16 || time.Since(session.Began).Abs() > time.Minute {
		t.Errorf("session %+v", session)
	}
}
