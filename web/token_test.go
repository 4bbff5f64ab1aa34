// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/presence"
)

// token signs a program in and returns the field that it sends from then on.
func (st *site) token() []string {
	st.t.Helper()
	r := st.do("POST", "/desk/token", `{"login":"Host@mall.example","password":"right","device":"notebook"}`)
	st.want(r, 201)
	var made struct{ Login, Token string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || made.Login != "host@mall.example" {
		st.t.Fatalf("%s (%v)", r.body, err)
	}
	return []string{"Authorization", "Bearer " + made.Token}
}

// TestDeviceToken: a program does with its token what a desk does with its cookie.
func TestDeviceToken(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.want(st.do("POST", "/desk/token", `{"login":"host@mall.example","password":"wrong","device":"x"}`),
		401, "credentials")
	st.want(st.do("POST", "/desk/token", `{"login":"host@mall.example","password":"right","device":"\u200b"}`),
		400, "device")
	token := st.token()
	if len(st.presence.seen) != 1 || st.presence.seen[0].Source != presence.Agent {
		t.Errorf("renewed: %+v", st.presence.seen)
	}
	at, _ := url.Parse(st.url + "/desk")
	st.want(st.do("GET", "/desk/rooms", ""), 401, "sign-in") // no cookie came with it
	st.want(st.do("GET", "/desk/rooms", "", token...), 200)
	if r := st.do("GET", "/desk/me", "", token...); !strings.Contains(r.body, `"login":"host@mall.example"`) {
		t.Error(r.body)
	}
	if len(st.browser.Jar.Cookies(at)) != 0 {
		t.Error("a token became a cookie")
	}
	st.want(st.do("POST", "/desk/rooms/R1/ticket", "", token...), 200)
	st.want(st.do("GET", "/desk/rooms", "", "Authorization", "Bearer x"), 401, "sign-in")
	// An add-on of a mail program has an origin of its own.
	addOn := []string{"Origin", "moz-extension://x", "Sec-Fetch-Site", "cross-site"}
	st.want(st.do("POST", "/desk/rooms/R1/ticket", "", append(addOn, token...)...), 200)
	st.want(st.do("POST", "/desk/rooms/R1/ticket", "", addOn...), 403, "origin")
	st.want(st.do("GET", "/desk/ws/stream", "", addOn...), 401, "sign-in")
	if r := st.do("GET", "/c/"+linkGood+"/state", "", addOn...); r.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("an add-on may not read whether somebody is there: %v", r.Header)
	}

	c, _, err := websocket.Dial(t.Context(), st.url+"/desk/ws",
		&websocket.DialOptions{HTTPHeader: http.Header{token[0]: token[1:]}})
	if err != nil {
		t.Fatal(err)
	}
	// The echo comes from the device, so it is known by then.
	if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"t":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.CloseNow()
	st.relay.mu.Lock()
	if d := st.relay.device; d.Source != presence.Agent || d.Name != "notebook" {
		t.Errorf("the device is %+v", d)
	}
	st.relay.mu.Unlock()

	// A token is good in its own field alone, and a cookie in its own.
	st.browser.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: strings.TrimPrefix(token[1], "Bearer ")}})
	st.want(st.do("GET", "/desk/rooms", ""), 401, "sign-in")
	st.signIn()
	cookie := st.browser.Jar.Cookies(at)[0].Value
	st.want(st.do("GET", "/desk/rooms", "", "Authorization", "Bearer "+cookie), 401, "sign-in")

	st.want(st.do("POST", "/desk/sign-out", "", token...), 204)
	st.want(st.do("GET", "/desk/rooms", "", token...), 401, "sign-in")
	again := st.token()
	st.want(st.do("POST", "/desk/sign-out/everywhere", "{}", again...), 204)
	st.want(st.do("GET", "/desk/rooms", "", again...), 401, "sign-in")
}

// TestTokenHasNoAge: a computer that was off for a year is signed in still.
func TestTokenHasNoAge(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	began := time.Now()
	for device, want := range map[string]error{"": errNoSession, "notebook": nil} {
		sealed := st.server.sealSession(session{
			chat.Session{Login: "host@mall.example", ID: newClaim(), Began: began, Device: device}, began})
		if _, err := st.server.openSession(sealed, began.AddDate(1, 0, 0)); err != want {
			t.Errorf("device %q after a year: %v, want %v", device, err, want)
		}
	}
}
