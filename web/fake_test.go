// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/presence"
)

// The links of the fake relay.
const (
	linkGood    = "AAAAAAAAAAAAAAAAAAAAAA"
	linkExpired = "BBBBBBBBBBBBBBBBBBBBBA"
	linkRevoked = "CCCCCCCCCCCCCCCCCCCCCA"
	linkBroken  = "DDDDDDDDDDDDDDDDDDDDDA"
	linkUnknown = "EEEEEEEEEEEEEEEEEEEEEA"
)

// fakeRelay has one link of each kind and counts what it is asked. Its
// sessions end as in the store.
type fakeRelay struct {
	Preferences // nil unless a test needs them
	Team
	Conversations
	mu      sync.Mutex
	out     map[string]time.Time // when a login was signed out
	ended   map[string]bool      // session IDs
	used    map[string]bool      // codes
	down    error                // what SignedIn answers instead
	calls   map[string]int
	holder  string // claim that holds linkGood
	lost    bool   // it was proven to be another browser's
	card    func(*chatrelay.Card)
	how     chatrelay.Claim // the last
	refuses error           // what Chat answers instead
	device  presence.Device
	session chat.Session
	subject string
	peer    chat.Relay
	rooms   []chat.Summary
	asked   chat.RoomQuery
}

func (f *fakeRelay) called(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = make(map[string]int)
	}
	f.calls[what]++
}

func (f *fakeRelay) others(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, count := range f.calls {
		if name != what {
			n += count
		}
	}
	return n
}

func (f *fakeRelay) Card(_ context.Context, token string) (chatrelay.Card, error) {
	f.called("Card")
	card := chatrelay.Card{
		Invite: chat.Invite{
			Room: "R1", Subject: f.subject, Date: time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC),
			Recipient: chat.Participant{ID: 3, Person: chat.Person{Addr: "customer@mall.example", Name: "Jae"}},
			Callee: chat.Participant{ID: 1, Person: chat.Person{Login: "host@mall.example",
				Addr: "host@mall.example", Name: "Mina <3"}},
		},
		Status: frame.Status{State: frame.Available},
	}
	if f.card != nil {
		f.card(&card)
	}
	switch token {
	case linkGood:
		return card, nil
	case linkExpired:
		return card, chat.ErrExpired
	case linkRevoked:
		return card, chat.ErrRevoked
	case linkBroken:
		return chatrelay.Card{}, errors.New("the database is gone")
	}
	return chatrelay.Card{}, chat.ErrUnknown
}

func (f *fakeRelay) Chat(ctx context.Context, token, claim string, how chatrelay.Claim) (chatrelay.Entry, error) {
	f.called("Chat")
	if _, err := f.Card(ctx, token); err != nil {
		return chatrelay.Entry{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how = how
	switch {
	case f.refuses != nil:
		return chatrelay.Entry{}, f.refuses
	case how.Code != "" && how.Code != "123456":
		return chatrelay.Entry{}, chat.ErrCode
	case how.Code == "" && how.Guest == "" && f.holder != "" && f.holder != claim:
		return chatrelay.Entry{}, chat.ErrClaimed
	case f.holder == "":
		f.holder = claim
	}
	e := chatrelay.Entry{Ticket: "T " + how.Guest, Room: "R1", Me: 3}
	if how.Ring && how.From.IsLoopback() {
		e.Attempt = "A1"
	}
	return e, nil
}

func (f *fakeRelay) Ticket(_ context.Context, _, claim string) (chatrelay.Entry, error) {
	f.called("Ticket")
	f.mu.Lock()
	defer f.mu.Unlock()
	if claim != f.holder || f.lost {
		return chatrelay.Entry{}, chat.ErrUnknown
	}
	return chatrelay.Entry{Ticket: "T2", Room: "R1", Me: 3}, nil
}

func (f *fakeRelay) SendCode(context.Context, string) (string, error) {
	f.called("SendCode")
	return "c…@mall.example", nil
}

func (f *fakeRelay) SignedIn(_ context.Context, session chat.Session) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return session.Began.After(f.out[session.Login]) && !f.ended[session.ID], f.down
}

func (f *fakeRelay) SignOut(_ context.Context, login string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = map[string]time.Time{login: time.Now()}
	return nil
}

func (f *fakeRelay) EndSession(_ context.Context, session chat.Session, expires time.Time) error {
	left := time.Until(expires)
	if token := left > 10*sessionLife; token != (session.Device != "") ||
		!token && (left < sessionIdle-time.Minute || left > sessionLife) {
		return fmt.Errorf("the end of a session is remembered for %v", left)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = map[string]bool{session.ID: true}
	return nil
}

func (f *fakeRelay) Enter(_ context.Context, session chat.Session, roomID string) (chatrelay.Entry, error) {
	f.called("Enter")
	if session.Login != "host@mall.example" || roomID != "R1" {
		return chatrelay.Entry{}, chat.ErrUnknown
	}
	return chatrelay.Entry{Ticket: "T3", Room: roomID, Me: 1}, nil
}

func (f *fakeRelay) Rooms(_ context.Context, _ string, q chat.RoomQuery) ([]chat.Summary, error) {
	f.called("Rooms")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = q
	return f.rooms, nil
}

func (f *fakeRelay) ServeRoom(ctx context.Context, c carrier.Conn) {
	f.called("ServeRoom")
	echo(ctx, c)
}

func (f *fakeRelay) ServeDevice(ctx context.Context, session chat.Session, d presence.Device, c carrier.Conn) {
	f.called("ServeDevice")
	f.mu.Lock()
	f.device, f.session = d, session
	f.mu.Unlock()
	echo(ctx, c)
}

func echo(ctx context.Context, c carrier.Conn) {
	for {
		b, err := c.Read(ctx)
		if err != nil || c.Write(ctx, b) != nil {
			return
		}
	}
}

// fakePresence remembers what was renewed.
type fakePresence struct {
	mu   sync.Mutex
	seen []presence.Address
}

func (p *fakePresence) Renew(_ context.Context, a presence.Address) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, a)
	return nil
}

var testAssets = fstest.MapFS{
	"card.css":                    {Data: []byte("body{}")},
	"app.css":                     {Data: []byte("main{}")},
	"static/favicon.svg":          {Data: []byte("<svg xmlns='http://www.w3.org/2000/svg'/>")},
	"static/manifest.webmanifest": {Data: []byte("{}")},
}

func init() {
	for _, page := range append(slices.Clone(scripts), "sw") {
		for _, lang := range words.Languages {
			words := strings.Repeat("'"+page+" in "+lang+"',", 100)
			testAssets[page+"."+lang+".js"] = &fstest.MapFile{Data: []byte("const words=[" + words + "]")}
		}
	}
}

// site is a server under test and a browser that looks at it.
type site struct {
	t        testing.TB
	server   *Server
	relay    *fakeRelay
	presence *fakePresence
	url      string
	browser  *http.Client
}

func testOptions(relay Relay) Options {
	return Options{
		Base: &url.URL{Scheme: "http", Host: "localhost:8080"}, Relay: relay, Key: bytes.Repeat([]byte{7}, 32),
		RelayHosts: []string{"relay.example"}, Assets: testAssets, Guests: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		SignIns:        signin.New(signin.Options{Accounts: hostOnly{}, First: firstRefusal}),
	}
}

const firstRefusal = 500 * time.Millisecond

// hostOnly is the account of the host.
type hostOnly struct{}

func (hostOnly) Verify(_ context.Context, login, password string) error {
	if login == "host@mall.example" && password == "right" {
		return nil
	}
	return signin.ErrWrong
}

func newSite(t testing.TB, change ...func(*Options)) *site {
	t.Helper()
	st := &site{t: t, relay: &fakeRelay{subject: "Your order"}, presence: &fakePresence{}}
	opts := testOptions(st.relay)
	opts.Presence = st.presence
	for _, c := range change {
		c(&opts)
	}
	var err error
	if st.server, err = New(opts); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(st.server)
	t.Cleanup(ts.Close)
	st.url, st.browser = ts.URL, newBrowser(t)
	return st
}

func newBrowser(t testing.TB) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport}
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body string
}

func (st *site) do(method, path, body string, header ...string) reply {
	st.t.Helper()
	req, err := http.NewRequest(method, st.url+path, strings.NewReader(body))
	if err != nil {
		st.t.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	res, err := st.browser.Do(req)
	if err != nil {
		st.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		st.t.Fatal(err)
	}
	return reply{res, string(b)}
}

// want fails unless the answer has this status and, if given, error code.
func (st *site) want(r reply, status int, code ...string) {
	st.t.Helper()
	if r.StatusCode != status {
		st.t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, r.body)
	}
	if len(code) > 0 {
		var e refusal
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Error != code[0] || e.Text == "" {
			st.t.Fatalf("%s %s: body %s, want error %q", r.Request.Method, r.Request.URL.Path, r.body, code[0])
		}
	}
}

var pageJSON = regexp.MustCompile(`(?s)<script type="application/json" id="page">(.*?)</script>`)

// data reads a page's data as a browser does.
func (st *site) data(r reply, into any) {
	st.t.Helper()
	found := pageJSON.FindStringSubmatch(r.body)
	if found == nil {
		st.t.Fatalf("no page data in %s", r.body)
	}
	if err := json.Unmarshal([]byte(found[1]), into); err != nil {
		st.t.Fatalf("page data %s: %v", found[1], err)
	}
}

func (st *site) page(token string) (d chatData) {
	st.t.Helper()
	r := st.do("GET", "/c/"+token, "")
	st.want(r, 200)
	st.data(r, &d)
	return d
}

func (st *site) signIn() {
	st.t.Helper()
	st.want(st.do("POST", "/desk/sign-in", `{"login":"Host@mall.example","password":"right"}`), 204)
}

func pathEscape(token string) string {
	return strings.NewReplacer(".", "%2E").Replace(url.PathEscape(token))
}

func httptestGet(path string) *http.Request { return httptest.NewRequest("GET", path, nil) }

func httptestPost(path string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (f *fakeRelay) StopUnread(_ context.Context, token string, stop bool) error {
	if token != linkGood && token != linkExpired {
		return chat.ErrUnknown
	}
	f.called(fmt.Sprint("StopUnread ", stop))
	return nil
}

func (f *fakeRelay) After(_ context.Context, token, _ string, wish chatrelay.Afterwards) error {
	if token != linkGood {
		return chat.ErrUnknown
	}
	f.called(fmt.Sprintf("After %+v", wish))
	return nil
}

func (f *fakeRelay) Secret(purpose string) ([]byte, error) {
	return seal.Derive(bytes.Repeat([]byte{9}, 32), purpose)
}

func (f *fakeRelay) Gone(ticket string) { f.called("gone " + ticket) }

func (f *fakeRelay) OwnOrigin(origin string) bool { return origin == f.peer.Origin }

func (f *fakeRelay) Peers() []chat.Relay { return []chat.Relay{f.peer} }
func (f *fakeRelay) Direct() bool        { return false }

func (f *fakeRelay) AddressProof(string, netip.Addr) string { return "" }

func bucket(every rate.Limit, burst int) *limit.Buckets {
	return limit.NewBuckets(limit.Rate{Every: every, Burst: burst}, maxTracked)
}
