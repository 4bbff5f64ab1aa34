// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/work"
	"github.com/chmail/chmail/web/mailclient"
)

func (f *fakeRelay) Programs(_ context.Context, login string) ([]chat.Program, error) {
	return []chat.Program{{ID: "P1", Name: "notebook", Addr: "192.0.2.1", Made: time.Now()}}, nil
}

func (f *fakeRelay) UseCode(_ context.Context, id string, _ time.Time) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used == nil {
		f.used = map[string]bool{}
	}
	again := f.used[id]
	f.used[id] = true
	return !again, nil
}

func (f *fakeRelay) ReturnCode(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.used, id)
	return nil
}

// registering is a site where people make logins, which are in made.
func registering(t testing.TB, invited bool, made map[string]string) *site {
	return newSite(t, func(o *Options) {
		o.Registration = &Registration{Domain: "mall.example", Invited: invited,
			Create: func(_ context.Context, login, password string) error {
				if made[login] != "" {
					return ErrTaken
				}
				made[login] = password
				return nil
			}}
		o.MailPrograms = &MailPrograms{Host: "mail.mall.example", Servers: func() []mailclient.Server {
			return []mailclient.Server{{Protocol: "smtp", Port: 465, TLS: true}, {Protocol: "imap", Port: 993, TLS: true}}
		}, Domain: func(string) bool { return true }}
	})
}

func filled(name, password string, more ...string) string {
	v := url.Values{"name": {name}, "password": {password}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

func (st *site) register(name, password string, more ...string) reply {
	st.t.Helper()
	return st.do("POST", "/register", filled(name, password, more...),
		"Content-Type", "application/x-www-form-urlencoded")
}

// problem is what the form says.
var problem = regexp.MustCompile(`id="register-problem">([^<]*)<`)

func (st *site) refused(r reply, status int, words string) {
	st.t.Helper()
	found := problem.FindStringSubmatch(r.body)
	if r.StatusCode != status || found == nil || !strings.Contains(html.UnescapeString(found[1]), words) {
		st.t.Errorf("status %d, %q; want %d, %q", r.StatusCode, found, status, words)
	}
}

var setupLink = regexp.MustCompile(`chmail login (http://localhost:8080/setup#([A-Za-z0-9_-]+))<`)

// TestRegister: somebody makes a login, and sets a computer up with the link of the page.
func TestRegister(t *testing.T) {
	t.Parallel()
	made := map[string]string{}
	st := registering(t, false, made)
	if r := st.do("GET", "/download", ""); r.StatusCode != 200 || !strings.Contains(r.body, "@mall.example</span>") ||
		strings.Contains(r.body, "<script") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	st.refused(st.register("-new", "long enough"), 400, "begins and ends")
	st.refused(st.register("a..b", "long enough"), 400, "begins and ends")
	st.refused(st.register("new@elsewhere.example", "long enough"), 400, "begins and ends")
	st.refused(st.register("new", "short"), 400, "8 characters")
	for _, name := range []string{"postmaster", "Abuse", "no-reply"} {
		st.refused(st.register(name, "long enough"), 409, "taken")
	}
	if len(made) != 0 {
		t.Fatalf("made %v", made)
	}
	// A person who types the whole address means the same.
	r := st.register(" New@mall.example", "long enough")
	st.want(r, 200)
	if made["new@mall.example"] != "long enough" {
		t.Fatalf("made %v", made)
	}
	for _, words := range []string{"new@mall.example</bdi> is yours", "mail.mall.example", "993", `class="qr"`} {
		if !strings.Contains(r.body, words) {
			t.Errorf("no %q in %s", words, r.body)
		}
	}
	st.refused(st.register("new", "long enough too"), 409, "taken")
	if r := st.do("GET", "/desk/me", ""); !strings.Contains(r.body, `"login":"new@mall.example"`) {
		t.Errorf("the browser is not signed in: %s", r.body)
	}

	code := setupLink.FindStringSubmatch(r.body)
	if code == nil {
		t.Fatalf("no link in %s", r.body)
	}
	trade := func(code string) reply {
		return st.do("POST", "/desk/token", fmt.Sprintf(`{"code":%q,"device":"notebook"}`, code))
	}
	st.want(trade(code[2]+"x"), 403, "code")
	r = trade(code[2])
	st.want(r, 201)
	var token struct{ Login, Token string }
	if err := json.Unmarshal([]byte(r.body), &token); err != nil || token.Login != "new@mall.example" {
		t.Fatal(r.body)
	}
	st.want(st.do("GET", "/desk/rooms", "", "Authorization", "Bearer "+token.Token), 200)
	st.want(trade(code[2]), 403, "code") // once
	// The page gives one as often as it is loaded; to browsers, not to a program.
	page := st.do("GET", "/setup", "")
	again := setupLink.FindStringSubmatch(page.body)
	if again == nil || again[2] == code[2] || page.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%v %s", page.Header, page.body)
	}
	st.browser = newBrowser(t)
	if r := st.do("GET", "/setup", "", "Authorization", "Bearer "+token.Token); r.StatusCode != 401 {
		t.Errorf("a program gets a link: %s", r.body)
	}
	st.want(st.do("GET", "/setup", ""), 401)
	if err := st.relay.SignOut(t.Context(), "new@mall.example"); err != nil {
		t.Fatal(err)
	}
	st.want(trade(again[2]), 403, "code") // signed out everywhere
}

// TestSetupCode: a code ends, and is for its purpose alone.
func TestSetupCode(t *testing.T) {
	t.Parallel()
	st := registering(t, false, map[string]string{})
	now := time.Now()
	text := newCode(st.server.keys.setup, "a@mall.example", now.Add(time.Minute))
	if c, ok := openCode(st.server.keys.setup, text, now); !ok || c.Login != "a@mall.example" || c.ID == "" {
		t.Errorf("%+v %v", c, ok)
	}
	if _, ok := openCode(st.server.keys.setup, text, now.Add(time.Minute)); ok {
		t.Error("it does not end")
	}
	if _, ok := openCode(st.server.keys.invite, text, now); ok {
		t.Error("a setup code invites")
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 60), text[:40]} {
		if _, ok := openCode(st.server.keys.setup, bad, now); ok {
			t.Errorf("%q is a code", bad)
		}
	}
}

// TestInvitation: an invitation is good once, and stays good when it came to nothing.
func TestInvitation(t *testing.T) {
	t.Parallel()
	made := map[string]string{"there@mall.example": "x"}
	st := registering(t, true, made)
	link, err := st.server.Invite(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(link)
	if err != nil || u.Path != "/download" {
		t.Fatal(link)
	}
	code := u.Query().Get("invitation")
	if r := st.do("GET", "/download?"+u.RawQuery, ""); !strings.Contains(r.body, `value="`+code+`"`) {
		t.Errorf("the form has no invitation: %s", r.body)
	}
	st.refused(st.register("new", "long enough"), 403, "invitation")
	st.refused(st.register("new", "long enough", "invitation", "nonsense"), 403, "invitation")
	st.refused(st.register("new", "long enough", "invitation", st.server.setupCode("")), 403, "invitation")
	st.refused(st.register("there", "long enough", "invitation", code), 409, "taken")
	st.want(st.register("new", "long enough", "invitation", code), 200)
	st.refused(st.register("other", "long enough", "invitation", code), 403, "invitation")
	if len(made) != 2 {
		t.Errorf("made %v", made)
	}
	if _, err := st.server.Invite(1000 * 24 * time.Hour); err == nil {
		t.Error("an invitation for years")
	}
	closed := newSite(t)
	closed.want(closed.register("new", "long enough"), 404)
	if _, err := closed.server.Invite(time.Hour); err == nil || !strings.Contains(err.Error(), "registration invite") {
		t.Error(err)
	}
}

// TestRegisterMany: who asks for many names has to work, and then to wait, whether the names
// are taken or not.
func TestRegisterMany(t *testing.T) {
	t.Parallel()
	st := registering(t, false, map[string]string{"taken@mall.example": "x"})
	task := regexp.MustCompile(`data-work="([^"]+)"`)
	post := func(name string, more ...string) *httptest.ResponseRecorder {
		r := httptestPost("/register", []byte(filled(name, "long enough", more...)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return serve(st.server, r)
	}
	for i := range 11 {
		if w := post("taken"); w.Code != 409 {
			t.Fatalf("try %d: %d", i, w.Code)
		}
	}
	page := serve(st.server, httptestGet("/download")).Body.String()
	found := task.FindStringSubmatch(page)
	if found == nil || !strings.Contains(page, `data-page="register"`) {
		t.Fatalf("no work, or nobody to do it: %s", page)
	}
	if w := post("taken"); w.Code != 429 || !strings.Contains(w.Body.String(), "Without JavaScript") {
		t.Fatalf("without work: %d", w.Code)
	}
	answer := work.Solve(found[1])
	if w := post("taken", "work", answer); w.Code != 409 {
		t.Fatalf("with work: %d", w.Code)
	}
	if w := post("taken", "work", answer); w.Code != 429 {
		t.Fatalf("with the same work again: %d", w.Code)
	}
	st.server.limits.register = bucket(0.001, 1)
	post("taken") // the last
	found = task.FindStringSubmatch(serve(st.server, httptestGet("/download")).Body.String())
	if w := post("fresh", "work", work.Solve(found[1])); w.Code != 429 || w.Header().Get("Retry-After") == "" ||
		!strings.Contains(w.Body.String(), "Too many logins") {
		t.Fatalf("beyond the limit: %d %s", w.Code, w.Body)
	}
}

// TestPrograms: a desk lists the computers of its login, and signs one out.
func TestPrograms(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.want(st.do("GET", "/desk/programs", ""), 401, "sign-in")
	st.signIn()
	if r := st.do("GET", "/desk/programs", ""); r.StatusCode != 200 || !strings.Contains(r.body, `"name":"notebook"`) {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	st.want(st.do("DELETE", "/desk/programs", `{"id":"P2"}`, "Content-Type", "application/json"), 404, "unknown")
	st.want(st.do("DELETE", "/desk/programs", `{"id":"P1"}`, "Content-Type", "application/json"), 204)
	if !st.relay.ended["P1"] {
		t.Error("its session goes on")
	}
}

// TestDownload: the files of make dist, that for the visitor's system first, and nothing
// else of the folder.
func TestDownload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var sums strings.Builder
	for _, name := range []string{"chmail-1.2.0-linux-amd64", "chmail-1.2.0-windows-amd64.exe",
		"chmail-1.2.0-darwin-arm64", "chmail_1.2.0_amd64.deb", "chmail-1.2.0-1.x86_64.rpm",
		"chmaild-1.2.0-linux-amd64", "chmail-1.2.0-linux-arm64"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("program "+name), 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&sums, "%064x  %s\n", len(name), name)
	}
	fmt.Fprintf(&sums, "%064x  ../../secret\n", 1)
	for name, text := range map[string]string{
		sumsFile: sums.String(), signatureFile: "signature", keyFile: "key", "secret": "s"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	st := newSite(t, func(o *Options) { o.Downloads = dir })
	for agent, first := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)":       "chmail-1.2.0-windows-amd64.exe",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)": "chmail-1.2.0-darwin-arm64",
		"Mozilla/5.0 (X11; Linux x86_64; rv:130.0)":       "chmail-1.2.0-linux-amd64",
		"Mozilla/5.0 (X11; Linux aarch64) Chrome/130.0 x": "chmail-1.2.0-linux-arm64",
	} {
		r := st.do("GET", "/download", "", "User-Agent", agent)
		found := regexp.MustCompile(`href="/download/([^"]+)"`).FindStringSubmatch(r.body)
		if found == nil || found[1] != first {
			t.Errorf("%s: first is %v", agent, found)
		}
		if strings.Contains(r.body, "chmaild-") || !strings.Contains(r.body, "chmail_1.2.0_amd64.deb") ||
			!strings.Contains(r.body, "SHA256SUMS.minisig") ||
			!strings.Contains(r.body, "administrator of this server makes") {
			t.Errorf("%s", r.body)
		}
	}
	for path, want := range map[string]string{"chmail-1.2.0-linux-amd64": "program chmail-1.2.0-linux-amd64",
		sumsFile: sums.String(), signatureFile: "signature", keyFile: "key"} {
		if r := st.do("GET", "/download/"+path, ""); r.StatusCode != 200 || r.body != want {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	for _, path := range []string{"secret", "..%2F..%2Fsecret", "%2e%2e/secret", "none"} {
		if r := st.do("GET", "/download/"+path, ""); r.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	bare := newSite(t)
	if r := bare.do("GET", "/download", ""); r.StatusCode != 200 || !strings.Contains(r.body, "offers no program") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := bare.do("GET", "/download/"+keyFile, ""); r.StatusCode != 404 {
		t.Error(r.StatusCode)
	}
}
