// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

// signedIn is a browser in which a login of the town is.
func (c *town) signedIn(login string) browser {
	b := c.browser()
	b.post("/sign-in", 200, "login", login, "password", "the password")
	return b
}

// notify sends a notice of a payment, signed with a key.
func (b browser) notify(path, key, body string, status int) string {
	b.Helper()
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("CHmail-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return b.read(b.client.Do(req))(status)
}

// TestPayNotice: the owner makes a key for a payment provider, which is shown once. A
// notice signed with it pays an order, once however often it comes. One that is forged,
// or of another provider, another shop or an ended key, does not.
func TestPayNotice(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	furnish(b)
	ctx := t.Context()
	owner, other, kim := b.signedIn("host@mall.example"), b.signedIn("other@mall.example"),
		b.signedIn("kim@mall.example")
	member, err := b.store.MemberByLogin(ctx, "kim@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	bought := func() store.Order {
		t.Helper()
		kim.post("/goods/"+b.goods[0].ID+"/basket", 200, "variant", b.goods[0].Variants[0].ID, "quantity", "1")
		kim.post("/checkout", 200, "deliver", "1 Paper Street", "total."+b.goods[0].Goods.Shop, "12000")
		list, err := b.store.OrdersOf(ctx, member.ID, "", 1)
		if err != nil || list[0].State != order.Accepted {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0]
	}
	newKey := func(of browser, shop, provider string) string {
		t.Helper()
		page := of.post("/console/"+shop+"/providers", 200, "provider", provider)
		return regexp.MustCompile(`<code>([0-9a-f]{64})</code>`).FindStringSubmatch(page)[1]
	}
	owner.has(owner.post("/console/lamps/providers", 200, "provider", "Toss Pay"), "Small letters, digits and hyphens")
	bank := newKey(owner, "lamps", "bank")
	card, theirs := newKey(owner, "lamps", "card"), newKey(other, "chairs", "bank")
	page := owner.get("/console/lamps/settings", 200)
	owner.has(page, "/pay/lamps/bank</code>")
	if strings.Contains(page, bank) {
		t.Error("a key is shown again")
	}
	o := bought()
	nobody, notice := b.browser(), func(id string, o store.Order, amount int64) string {
		return fmt.Sprintf(`{"notice": %q, "order": %q, "amount": %d}`, id, o.Number, amount)
	}
	good := notice("n1", o, 12000)
	for name, key := range map[string]string{"another provider": card, "another shop": theirs, "nobody": "key",
		"none": ""} {
		t.Log(name)
		nobody.notify("/pay/lamps/bank", key, good, 401)
	}
	nobody.notify("/pay/lamps/none", bank, good, 401)
	nobody.notify("/pay/none/bank", bank, good, 404)
	nobody.notify("/pay/chairs/bank", theirs, good, 404) // an order of another shop
	nobody.notify("/pay/lamps/bank", bank, `{"notice": "n1"`, 400)
	nobody.has(nobody.notify("/pay/lamps/bank", bank, notice("n0", o, 1), 200), `"accepted"`) // another sum
	mails := len(b.written)
	nobody.has(nobody.notify("/pay/lamps/bank", bank, good, 200), `"paid"`)
	nobody.has(nobody.notify("/pay/lamps/bank", bank, good, 200), `"paid"`) // replayed
	nobody.has(nobody.notify("/pay/lamps/card", card, notice("c1", o, 12000), 200), `"paid"`)
	if n := len(b.written) - mails; n != 1 {
		t.Errorf("%d mails of one payment", n)
	}
	steps, err := b.store.Steps(ctx, o)
	if err != nil || len(steps) != 2 || steps[1].State != order.Paid || steps[1].Note != "bank" {
		t.Errorf("%+v, %v", steps, err)
	}
	next := newKey(owner, "lamps", "bank")
	second := bought()
	nobody.notify("/pay/lamps/bank", bank, notice("n2", second, 12000), 401) // the old key
	nobody.has(nobody.notify("/pay/lamps/bank", next, notice("n2", second, 12000), 200), `"paid"`)
	owner.post("/console/lamps/providers/remove", 200, "provider", "bank")
	nobody.notify("/pay/lamps/bank", next, notice("n3", second, 12000), 401)
}

// TestClosed: outside its opening hours, which are of its own zone, the shop's pages say
// when it opens, and the relay knows the hours as soon as they are stored.
func TestClosed(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	furnish(b)
	owner, nobody := b.signedIn("host@mall.example"), b.browser()
	owner.has(owner.post("/console/lamps/hours", 422, "zone", "Asia/Nowhere", "from1", "09:00", "to1", "18:00"),
		"no such time zone")
	owner.post("/console/lamps/hours", 200, "zone", "Asia/Seoul", "from1", "09:00", "to1", "18:00")
	pages := []string{"/shops/lamps", "/goods/" + b.goods[0].ID}
	for at, want := range map[string]string{
		"2026-11-30T00:30:00Z": "Somebody is here now",                      // Monday 09:30 in Seoul
		"2026-11-29T23:30:00Z": "Closed now. Opens <bdi>Monday 09:00</bdi>", // 08:30
		"2026-11-30T09:00:00Z": "Closed now. Opens <bdi>Monday 09:00</bdi>", // 18:00, for a week
		"2026-11-30T08:59:59Z": "Somebody is here now",                      //
	} {
		var err error
		if b.now, err = time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
		for _, path := range pages {
			if page := nobody.get(path, 200); !strings.Contains(page, want) {
				t.Errorf("%s at %s does not say %q: %s", path, at, want, page)
			}
		}
	}
	owner.post("/console/lamps/hours", 200, "zone", "Asia/Seoul")
	if len(b.hours) != 0 {
		t.Errorf("always open: %v", b.hours)
	}
}

// TestCategories: the operator adds, renames, orders and removes categories; goods of a
// removed one have none. Nobody else may.
func TestCategories(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	for _, login := range []string{"kim@mall.example", "boss@mall.example"} {
		b.accounts.all[login] = password.Hash("the password")
	}
	const at = "/operator/categories"
	boss, kim := b.signedIn("boss@mall.example"), b.signedIn("kim@mall.example")
	kim.get(at, 404)
	kim.post(at, 404, "do", "add", "id", "light", "en", "Light", "ko", "조명")
	boss.post(at, 422, "do", "add", "id", "Light!", "en", "Light", "ko", "조명")
	boss.post(at, 422, "do", "add", "id", "light", "en", "Light", "ko", "")
	boss.post(at, 200, "do", "add", "id", "light", "en", "Light", "ko", "조명", "place", "2")
	boss.post(at, 422, "do", "add", "id", "light", "en", "Light", "ko", "조명")
	boss.post(at, 200, "do", "add", "id", "desk", "en", "For desks", "ko", "책상용", "parent", "light")
	boss.post(at, 422, "do", "change", "id", "light", "en", "Light", "ko", "조명", "parent", "desk")
	boss.post(at, 200, "do", "add", "id", "chairs", "en", "Chairs", "ko", "의자", "place", "1")
	boss.post(at, 200, "do", "change", "id", "light", "en", "Lamps <b>", "ko", "등", "place", "2")
	front := b.browser().get("/", 200)
	if strings.Index(front, "Chairs") > strings.Index(front, "Lamps &lt;b&gt;") ||
		strings.Contains(front, "For desks") {
		t.Errorf("the categories are %s", front)
	}
	it := b.goods[0]
	if _, err := b.store.ChangeGoods(t.Context(), it.Goods.Shop, it.Goods.ID, func(it *store.Item) error {
		it.Category = "light"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b.browser().has(b.browser().get("/categories/light", 200), "Hanok lamp", "For desks")
	boss.post(at, 200, "do", "remove", "id", "light")
	boss.post(at, 404, "do", "remove", "id", "light")
	b.browser().has(b.browser().get("/", 200), "For desks") // it is at the top now
	now, err := b.store.ItemOf(t.Context(), it.Goods.Shop, it.Goods.ID)
	if err != nil || now.Category != "" {
		t.Errorf("%+v, %v", now.Goods, err)
	}
}

// TestToday: all that waits is counted, however many answered ones are newer.
func TestToday(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	furnish(b)
	ctx := t.Context()
	shop := b.goods[0].Goods.Shop
	for n := range todayListed + 60 {
		i, err := b.store.AddInquiry(ctx, store.Inquiry{Shop: shop, Subject: fmt.Sprint("Question ", n)})
		if err == nil && n >= todayListed+2 {
			_, err = b.store.Answered(ctx, i, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	owner := b.signedIn("host@mall.example")
	page := owner.get("/console/lamps", 200)
	owner.has(page, fmt.Sprintf(`<span class="count">%d</span>`, todayListed+3), "Question 21<", `?open=yes`)
	if strings.Contains(page, "Question 22<") {
		t.Error("an answered inquiry waits")
	}
	owner.has(owner.get("/console/lamps/inquiries?open=yes", 200), "Question 0<", "Question 21<")
}

// TestAPI: a key does what the console can with goods, stock, inquiries and orders.
func TestAPI(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	path := furnish(b)
	ctx, shop := t.Context(), b.goods[0].Goods.Shop
	_, key, err := b.store.AddKey(ctx, shop, "till")
	if err != nil {
		t.Fatal(err)
	}
	till := b.browser()
	call := func(method, at, body string, status int, header ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, b.server.URL+apiBase+at, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return till.read(till.client.Do(req))(status)
	}
	added := call("POST", "/goods", `{"sku": "x1", "title": "Ähren <b>", "state": "shown",
		"variants": [{"name": "", "price": 500, "stock": 2}]}`, 201)
	call("POST", "/goods", `{"sku": "x1", "title": "Again", "state": "shown", "variants": [{"price": 1}]}`, 409)
	call("POST", "/goods", `{"sku": "x2", "title": "No price", "state": "shown"}`, 422)
	call("POST", "/goods", `{"sku": "x3", "colour": "red"}`, 400)
	ids := regexp.MustCompile(`"id":"(\w+)"`).FindAllStringSubmatch(added, -1)
	goods, variant := ids[0][1], ids[1][1]
	stock := func(by string, status int) string {
		t.Helper()
		return call("POST", "/goods/"+goods+"/stock", fmt.Sprintf(`{"variant": %q, "by": %s}`, variant, by), status)
	}
	till.has(stock("-2", 200), `"stock":0`)
	till.has(stock("-1", 409), `"stock"`)
	till.has(stock("5", 200), `"stock":5`)
	stock("100000000", 409)
	call("POST", "/goods/"+goods+"/stock", `{"variant": "none", "by": 1}`, 404)
	call("PUT", "/goods/"+goods, `{}`, 428)
	call("PUT", "/goods/"+goods, `{}`, 412, "If-Match", `"old"`)
	till.has(call("GET", "/goods?q=X1", "", 200), "x1")

	inquiry := strings.TrimPrefix(path("/inquiries/{id}"), "/console/lamps/inquiries/")
	till.has(call("GET", "/inquiries?open=yes", "", 200), inquiry)
	till.has(call("GET", "/inquiries/"+inquiry, "", 200), `"login":"kim@mall.example"`, `"state":"offered"`,
		"/desk#a-room")
	number := strings.TrimPrefix(path("/orders/{number}"), "/console/lamps/orders/")
	call("POST", "/orders/"+number, `{"act": "accept"}`, 409) // that is the member's
	kim := b.signedIn("kim@mall.example")
	kim.post("/orders/"+number+"/accept", 200, "deliver", "1 Paper Street")
	till.has(call("GET", "/orders/"+number, "", 200), `"deliver":"1 Paper Street"`, `"acts":["pay","cancel"]`,
		`"quantity":2`)
	till.has(call("POST", "/orders/"+number, `{"act": "pay"}`, 200), `"state":"paid"`)
	till.has(call("POST", "/orders/"+number, `{"act": "send", "note": "Number 7"}`, 200), `"state":"sent"`)
	till.has(kim.get("/orders/"+number, 200), "Number 7")
	till.has(call("GET", "/orders?state=sent", "", 200), number)
}
