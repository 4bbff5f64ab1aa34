// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/pass"
)

// TestPass: a page that another page of this server opens in a frame may be framed by
// that origin alone, comes in as the login of the pass, and keeps its cookies in the frame.
// A pass that is too old or another link's opens no frame and proves nothing.
func TestPass(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	const shop, kim = "https://shop.example", "customer@mall.example"
	sealed := func(token string, at time.Time) string {
		p := pass.Pass{Token: token, Login: kim, Frames: []string{shop}, Do: pass.Ring}
		return p.Seal(st.server.keys.pass, at)
	}
	good := sealed(linkGood, time.Now())
	page := func(with string) (reply, chatData) {
		r := st.do("GET", "/c/"+linkGood+"?pass="+url.QueryEscape(with), "")
		st.want(r, 200)
		var d chatData
		st.data(r, &d)
		return r, d
	}
	ancestors := func(r reply) string {
		_, rest, _ := strings.Cut(r.Header.Get("Content-Security-Policy"), "frame-ancestors ")
		of, _, _ := strings.Cut(rest, ";")
		return of + r.Header.Get("X-Frame-Options")
	}
	r, d := page(good)
	if got := ancestors(r); got != shop || d.Do != pass.Ring || d.Pass != good || len(r.Cookies()) != 0 {
		t.Errorf("framed by %s, does %q, cookies %v", got, d.Do, r.Cookies())
	}
	for name, wrong := range map[string]string{"too old": sealed(linkGood, time.Now().Add(-time.Hour)),
		"another link's": sealed(linkExpired, time.Now()), "forged": "AAAA"} {
		if r, d := page(wrong); ancestors(r) != "'none'DENY" || d.Do != "" || d.Pass != "" || len(r.Cookies()) != 0 {
			t.Errorf("%s: framed by %s, does %q", name, ancestors(r), d.Do)
		}
	}

	press := func(with string) (reply, string) {
		r := st.do("POST", "/c/"+linkGood+"/chat", `{"nonce":"`+d.Nonce+`","pass":"`+with+`"}`)
		st.want(r, 200)
		st.relay.mu.Lock()
		defer st.relay.mu.Unlock()
		return r, st.relay.how.Login
	}
	r, login := press(good)
	if login != kim || len(r.Cookies()) != 2 {
		t.Errorf("in as %q, with %v", login, r.Cookies())
	}
	for _, c := range r.Cookies() {
		if !c.Partitioned || !c.Secure || c.SameSite != http.SameSiteNoneMode || !c.HttpOnly {
			t.Errorf("the cookie in the frame is %v", c)
		}
	}
	if r, login := press(sealed(linkGood, time.Now().Add(-time.Hour))); login != "" || !r.Cookies()[0].Partitioned {
		t.Errorf("with an old pass in as %q, with %v", login, r.Cookies())
	}
	if r, login := press(sealed(linkExpired, time.Now())); login != "" || r.Cookies()[0].Partitioned {
		t.Errorf("with another link's pass in as %q, with %v", login, r.Cookies())
	}
}
