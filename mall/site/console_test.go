// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
)

// TestTable: every route of the console and the API has its least role, and a role
// may what the ones after it may.
func TestTable(t *testing.T) {
	t.Parallel()
	for _, route := range slices.Concat(consoleTable, apiTable) {
		if !slices.Contains(roles, route.Role) {
			t.Errorf("%s %s is for %q", route.Method, route.Path, route.Role)
		}
	}
	for mine, may := range map[string][]bool{store.RoleOwner: {true, true, true}, store.RoleManager: {false, true, true},
		store.RoleAgent: {false, false, true}, "": {false, false, false}} {
		for i, role := range roles {
			if (visit{Role: mine}).May(role) != may[i] {
				t.Errorf("%q as %s", mine, role)
			}
		}
	}
}

// TestAPINobody: a call without a key, or with a wrong one, is refused on every route.
func TestAPINobody(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/mall.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := &Server{store: db}
	mux := http.NewServeMux()
	s.apiRoutes(mux)
	shop, err := db.AddShop(t.Context(), store.Shop{Slug: "lamps", Addr: "lamps@mall.example", State: store.ShopOpen,
		Currency: "KRW"}, "a@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	other, err := db.AddShop(t.Context(), store.Shop{Slug: "chairs", Addr: "chairs@mall.example",
		State: store.ShopOpen, Currency: "KRW"}, "b@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.AddGoods(t.Context(), shop.ID, store.Item{Goods: store.Goods{SKU: "A", Title: "A",
		State: store.GoodsShown},
		Variants: []store.Variant{{Price: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	_, theirs, err := db.AddKey(t.Context(), other.ID, "till")
	if err != nil {
		t.Fatal(err)
	}
	_, ours, err := db.AddKey(t.Context(), shop.ID, "till")
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`\{\w+\}`)
	call := func(route shopRoute, key string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(route.Method, apiBase+parts.ReplaceAllString(route.Path, it.Goods.ID),
			bytes.NewBufferString("{}"))
		r.Header.Set("Authorization", key)
		r.Header.Set("If-Match", `"`+it.Stamp()+`"`)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	for _, route := range apiTable {
		for _, key := range []string{"", "Bearer ", "Bearer chmall_wrong", theirs} {
			if w := call(route, key); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %d", route.Method, route.Path, key, w.Code)
			}
		}
		w := call(route, "Bearer "+theirs)
		if parts.MatchString(route.Path) && w.Code != http.StatusNotFound ||
			bytes.Contains(w.Body.Bytes(), []byte(it.Goods.ID)) {
			t.Errorf("%s %s by another shop: %d %s", route.Method, route.Path, w.Code, w.Body)
		}
	}
	if w := call(shopRoute{Method: "GET", Path: "/goods/{id}"}, "Bearer "+ours); w.Code != http.StatusOK ||
		w.Header().Get("ETag") == "" {
		t.Errorf("ours: %d", w.Code)
	}
}

// TestConsoleWords: every word of the console's pages is in the catalogue.
func TestConsoleWords(t *testing.T) {
	t.Parallel()
	page, err := fs.ReadFile(templateFiles, "templates/console.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`say "([\w.]+)"`).FindAllSubmatch(page, -1) {
		if key := string(found[1]); words.In("en").Say(key) == key {
			t.Errorf("no words for %s", key)
		}
	}
}

// furnish gives a town's shop an inquiry with an order and a campaign, each named as
// the routes of the console name them, and another shop with staff of its own.
func furnish(b *town) (paths func(route string) string) {
	b.Helper()
	ctx := b.Context()
	for _, login := range []string{"host@mall.example", "other@mall.example", "kim@mall.example", operatorLogin} {
		b.accounts.all[login] = password.Hash("the password")
	}
	other := store.Shop{Slug: "chairs", Name: "Chairs", Addr: "chairs@mall.example", State: store.ShopOpen,
		Currency: "KRW"}
	if _, err := b.store.AddShop(ctx, other, "other@mall.example"); err != nil {
		b.Fatal(err)
	}
	kim := b.browser()
	kim.post("/sign-in", 200, "login", "kim@mall.example", "password", "the password")
	kim.post("/join", 200, "name", "Kim <b>")
	member, err := b.store.MemberByLogin(ctx, "kim@mall.example")
	if err != nil {
		b.Fatal(err)
	}
	it := b.goods[0]
	inq, err := b.store.AddInquiry(ctx, store.Inquiry{Shop: it.Goods.Shop, Member: member.ID, Goods: it.Goods.ID,
		Room: "a-room", Subject: "About <i>lamps</i>"})
	if err != nil {
		b.Fatal(err)
	}
	o, err := b.store.Offer(ctx, store.Order{Shop: it.Goods.Shop, Member: member.ID, Currency: "KRW", Inquiry: inq.ID},
		[]store.OrderLine{{Goods: it.Goods.ID, Variant: it.Variants[0].ID, Title: it.Goods.Title, Quantity: 2,
			Price: 11000}},
		"host@mall.example", "")
	if err != nil {
		b.Fatal(err)
	}
	c, err := b.store.SaveCampaign(ctx, store.Campaign{Shop: it.Goods.Shop, Subject: "New lamps", Text: "**Lamps**",
		Lang: "en", Segment: "all", State: "draft"}, []string{it.Goods.ID})
	if err != nil {
		b.Fatal(err)
	}
	a, err := b.store.AddAdvert(ctx, store.Advert{Shop: it.Goods.Shop, Rings: it.Goods.Shop, Title: "Warm <i>lamps</i>",
		Target: "/shops/lamps", Ends: store.Micros(time.Now().AddDate(0, 0, 1)), Price: 500, Budget: 1000})
	if err != nil {
		b.Fatal(err)
	}
	return func(route string) string {
		id := it.Goods.ID
		switch {
		case strings.HasPrefix(route, "/inquiries"):
			id = inq.ID
		case strings.HasPrefix(route, "/adverts"):
			id = a.ID
		case strings.HasPrefix(route, "/publicity"):
			id = c.ID
		}
		return "/console/lamps" + strings.NewReplacer("{id}", id, "{number}", o.Number).Replace(route)
	}
}

// TestConsole: the owner sees every page of the console, in each language. Another
// shop's staff and members find none of its routes, and nobody gets past the sign-in.
func TestConsole(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	path := furnish(b)
	owner := b.browser()
	owner.post("/sign-in", 200, "login", "host@mall.example", "password", "the password")
	owner.post("/join", 200, "name", "Mina")
	nobody := b.browser()
	strangers := map[string]browser{}
	for _, login := range []string{"other@mall.example", "kim@mall.example"} {
		strangers[login] = b.browser()
		strangers[login].post("/sign-in", 200, "login", login, "password", "the password")
	}
	for _, route := range consoleTable {
		t.Log(route.Method, route.Path)
		if route.Method == "GET" {
			for _, lang := range words.Languages {
				owner.post("/language", 200, "lang", lang, "back", "/")
				page := owner.get(path(route.Path), 200)
				if key := regexp.MustCompile(`\b(console|talk|publicity|advert)\.[a-z]\w*`).FindString(page); key != "" &&
					!strings.Contains(route.Path, ".csv") && !strings.Contains(route.Path, ".xml") {
					t.Errorf("%s says %s", path(route.Path), key)
				}
				if strings.Contains(page, "<i>lamps") || strings.Contains(page, "Kim <b>") {
					t.Errorf("%s shows what somebody wrote as HTML", path(route.Path))
				}
			}
		}
		for login, stranger := range strangers {
			if route.Method == "GET" {
				stranger.get(path(route.Path), 404)
			} else if page := stranger.post(path(route.Path), 404); strings.Contains(page, "Lamps") {
				t.Errorf("%s learns of the shop at %s", login, path(route.Path))
			}
		}
		if route.Method == "GET" {
			nobody.has(nobody.get(path(route.Path), 200), `name="password"`)
		} else {
			nobody.post(path(route.Path), 401)
		}
	}
}

// TestOffer: an offer of the console becomes an order when the member accepts it, and the
// shop takes its steps; each is a mail to the other side.
func TestOffer(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	path := furnish(b)
	owner, kim := b.browser(), b.browser()
	owner.post("/sign-in", 200, "login", "host@mall.example", "password", "the password")
	kim.post("/sign-in", 200, "login", "kim@mall.example", "password", "the password")
	inquiry := path("/inquiries/{id}")
	owner.has(owner.post(inquiry+"/offer", 422, "sku", "none", "quantity", "x", "price", "1"), "no such goods",
		`value="none"`)
	page := owner.post(inquiry+"/offer", 200, "sku", b.goods[0].SKU, "quantity", "2", "price", "9,000")
	numbers := regexp.MustCompile(`/console/lamps/orders/([0-9]{6}-\w+)`).FindAllStringSubmatch(page, -1)
	if len(numbers) != 2 { // one is there since the beginning
		t.Fatalf("orders %v", numbers)
	}
	number := numbers[0][1]
	at := "/console/lamps/orders/" + number
	kim.has(kim.get("/orders/"+number, 200), "₩18,000", "Accept")
	owner.post(at, 409, "act", "send")
	kim.post("/orders/"+number+"/accept", 200, "deliver", "1 Paper Street")
	it, err := b.store.ItemOf(t.Context(), b.goods[0].Goods.Shop, b.goods[0].Goods.ID)
	if err != nil || it.Variants[0].Stock != 1 {
		t.Errorf("%+v, %v", it.Variants, err)
	}
	owner.has(owner.get(at, 200), "1 Paper Street")
	owner.post(at, 200, "act", "pay")
	owner.has(owner.post(at, 200, "act", "send", "note", "By post, number 7"), "Sent", "By post, number 7")
	kim.post(at, 404, "act", "cancel")
	kim.has(kim.post("/orders/"+number+"/receive", 200), "Done")
	for _, w := range b.written {
		t.Log(w.To, w.Subject)
	}
	if n := len(b.written); n != 6 { // the offer, accepted to both, paid, sent, done
		t.Errorf("%d mails", n)
	}
}

// TestStaff: the relay rings whoever works for the shop, as soon as that is said.
func TestStaff(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	path := furnish(b)
	owner := b.browser()
	owner.post("/sign-in", 200, "login", "host@mall.example", "password", "the password")
	for _, step := range []struct {
		to   string
		want []string
	}{
		{"/staff", []string{"host@mall.example", "kim@mall.example"}},
		{"/staff/remove", []string{"host@mall.example"}},
	} {
		owner.post(path(step.to), 200, "login", "kim@mall.example", "role", store.RoleAgent)
		if got := b.groups["lamps@mall.example"]; !slices.Equal(got, step.want) {
			t.Errorf("%s: %v", step.to, got)
		}
	}
}
