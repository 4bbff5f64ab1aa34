// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/advert"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/publicity"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// fakeRelay has everybody there. What it does not say stops the test.
type fakeRelay struct {
	mall.Relay
	changed *sync.Map // login → when its password was changed
	written *[]chatrelay.Writing
	groups  *map[string][]string
	rooms   *[]string // that talks are in, one after the other
	hours   *map[string]chatrelay.Hours
	now     func() time.Time
}

func (f fakeRelay) Talk(context.Context, chat.Mail) (room, token string, err error) {
	return (*f.rooms)[0], "a-token", nil
}

func (f fakeRelay) LinkInto(context.Context, string, string) (string, error) {
	return "", chat.ErrUnknown
}

func (f fakeRelay) SetGroups(_ context.Context, _ string, groups map[string][]string) error {
	*f.groups = groups
	return nil
}

func (f fakeRelay) SetGroupHours(hours map[string]chatrelay.Hours) { *f.hours = hours }

func (f fakeRelay) Write(_ context.Context, _ string, w chatrelay.Writing) (string, error) {
	*f.written = append(*f.written, w)
	return "a-room", nil
}

func (f fakeRelay) SignedIn(_ context.Context, s chat.Session) (bool, error) {
	at, ok := f.changed.Load(s.Login)
	return !ok || s.Began.After(at.(time.Time)), nil
}

func (fakeRelay) OnEvent(func(chatrelay.Event)) {}

func (fakeRelay) EndSession(context.Context, chat.Session, time.Time) error { return nil }

func (f fakeRelay) Status(_ context.Context, group string) frame.Status {
	if h := (*f.hours)[group]; h != nil {
		if open, changes := h.At(f.now()); !open {
			return frame.Status{State: frame.Closed, Until: &changes}
		}
	}
	return frame.Status{State: frame.Available}
}
func (fakeRelay) Secret(string) ([]byte, error) { return make([]byte, 32), nil }

// fakeAccounts are accounts in memory: login → hash of the password.
type fakeAccounts struct {
	mu  sync.Mutex
	all map[string]string
}

func (a *fakeAccounts) Exists(_ context.Context, login string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[login] != "", nil
}

func (a *fakeAccounts) Create(_ context.Context, login, hash string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[login] != "" {
		return mall.ErrAccountTaken
	}
	a.all[login] = hash
	return nil
}

func (a *fakeAccounts) SetPassword(_ context.Context, login, given string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[login] = password.Hash(given)
	return nil
}

func (a *fakeAccounts) Remove(_ context.Context, login string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.all, login)
	return nil
}

func (a *fakeAccounts) Verify(_ context.Context, login, pass string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if password.Verify(a.all[login], pass) != nil {
		return signin.ErrWrong
	}
	return nil
}

// operatorLogin runs the mall.
const operatorLogin = "boss@mall.example"

// town is a mall that runs, with one shop of two goods.
type town struct {
	testing.TB
	dir      string // of its state
	mall     *mall.Mall
	site     *Server
	store    *store.Store
	server   *httptest.Server
	accounts *fakeAccounts
	goods    []store.Item
	mails    []chat.ServerMail
	changed  sync.Map // passwords
	written  []chatrelay.Writing
	groups   map[string][]string // that the relay rings
	rooms    []string            // that talks are in
	adverts  *advert.Adverts
	hours    map[string]chatrelay.Hours
	now      time.Time // of the relay
}

// newTown opens one; assets are instead of the embedded ones.
func newTown(t testing.TB, assets ...fs.FS) *town {
	t.Helper()
	dir := t.TempDir()
	c := &town{TB: t, dir: dir, accounts: &fakeAccounts{all: map[string]string{}}}
	var err error
	if c.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "mall.db"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.store.Close() })
	box, err := vault.Open(filepath.Join(dir, "mall.keys"))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{TrustedProxies: limit.Proxies{netip.MustParsePrefix("127.0.0.0/8")}}
	if len(assets) > 0 {
		opts.Assets = assets[0]
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	c.site, c.server = s, httptest.NewServer(s)
	t.Cleanup(c.server.Close)
	base, err := url.Parse(strings.Replace(c.server.URL, "127.0.0.1", "localhost", 1)) // an address has no passkeys
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := picture.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, err := mall.New(mall.Options{Name: "The mall", Pictures: pictures, Base: base,
		Chat:   &url.URL{Scheme: "http", Host: "chat.example"},
		Domain: "mall.example", Operator: []string{operatorLogin}, Store: c.store, Vault: box, Accounts: c.accounts,
		Relay: fakeRelay{changed: &c.changed, written: &c.written, groups: &c.groups, rooms: &c.rooms, hours: &c.hours,
			now: func() time.Time { return c.now }},
		SignIns: signin.New(signin.Options{Accounts: c.accounts, First: 1}),
		Submit:  func(context.Context, chat.Letter) error { return nil },
		Notify: func(_ context.Context, mail chat.ServerMail) error {
			c.mails = append(c.mails, mail)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	c.mall = m
	key, err := m.Key("publicity")
	if err != nil {
		t.Fatal(err)
	}
	p, err := publicity.New(publicity.Options{Store: c.store, Secret: key, Base: c.server.URL, Domain: "mall.example",
		Mall: "The mall", Money: Money, Mark: publicity.MarkFile(dir),
		Submit: func(context.Context, chat.Letter) error { return nil },
		Person: func(context.Context, store.Handing) (chat.Person, error) { return chat.Person{}, nil }})
	if err == nil {
		c.adverts, err = advert.New(c.store, c.mall.Relay().AnsweredIn, make([]byte, 32), nil, nil)
	}
	if err == nil {
		s.Publish(p)
		s.Advertise(c.adverts)
		err = s.Open(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	shop, err := c.store.AddShop(t.Context(), store.Shop{Slug: "lamps", Name: "Lamps", Addr: "lamps@mall.example",
		State: store.ShopOpen, Currency: "KRW"}, "host@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, title := range []string{"Hanok lamp", "<b>Desk</b> lamp"} {
		it, err := c.store.AddGoods(t.Context(), shop.ID, store.Item{Goods: store.Goods{SKU: title, Title: title,
			State: store.GoodsShown, Text: "**Warm** light <script>alert(1)</script>"},
			Variants: []store.Variant{{Price: 12000, Stock: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		c.goods = append(c.goods, it)
	}
	return c
}

// browser is one with cookies of its own.
type browser struct {
	*town
	client *http.Client
}

func (c *town) browser() browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.Fatal(err)
	}
	return browser{c, &http.Client{Jar: jar}}
}

func (b browser) get(path string, status int) string {
	b.Helper()
	return b.read(b.client.Get(b.server.URL + path))(status)
}

func (b browser) post(path string, status int, pairs ...string) string {
	b.Helper()
	return b.read(b.client.PostForm(b.server.URL+path, blank(pairs...).Values))(status)
}

func (b browser) read(r *http.Response, err error) func(status int) string {
	return func(status int) string {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != status {
			b.Fatalf("%s: %d instead of %d, %v: %s", r.Request.URL, r.StatusCode, status, err, body)
		}
		return string(body)
	}
}

func (b *town) has(page string, parts ...string) {
	b.Helper()
	for _, part := range parts {
		if !strings.Contains(page, part) {
			b.Errorf("%q is not in %s", part, page)
		}
	}
}

var confirmLink = regexp.MustCompile(`/confirm/[\w-]+`)

// elsewhere is what a page loads or posts to another server.
var elsewhere = regexp.MustCompile(`(?:src|srcset|action)="(?:https?:)?//[^"]*|<link[^>]+href="(?:https?:)?//[^"]*`)

// TestStrangers: strangers browse and search, what shops write does no harm, and pages
// are small and ask nobody else for anything.
func TestStrangers(t *testing.T) {
	t.Parallel()
	b := newTown(t).browser()
	front := b.get("/", 200)
	b.has(front, "Hanok lamp", "&lt;b&gt;Desk&lt;/b&gt; lamp", "₩12,000", `href="/register"`)
	b.has(b.get("/search?q=hano", 200), "Hanok lamp")
	if found := b.get("/search?q=chair", 200); strings.Contains(found, "Hanok") {
		t.Error("a search finds what it should not")
	}
	page := b.get("/goods/"+b.goods[0].ID, 200)
	b.has(page, "<strong>Warm</strong>", "Ask the shop", "Chat now", "Somebody is here now", "3 in stock")
	if strings.Contains(page, "alert(1)") && strings.Contains(page, "<script>alert") {
		t.Error("a script of a shop stands in the page")
	}
	b.get("/goods/none", 404)
	b.get("/shops/none", 404)
	b.has(b.get("/shops/lamps", 200), "Hanok lamp", `action="/shops/lamps/chat"`, `href="/shops/lamps/ask"`)
	for _, p := range []string{front, page} {
		if len(p) > 60<<10 {
			t.Errorf("%d octets", len(p))
		}
		if found := elsewhere.FindString(p); found != "" {
			t.Errorf("a page loads from elsewhere: %s", found)
		}
	}
}

// TestRegister: the address is confirmed by a press alone, once; what was typed before
// is still there; registering again tells nothing.
func TestRegister(t *testing.T) {
	t.Parallel()
	b := newTown(t).browser()
	toBasket := "/goods/" + b.goods[0].ID + "/basket"
	page := b.post(toBasket, 401, "variant", b.goods[0].Variants[0].ID, "quantity", "2")
	kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(page)[1]
	typed := []string{"name", "Jun", "email", "jun@far.example", "password", "a long password", "kept", kept,
		"publicity", "yes"}
	page = b.post("/register", 422, "name", "Jun", "email", "nowhere", "password", "short")
	b.has(page, `value="Jun"`, `value="nowhere"`, "not an e-mail address", "At least 8 characters")
	for name, status := range map[string]int{"\u202e\u200b": 422, strings.Repeat("가", 81): 422} {
		b.has(b.post("/register", status, append([]string{"name", name}, typed[2:]...)...), "at most 80")
	}
	first := b.post("/register", 200, typed...)
	link := confirmLink.FindString(b.mails[0].Text)
	if b.mails[0].To.Addr != "jun@far.example" || link == "" {
		t.Fatalf("mail %+v", b.mails[0])
	}
	b.get(link, 200) // as scanners do
	b.has(b.get(link, 200), "Yes, confirm", "Jun")
	page = b.post(link, 200)
	b.has(page, `action="`+toBasket+`"`, b.goods[0].Variants[0].ID)
	b.post(link, 410)
	b.has(b.post(toBasket, 200, "variant", b.goods[0].Variants[0].ID, "quantity", "2"), "Hanok lamp", "₩24,000")
	member, err := b.store.MemberByLogin(t.Context(), "jun@mall.example")
	if err != nil || !member.Publicity || member.Record || strings.Contains(member.Sealed, "Jun") {
		t.Fatalf("%+v, %v", member, err)
	}
	if list, err := b.store.Consents(t.Context(), member.ID); err != nil || len(list) != 1 || list[0].Wording == "" {
		t.Errorf("%+v, %v", list, err)
	}
	b.changed.Store("jun@mall.example", time.Now())
	b.has(b.get("/", 200), `href="/register"`) // a new password ends the session
	b.post("/sign-in", 200, "login", "jun@far.example", "password", "a long password")
	b.has(b.get("/", 200), `href="/account"`)
	other := b.browser()
	again := other.post("/register", 200, typed...)
	if again != first || confirmLink.MatchString(b.mails[1].Text) {
		t.Errorf("registering again says %s, and mails %s", again, b.mails[1].Text)
	}
	b.post("/sign-out", 200)
	b.has(b.get("/", 200), `href="/register"`)
	b.post("/sign-in", 422, "login", "jun@far.example", "password", "another password")
	b.post("/sign-in", 200, "login", "jun@far.example", "password", "a long password")
	b.has(b.get("/", 200), `href="/account"`)
	b.has(b.get("/account", 200), "jun@mall.example", "jun@far.example", `name="publicity" value="yes" checked`)
	b.has(b.post("/account", 200, "record", "yes"), `name="record" value="yes" checked`, "Taken back")
	if member, err = b.store.MemberByID(t.Context(), member.ID); err != nil || member.Publicity || !member.Record {
		t.Errorf("after a change: %+v, %v", member, err)
	}
}

// TestAccountHere: an account of the mail server becomes a member when its owner agrees,
// or by the mailed link, and keeps its password. Another browser is not signed in by it.
func TestAccountHere(t *testing.T) {
	t.Parallel()
	b := newTown(t).browser()
	b.accounts.all["friend@mall.example"] = password.Hash("friend's own")
	b.accounts.all["kim@mall.example"] = password.Hash("kim's own pass")
	page := b.post("/sign-in", 200, "login", "friend@mall.example", "password", "friend's own", "next", "/basket")
	b.has(page, "Become a member")
	b.has(b.post("/join", 200, "name", "Friend", "next", "/basket"), "The basket is empty")

	thief := b.browser()
	thief.post("/register", 200, "name", "Kim", "email", "kim@mall.example", "password", "known to the thief")
	link := confirmLink.FindString(b.mails[0].Text)
	owner := b.browser()
	owner.has(owner.post(link, 200), "kim@mall.example", "Password")
	thief.has(thief.get("/", 200), `href="/register"`)
	thief.post("/sign-in", 422, "login", "kim@mall.example", "password", "known to the thief")
	owner.post("/sign-in", 200, "login", "kim@mall.example", "password", "kim's own pass")
}

// TestMoney: amounts as people write them.
func TestMoney(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{"₩12,000": Money("en", "KRW", 12000), "12,000원": Money("ko", "KRW", 12000),
		"$0.05": Money("en", "USD", 5), "−€1,234.50": Money("en", "EUR", -123450),
		"BHD\u00a01.000": Money("en", "BHD", 1000)} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestLocalPath: a link can send nobody to another site.
func TestLocalPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/basket?a=b": "/basket?a=b", "//evil.example": "/", "https://evil.example": "/",
		`/\evil.example`: "/", "": "/"} {
		if got := localPath(path); got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}

var _ mall.Relay = fakeRelay{}
