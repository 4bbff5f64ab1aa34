// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

// fakePreferences keeps one login's settings, and checks them as the store does.
type fakePreferences struct {
	mu    sync.Mutex
	set   chat.Settings
	asked []string // what else was asked for
	key   string
}

func (f *fakePreferences) Settings(_ context.Context, login string) (chatrelay.Desk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return chatrelay.Desk{Login: login, Settings: f.set, Blocked: []chat.Block{}}, nil
}

func (f *fakePreferences) ChangeSettings(
	ctx context.Context, login string, change func(*chat.Settings) error,
) (chatrelay.Desk, error) {
	f.mu.Lock()
	set := f.set
	f.mu.Unlock()
	if err := change(&set); err != nil {
		return chatrelay.Desk{}, fmt.Errorf("changing settings: %w", err)
	}
	if err := set.Check(time.Now()); err != nil {
		return chatrelay.Desk{}, fmt.Errorf("changing settings: %w", err)
	}
	f.mu.Lock()
	f.set = set
	f.mu.Unlock()
	return f.Settings(ctx, login)
}

func (f *fakePreferences) ChangeGroupReplies(_ context.Context, login, group string, replies []chat.Canned) error {
	if group != "sales@mall.example" {
		return chat.ErrUnknown
	}
	return f.ask("replies", login, group, replies)
}

func (f *fakePreferences) PushKey() (string, error) {
	if f.key == "" {
		return "", notify.ErrNoPush
	}
	return f.key, nil
}

func (f *fakePreferences) ask(what string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what+" "+strings.TrimSpace(fmt.Sprintln(args...)))
	return nil
}

func (f *fakePreferences) Subscribe(_ context.Context, login string, sub notify.Subscription) error {
	if err := sub.Check(); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return f.ask("subscribe", login, sub.Endpoint, sub.Name, sub.Lang)
}

func (f *fakePreferences) Unsubscribe(_ context.Context, login, endpoint string) error {
	return f.ask("unsubscribe", login, endpoint)
}

func (f *fakePreferences) Shown(_ context.Context, login, browser string) error {
	return f.ask("shown", login, browser)
}

func (f *fakePreferences) TryPush(_ context.Context, login, browser string) error {
	if browser == "gone" {
		return fmt.Errorf("looking for a browser: %w", notify.ErrSubscription)
	}
	return f.ask("try", login, browser)
}

func (f *fakePreferences) Block(_ context.Context, login, roomID string, participant int64, on bool) error {
	switch {
	case participant == 99:
		return chat.ErrUnknown
	case participant == 98:
		return chat.ErrFull
	}
	return f.ask("block", login, roomID, participant, on)
}

func (f *fakePreferences) Unblock(_ context.Context, login, who string) error {
	return f.ask("unblock", login, who)
}

func (f *fakePreferences) Mute(_ context.Context, login, roomID string, on bool) error {
	return f.ask("mute", login, roomID, on)
}

func (f *fakePreferences) RevokeLinks(_ context.Context, login, roomID string, participant int64) (int64, error) {
	return 2, f.ask("revoke", login, roomID, participant)
}

func (f *fakePreferences) Remove(_ context.Context, login, roomID string, participant int64) error {
	if participant == 97 {
		return fmt.Errorf("putting somebody out: %w", chat.ErrForbidden)
	}
	return f.ask("remove", login, roomID, participant)
}

func (st *site) json(method, path, body string) reply {
	st.t.Helper()
	return st.do(method, path, body, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	prefs := &fakePreferences{set: chat.DefaultSettings()}
	st := newSite(t, func(o *Options) { o.Relay.(*fakeRelay).Preferences = prefs })
	for method, path := range map[string]string{"GET": "/desk/settings",
		"PUT": "/desk/settings", "DELETE": "/desk/push"} {
		st.want(st.json(method, path, "{}"), 401, "sign-in")
	}
	st.signIn()
	st.want(st.do("PUT", "/desk/settings", "{}", "Content-Type", "application/json",
		"Sec-Fetch-Site", "cross-site"), 403, "origin")
	st.want(st.do("PUT", "/desk/settings", "{}", "Content-Type", "text/plain", "Sec-Fetch-Site",
		"same-origin"), 415, "media-type")
	r := st.json("PUT", "/desk/settings",
		`{"availability":"dnd","until":"2027-01-01T00:00:00Z","quiet":{"from":"22:00","to":"07:00","days":[1]},`+
			`"zone":"Asia/Seoul","canned":[{"title":"Hi","text":"Hello"}]}`)
	st.want(r, 200)
	var d struct {
		Login, Availability, Zone string
		Until                     *string
		Quiet                     *chat.Quiet
		Canned                    []chat.Canned
		Push, Stamp               bool
		Blocked                   []chat.Block
	}
	read := func(r reply) {
		t.Helper()
		st.want(r, 200)
		d.Until, d.Quiet, d.Canned = nil, nil, nil
		if err := json.Unmarshal([]byte(r.body), &d); err != nil {
			t.Fatal(r.body, err)
		}
	}
	if read(r); d.Login != "host@mall.example" || d.Until == nil || !d.Push || !d.Stamp ||
		d.Blocked == nil || len(d.Canned) != 1 {
		t.Fatalf("settings %s", r.body)
	}
	// What is not named stays; what is named is new as a whole.
	if read(st.json("PUT", "/desk/settings", `{"availability":"available","quiet":{"from":"12:00",`+
		`"to":"13:00"}}`)); d.Until != nil || len(d.Quiet.Days) != 0 || d.Zone != "Asia/Seoul" {
		t.Fatalf("settings %+v", d)
	}
	if read(st.json("PUT", "/desk/settings", `{"quiet":null,"stamp":false,"canned":[]}`)); d.Quiet != nil ||
		d.Stamp || len(d.Canned) != 0 {
		t.Fatalf("settings %+v", d)
	}
	for body, field := range map[string]string{`{"availability":"quiet"}`: "availability",
		`{"chats":"many"}`: "chats", `{"until":"soon"}`: "until",
		`{"zone":"Mars/Olympus"}`: "zone", `{"canned":[{"text":""}]}`: "canned",
		`{"quiet":{"from":"25:00","to":"1:00"}}`: "quiet"} {
		r := st.json("PUT", "/desk/settings", body)
		st.want(r, 400, "setting")
		var e struct{ Field string }
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Field != field {
			t.Errorf("%s: %s", body, r.body)
		}
	}
	st.want(st.json("PUT", "/desk/settings", `[]`), 400, "bad-request")
	st.want(st.json("PUT", "/desk/settings", `{"zone":"`+strings.Repeat("x", maxSettings)+`"}`), 413, "too-large")
	text, err := json.Marshal(map[string]any{"canned": func() (list []chat.Canned) {
		for range 50 {
			list = append(list, chat.Canned{Title: strings.Repeat("t", 100), Text: strings.Repeat("안", 666)})
		}
		return list
	}()})
	if err != nil {
		t.Fatal(err)
	}
	st.want(st.json("PUT", "/desk/settings", string(text)), 200)
}

func TestPushBlockMute(t *testing.T) {
	t.Parallel()
	prefs := &fakePreferences{set: chat.DefaultSettings()}
	st := newSite(t, func(o *Options) { o.Relay.(*fakeRelay).Preferences = prefs })
	st.signIn()
	st.want(st.do("GET", "/desk/push/key", ""), 404, "no-push")
	prefs.key = "BKey"
	if r := st.do("GET", "/desk/push/key", ""); r.StatusCode != 200 || !strings.Contains(r.body, `"key":"BKey"`) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	good := `{"endpoint":"https://push.example/x","expirationTime":null,` +
		`"keys":{"p256dh":"BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM",` +
		`"auth":"tBHItJI5svbpez7KI4CCXg"}}`
	st.want(st.do("POST", "/desk/push", good, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin",
		"User-Agent", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"+
			" Mobile Safari/537.36", "Accept-Language", "ko"), 204)
	st.want(st.json("POST", "/desk/push", strings.Replace(good, "https", "http", 1)), 400, "subscription")
	st.want(st.json("DELETE", "/desk/push", `{"endpoint":"https://push.example/x"}`), 204)
	st.want(st.json("DELETE", "/desk/push", `{"id":"b1"}`), 204)
	st.want(st.json("POST", "/desk/push/shown", `{"endpoint":"https://push.example/x"}`), 204)
	st.want(st.json("POST", "/desk/push/test", `{"id":"b1"}`), 204)
	st.want(st.json("POST", "/desk/push/test", `{"id":"gone"}`), 400, "subscription")
	st.want(st.json("POST", "/desk/push/test", `{"id":"b1"}`), 204)
	st.want(st.json("POST", "/desk/push/test", `{"id":"b1"}`), 429, "too-often")
	st.want(st.json("POST", "/desk/block", `{"room":"R1","participant":7,"on":true}`), 204)
	st.want(st.json("POST", "/desk/block", `{"room":"R1","participant":99,"on":true}`), 404, "unknown")
	st.want(st.json("POST", "/desk/block", `{"room":"R1","participant":98,"on":true}`), 409, "full")
	st.want(st.json("POST", "/desk/block", `{"who":"kim@far.example","on":false}`), 204)
	st.want(st.json("POST", "/desk/block", `{"who":"kim@far.example","on":true}`), 400, "block")
	st.want(st.json("POST", "/desk/block", `{}`), 400, "block")
	st.want(st.json("POST", "/desk/mute", `{"room":"R1","on":true}`), 204)
	if r := st.json("POST", "/desk/revoke", `{"room":"R1"}`); r.StatusCode != 200 || r.body != "{\"revoked\":2}\n" {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	st.want(st.json("POST", "/desk/remove", `{"room":"R1","participant":7}`), 204)
	st.want(st.json("POST", "/desk/remove", `{"room":"R1","participant":97}`), 403, "forbidden")
	st.want(st.json("PUT", "/desk/groups/sales@mall.example/canned", `{"canned":[{"title":"Hi","text":"Hello"}]}`), 204)
	st.want(st.json("PUT", "/desk/groups/press@mall.example/canned", `{"canned":[]}`), 404, "unknown")
	want := []string{"subscribe host@mall.example https://push.example/x Chrome, Android ko",
		"unsubscribe host@mall.example https://push.example/x", "unsubscribe host@mall.example b1",
		"shown host@mall.example https://push.example/x", "try host@mall.example b1", "try host@mall.example b1",
		"block host@mall.example R1 7 true", "unblock host@mall.example kim@far.example",
		"mute host@mall.example R1 true", "revoke host@mall.example R1 0", "remove host@mall.example R1 7",
		"replies host@mall.example sales@mall.example [{Hi Hello}]"}
	if got := strings.Join(prefs.asked, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("asked for\n%s", got)
	}
	limited := false
	for range 40 {
		limited = limited || st.json("POST", "/desk/mute", `{"room":"R1","on":true}`).StatusCode == 429
	}
	if !limited {
		t.Error("changes without a limit")
	}
}

func TestBrowserName(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)" +
			" Version/18.4 Mobile/15E148 Safari/604.1": "Safari, iPhone",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0" +
			" Safari/537.36 Edg/140.0.0.0": "Edge, Windows",
		"Mozilla/5.0 (Linux; Android 15; SM-S918N) AppleWebKit/537.36 (KHTML, like Gecko)" +
			" SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet, Android",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox, Linux",
		"curl/8": "", "": "",
	} {
		if got := browserName(agent); got != want {
			t.Errorf("%s: %q, want %q", agent, got, want)
		}
	}
}
