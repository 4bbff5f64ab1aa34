// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/limit"
)

func withNonce(nonce, more string) string { return fmt.Sprintf(`{"nonce":%q%s}`, nonce, more) }

func TestChatFromPageToTicket(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	page := st.page(linkGood)
	r := st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, ""))
	st.want(r, 200)
	var entry chatrelay.Entry
	if err := json.Unmarshal([]byte(r.body), &entry); err != nil || entry.Room != "R1" || entry.Me != 3 {
		t.Fatalf("%s %v", r.body, err)
	}
	for _, c := range r.Cookies() {
		if !c.HttpOnly || !strings.HasPrefix(c.Path, "/c/") || c.MaxAge != 365*24*3600 {
			t.Errorf("cookie %v", c)
		}
	}
	if !st.page(linkGood).Mine {
		t.Error("the page does not know its browser")
	}
	r = st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, `,"ring":true`))
	if st.want(r, 200); !strings.Contains(r.body, `"attempt":"A1"`) || entry.Attempt != "" {
		t.Errorf("%s; a claim that does not ring: %+v", r.body, entry)
	}
	st.want(st.do("POST", "/c/"+linkGood+"/ticket", withNonce(page.Nonce, "")), 200)

	st.browser = newBrowser(t) // somebody else
	if st.page(linkGood).Mine {
		t.Error("somebody else's browser is taken for the first")
	}
	r = st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, ""))
	st.want(r, 409, "claimed")
	if !strings.Contains(r.body, `"to":"c…@mall.example","guest":true`) || len(r.Cookies()) > 0 {
		t.Errorf("%s %v", r.body, r.Cookies())
	}
	st.want(st.do("POST", "/c/"+linkGood+"/ticket", withNonce(page.Nonce, "")), 403, "claim")
	r = st.do("POST", "/c/"+linkGood+"/code", withNonce(page.Nonce, ""))
	st.want(r, 200)
	if strings.TrimSpace(r.body) != `{"to":"c…@mall.example"}` {
		t.Error(r.body)
	}
	st.want(st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, `,"code":"000000"`)), 403, "code")
	st.want(st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, `,"code":" 123 456 "`)), 200)
	r = st.do("POST", "/c/"+linkGood+"/chat", withNonce(page.Nonce, `,"guest":"  A\u0000 \nB  "`))
	if !strings.Contains(r.body, `"T A B"`) {
		t.Error(r.body)
	}
}

func TestChatRefuses(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	good := st.page(linkGood).Nonce
	now := time.Now()
	chat := "/c/" + linkGood + "/chat"
	for name, c := range map[string]struct {
		path, body string
		header     []string
		status     int
		code       string
	}{
		"no nonce":     {chat, `{}`, nil, 403, "nonce"},
		"wrong nonce":  {chat, withNonce(good+"x", ""), nil, 403, "nonce"},
		"other link's": {"/c/" + linkUnknown + "/chat", withNonce(good, ""), nil, 403, "nonce"},
		"old nonce":    {chat, withNonce(st.server.nonce(linkGood, now.Add(-nonceTTL)), ""), nil, 403, "nonce"},
		"future nonce": {chat, withNonce(st.server.nonce(linkGood, now.Add(time.Hour)), ""), nil, 403, "nonce"},
		"unknown": {"/c/" + linkUnknown + "/chat", withNonce(st.server.nonce(linkUnknown, now), ""),
			nil, 404, "unknown"},
		"unknown again": {"/c/" + linkUnknown + "/ticket", withNonce(st.server.nonce(linkUnknown, now), ""),
			nil, 404, "unknown"},
		"no token": {"/c/nonsense/chat", withNonce(good, ""), nil, 404, "unknown"},
		"expired": {"/c/" + linkExpired + "/chat", withNonce(st.server.nonce(linkExpired, now), ""),
			nil, 410, "expired"},
		"revoked": {"/c/" + linkRevoked + "/chat", withNonce(st.server.nonce(linkRevoked, now), ""),
			nil, 410, "revoked"},
		"database gone": {"/c/" + linkBroken + "/chat", withNonce(st.server.nonce(linkBroken, now), ""),
			nil, 503, "unavailable"},
		"no JSON":    {chat, `{"nonce"`, nil, 400, "bad-request"},
		"wrong type": {chat, `{"nonce":7}`, nil, 400, "bad-request"},
		"too large":  {chat, withNonce(good, `,"guest":"`+strings.Repeat("x", maxBody)+`"`), nil, 413, "too-large"},
		"a form": {chat, "nonce=" + good, []string{"Content-Type", "application/x-www-form-urlencoded"},
			415, "media-type"},
		"no media type": {chat, withNonce(good, ""), []string{"Content-Type", ""}, 415, "media-type"},
		"cross-site":    {chat, withNonce(good, ""), []string{"Sec-Fetch-Site", "cross-site"}, 403, "origin"},
		"same-site":     {chat, withNonce(good, ""), []string{"Sec-Fetch-Site", "same-site"}, 403, "origin"},
		"other origin": {chat, withNonce(good, ""), []string{"Sec-Fetch-Site",
			"", "Origin", "https://evil.example"}, 403, "origin"},
		"null origin": {chat, withNonce(good, ""), []string{"Sec-Fetch-Site", "", "Origin", "null"}, 403, "origin"},
	} {
		r := st.do("POST", c.path, c.body, c.header...)
		if r.StatusCode != c.status || !strings.Contains(r.body, `"error":"`+c.code+`"`) {
			t.Errorf("%s: %d %s, want %d %s", name, r.StatusCode, r.body, c.status, c.code)
		}
		if len(r.Cookies()) > 0 {
			t.Errorf("%s: cookies %v", name, r.Cookies())
		}
	}
	if st.relay.holder != "" {
		t.Error("a refused request claimed the link")
	}
	st.want(st.do("POST", chat, withNonce(good, ""), "Sec-Fetch-Site", "", "Origin", "http://localhost:8080"), 200)
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.server.limits.link = bucket(0.01, 2)
	path, body := "/c/"+linkGood+"/chat", withNonce(st.page(linkGood).Nonce, "")
	st.want(st.do("POST", path, body), 200)
	st.want(st.do("POST", path, body), 200)
	r := st.do("POST", path, body)
	st.want(r, 429, "too-often")
	if r.Header.Get("Retry-After") != "100" {
		t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
	}
	st.want(st.do("POST", "/c/"+linkUnknown+"/chat", `{}`), 403, "nonce") // another link

	st = newSite(t, func(o *Options) {
		o.TrustedProxies = append(o.TrustedProxies, limit.Prefix(limit.AddrOf("127.0.0.1:1")))
	})
	st.server.limits.post = bucket(0.01, 2)
	from := func(ip string) reply { return st.do("POST", path, `{}`, "X-Forwarded-For", ip) }
	st.want(from("2001:db8::1"), 403)
	st.want(from("2001:db8::2"), 403)
	st.want(from("2001:db8:0:0:1::"), 429, "too-often")
	st.want(from("2001:db8:0:1::"), 403)
	st.want(from("192.0.2.1"), 403)
}

func TestChatSocket(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, st.url+"/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"t":"hello"}`)); err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(ctx); err != nil || string(b) != `{"t":"hello"}` {
		t.Fatalf("%s %v", b, err)
	}
	_, res, err := websocket.Dial(ctx, st.url+"/chat",
		&websocket.DialOptions{HTTPHeader: map[string][]string{"Origin": {"https://evil.example"}}})
	if err == nil || res.StatusCode != 403 {
		t.Errorf("another origin: %v", err)
	}
	st.want(st.do("GET", "/chat", ""), 426)
	if err := st.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("after Shutdown: %v", err)
	}
	st.want(st.do("GET", "/chat", ""), 503, "shutdown")
}

// The HTTP carrier of a room: for pages of this server and of other relays, past the limits of POSTs.
func TestChatStream(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.relay.peer = chat.Relay{Origin: "https://other.example"}
	st.server.limits.post, st.server.limits.page = bucket(0, 1), bucket(0, 3)
	for range 5 {
		st.do("GET", "/", "", "X-Forwarded-For", "192.0.2.1") // uses the limit of pages up
	}
	open := func(path, origin string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", st.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		res, err := st.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return res, id
			}
		}
		return res, ""
	}
	if res, _ := open("/chat/stream", "https://evil.example"); res.StatusCode != 403 {
		t.Errorf("another site: %d", res.StatusCode)
	}
	if res, _ := open("/desk/ws/stream", st.url); res.StatusCode != 401 {
		t.Errorf("a device without a session: %d", res.StatusCode)
	}
	for _, origin := range []string{st.url, "https://other.example"} {
		res, id := open("/chat/stream", origin)
		allowed := res.Header.Get("Access-Control-Allow-Origin")
		if id == "" || (allowed == origin) != (origin != st.url) {
			t.Fatalf("%s: %d, %q, allowed %q", origin, res.StatusCode, id, allowed)
		}
		for n := 1; n <= 5; n++ {
			r := st.do("POST", fmt.Sprintf("/chat/stream?c=%s&n=%d", id, n), `{"t":"hello"}`,
				"Origin", origin, "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain")
			st.want(r, 204)
		}
	}
	st.want(st.do("POST", "/chat/stream?c=x&n=1", "", "Origin", "https://evil.example"), 403, "origin")
	st.want(st.do("POST", "/chat/stream?c=x&n=1", ""), 404)
	st.want(st.do("POST", "/chat/gone", "a ticket", "Content-Type", "text/plain"), 204)
	if st.relay.others("gone a ticket") == st.relay.others("") {
		t.Error("the relay does not learn of a page that has gone")
	}
}

// Mails of unread words are stopped by a press, of a mail program or on the page; a scanner's GET changes nothing.
func TestStopUnread(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	path := "/c/" + linkGood + "/stop"
	if r := st.do("GET", path, ""); r.StatusCode != 200 || !strings.Contains(r.body, `<form method="post" action="`+path) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if n := st.relay.others(""); n != 0 {
		t.Errorf("the relay was asked %d times", n)
	}
	st.want(st.do("POST", path, "List-Unsubscribe=One-Click", "Content-Type", "application/x-www-form-urlencoded",
		"Sec-Fetch-Site", ""), 200)
	if st.relay.others("StopUnread true") != 0 || st.relay.others("") != 1 {
		t.Errorf("calls %v", st.relay.calls)
	}
	st.want(st.do("POST", "/c/"+linkUnknown+"/stop", ""), 404)
}

// Whoever has left asks for a transcript and says how it went; a page without a claim does not.
func TestAfter(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	path, nonce := "/c/"+linkGood+"/after", st.page(linkGood).Nonce
	wish := withNonce(nonce, `,"transcript":true,"zone":"Asia/Seoul","rating":"good"`)
	st.want(st.do("POST", path, wish), 404)
	st.want(st.do("POST", "/c/"+linkGood+"/chat", withNonce(nonce, "")), 200)
	st.want(st.do("POST", path, wish, "Accept-Language", "ko"), 204)
	if want := "After {Transcript:true Lang:ko Zone:Asia/Seoul Rating:good}"; st.relay.others(want) == st.relay.others("") {
		t.Errorf("calls %v", st.relay.calls)
	}
	st.want(st.do("POST", path, `{"rating":"good"}`), 403, "nonce")
}

func TestFullIsTooOften(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) { o.Relay = fullRelay{o.Relay} })
	r := st.do("POST", "/c/"+linkGood+"/code", withNonce(st.page(linkGood).Nonce, ""))
	st.want(r, 429, "full")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// fullRelay has mailed too many codes.
type fullRelay struct{ Relay }

func (fullRelay) SendCode(context.Context, string) (string, error) {
	return "", fmt.Errorf("mailing a code: %w", chat.ErrFull)
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{linkGood, linkExpired, "", ".", "..", "a/b", "%00", "\x00",
		strings.Repeat("A", 5000), "</script>"} {
		f.Add(seed)
	}
	st := newSite(f)
	st.server.limits.page = bucket(1e9, 1e9)
	f.Fuzz(func(t *testing.T, token string) {
		r := httptestGet("/c/" + pathEscape(token))
		w := serve(st.server, r)
		switch {
		case token == linkGood && w.Code != 200, w.Code >= 500 && token != linkBroken:
			t.Fatalf("%q: %d", token, w.Code)
		case len(w.Result().Cookies()) > 0 || st.relay.others("Card") > 0:
			t.Fatalf("%q: a GET had an effect", token)
		}
	})
}

func FuzzBodies(f *testing.F) {
	st := newSite(f)
	open := bucket(1e9, 1e9)
	st.server.limits = limits{page: open, post: open, link: open}
	for _, seed := range []string{"", "{}", "null", "[]", `{"nonce":"a.b"}`, `{"nonce":null,"guest":"\ud800"}`,
		withNonce(st.server.nonce(linkGood, time.Now()), `,"code":"1"`), `{"login":"a"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/c/" + linkGood + "/chat", "/c/" + linkGood + "/code", "/desk/sign-in"} {
			w := serve(st.server, httptestPost(path, body))
			if w.Code >= 500 || w.Code != 204 && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	})
}

func TestGuestsNeedLeave(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(o *Options) { o.Guests = false })
	path, nonce := "/c/"+linkGood+"/chat", st.page(linkGood).Nonce
	st.want(st.do("POST", path, withNonce(nonce, "")), 200)
	st.browser = newBrowser(t)
	r := st.do("POST", path, withNonce(nonce, `,"guest":"Somebody"`))
	st.want(r, 409, "claimed")
	if !strings.Contains(r.body, `"guest":false`) {
		t.Error(r.body)
	}
}

// A link is proven by the code, by the password of the recipient's account, and by
// the session of the desk.
func TestProofAtTheFrontDoor(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.relay.card = func(c *chatrelay.Card) {
		c.Account, c.Invite.Recipient.Login, c.Invite.Claimed = true, "host@mall.example", true
	}
	path, page := "/c/"+linkGood+"/chat", st.page(linkGood)
	if page.SignedIn {
		t.Errorf("page %+v", page)
	}
	st.want(st.do("POST", path, withNonce(page.Nonce, `,"password":"wrong"`)), 403, "credentials")
	if st.relay.how.Login != "" {
		t.Error("a wrong password proves something")
	}
	r := st.do("POST", path, withNonce(page.Nonce, `,"password":"right"`))
	if st.want(r, 200); st.relay.how.Login != "host@mall.example" {
		t.Errorf("claim %+v", st.relay.how)
	}
	for _, c := range r.Cookies() {
		if c.Name == sessionCookie {
			t.Error("the link's password opens the desk")
		}
	}
	st.want(st.do("POST", path, withNonce(page.Nonce, "")), 200)
	if st.relay.how.Login != "" {
		t.Errorf("claim %+v", st.relay.how)
	}
	st.signIn()
	st.want(st.do("POST", path, withNonce(page.Nonce, "")), 200)
	if st.relay.how.Login != "host@mall.example" || !st.page(linkGood).SignedIn {
		t.Errorf("claim %+v", st.relay.how)
	}

	// Who was put out learns what they can do.
	st.relay.lost = true
	r = st.do("POST", "/c/"+linkGood+"/ticket", withNonce(page.Nonce, ""))
	if st.want(r, 409, "claimed"); !strings.Contains(r.body, `"guest":true,"account":true`) {
		t.Error(r.body)
	}
	// A sender who wants a proof wants no guests.
	st.relay.refuses = chat.ErrProve
	st.relay.card = func(c *chatrelay.Card) { c.Prove = true }
	r = st.do("POST", path, withNonce(page.Nonce, ""))
	if st.want(r, 409, "prove"); !strings.Contains(r.body, `"to":"c…@mall.example","guest":false}`) {
		t.Error(r.body)
	}
	// Somebody in Bcc says that the others may learn of them.
	st.relay.refuses = chat.ErrHidden
	st.want(st.do("POST", path, withNonce(page.Nonce, `,"shown":true`)), 409, "bcc")
	if !st.relay.how.Shown {
		t.Error("the relay does not know that the page has said who learns of the recipient")
	}
	// A password proves nothing of somebody without an account.
	st.want(st.do("POST", path, withNonce(page.Nonce, `,"password":"right"`)), 403, "credentials")
}

// A link opens with what the text around it left behind it.
func TestLinkInItsText(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for behind, opens := range map[string]bool{".": true, ")": true, "&gt;": true, "%3E": true, "%3e.": true, ",%20and": true,
		"에서": true, "%22": true, "*": true, "_": true, "a": false, "0.": false} {
		r := st.do("GET", "/c/"+linkGood+behind, "")
		if !opens {
			st.want(r, 404)
			continue
		}
		if st.want(r, 302); r.Header.Get("Location") != "/c/"+linkGood || len(r.Cookies()) > 0 {
			t.Errorf("%s: %v", behind, r.Header)
		}
	}
	st.want(st.do("GET", "/c/nonsense.", ""), 404)
}

// The card says who will see a recipient in Bcc, and that a sender is gone.
func TestCardSaysMore(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	if r := st.do("GET", "/c/"+linkGood, ""); strings.Contains(r.body, "warning") ||
		strings.Contains(r.body, "hidden>"+`<svg`) {
		t.Error(r.body)
	}
	st.relay.card = func(c *chatrelay.Card) {
		c.Gone, c.Prove = true, true
		c.Others = []chat.Participant{{Person: chat.Person{Name: "Kim"}}, {Person: chat.Person{Addr: "lee@far.example"}}}
	}
	r := st.do("GET", "/c/"+linkGood, "")
	for _, part := range []string{"<bdi>Kim</bdi> and 1 other ", "can’t be reached here any more", `popovertarget="loading" hidden>`} {
		if !strings.Contains(r.body, part) {
			t.Errorf("%q is not in %s", part, r.body)
		}
	}
}
