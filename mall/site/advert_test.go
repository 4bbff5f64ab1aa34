// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"image"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/password"
)

const realBrowser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"

// as sends what a browser of a name sends, and returns the answer, which may lead on.
func (b browser) as(agent, method, path, body string) *http.Response {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("User-Agent", agent)
	client := *b.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { answer.Body.Close() })
	return answer
}

func (b browser) pageAs(agent, path string) string {
	b.Helper()
	return b.read(b.as(agent, "GET", path, ""), nil)(200)
}

// fill are the fields of a form of an advertisement, with changes.
func fill(changes ...string) []string {
	day := func(n int) string { return time.Now().AddDate(0, 0, n).Format(time.DateOnly) }
	return append([]string{"title", "Bulbs & more", "text", "They last.", "target", "", "starts", day(-1), "ends",
		day(1),
		"price", "100", "budget", "150", "alt", "A bulb"}, changes...)
}

// TestAdvert: the way of an advertisement. A company that has no goods applies and is
// approved; it writes an advertisement, which the operator approves; pages show it, a real
// browser's view and press are counted once, and the talk that it led to is charged once.
func TestAdvert(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	for _, login := range []string{"bulbs@mall.example", "kim@mall.example", "boss@mall.example"} {
		town.accounts.all[login] = password.Hash("the password")
	}
	in := func(login string) browser {
		b := town.browser()
		b.post("/sign-in", 200, "login", login, "password", "the password")
		return b
	}
	staff, kim, boss := in("bulbs@mall.example"), in("kim@mall.example"), in("boss@mall.example")
	kim.post("/join", 200, "name", "Kim")

	staff.post("/apply", 200, "name", "Bright Bulbs", "slug", "bright", "currency", "KRW", "company", "yes")
	shop, err := town.store.ShopBySlug(t.Context(), "bright")
	if err != nil || !shop.Company {
		t.Fatalf("%+v, %v", shop, err)
	}
	boss.post("/operator", 422, "shop", shop.ID, "do", "refuse", "why", strings.Repeat("가", 501))
	boss.post("/operator", 200, "shop", shop.ID, "do", "open")
	staff.post("/apply", 200, "name", "밝은 전구", "slug", "dim", "currency", "KRW", "company", "yes", "lang", "ko")
	dim, err := town.store.ShopBySlug(t.Context(), "dim")
	if err != nil {
		t.Fatal(err)
	}
	boss.post("/operator", 200, "shop", dim.ID, "do", "refuse", "why", strings.Repeat("가", 500))
	staff.has(staff.get("/console", 200), strings.Repeat("가", 500))
	mailed := func(to string, parts ...string) {
		t.Helper()
		if len(town.written) == 0 {
			t.Fatalf("no mail to %s", to)
		}
		mail := town.written[0]
		if town.written = town.written[1:]; mail.To != to || mail.Name == "" {
			t.Errorf("a mail to %s of %q instead of %s", mail.To, mail.Name, to)
		}
		town.has(mail.Subject+"\n"+mail.Text, parts...)
	}
	mailed("boss@mall.example", "The shop Bright Bulbs waits for your approval", town.mall.URL("operator"))
	mailed("bulbs@mall.example", "Your shop Bright Bulbs is open", town.mall.URL("console", "bright"))
	mailed("boss@mall.example", "밝은 전구 상점이 승인을 기다립니다")
	mailed("bulbs@mall.example", "거절되었습니다", strings.Repeat("가", 500))

	const console = "/console/bright/adverts"
	staff.has(staff.post(console+"/new", 422, fill("title", "", "target", "/sign-out", "price", "0")...),
		"There is no such page in the mall")
	staff.has(staff.post(console+"/new", 422, fill("price", "100", "budget", "50")...), "enough for one talk")
	staff.has(staff.post(console+"/new", 422, fill("target", "http://bulbs.example/")...), "does not begin with https")
	page := staff.post(console+"/new", 200, fill("target", "/goods/"+town.goods[0].ID, "place", "front")...)
	staff.has(page, "Bulbs &amp; more", "Draft", "Send for approval")
	all, _, err := town.store.AdvertsOf(t.Context(), shop.ID)
	if err != nil || len(all) != 1 || all[0].Rings != town.goods[0].Shop {
		t.Fatalf("%+v, %v", all, err)
	}
	id := all[0].ID
	staff.addPicture(console + "/" + id + "/picture")
	staff.post(console+"/"+id, 200, "act", "review")
	staff.post(console+"/"+id, 409, "act", "resume")
	if front := kim.pageAs(realBrowser, "/"); strings.Contains(front, "Bulbs") {
		t.Error("it shows before the operator approved it")
	}

	staff.get("/operator/adverts", 404)
	staff.post("/operator/adverts", 404, "advert", id, "do", "approve", "weight", "1")
	boss.has(boss.get("/operator/adverts", 200), "Bulbs &amp; more", "Bright Bulbs", "<bdi>₩100</bdi> a talk")
	boss.post("/operator/adverts", 422, "advert", id, "do", "refuse")
	seen := func() string {
		return regexp.MustCompile(`name="seen" value="([\w-]+)"`).FindStringSubmatch(boss.get("/operator/adverts",
			200))[1]
	}
	boss.post("/operator/adverts", 409, "advert", id, "do", "approve", "weight", "3", "seen", "another")
	boss.has(boss.post("/operator/adverts", 200, "advert", id, "do", "approve", "weight", "3", "seen", seen()),
		"There is none")
	mailed("boss@mall.example", "An advertisement of Bright Bulbs waits", "Bulbs & more", "/operator/adverts")
	mailed("bulbs@mall.example", "Bulbs & more” is approved", "/console/bright/adverts/"+id)
	if len(town.written) > 0 {
		t.Errorf("more mails: %+v", town.written)
	}

	front := kim.pageAs(realBrowser, "/")
	kim.has(front, `aria-label="Advertisement"`, "Bulbs &amp; more", `alt="A bulb" width="40" height="30"`)
	if strings.Contains(front, `href="/shops/bright"`) {
		t.Error("a company stands among the shops")
	}
	if other := kim.pageAs(realBrowser, "/search?q=lamp"); strings.Contains(other, "Bulbs") {
		t.Error("it shows at a place that it was not for")
	}
	robot := kim.pageAs("Googlebot/2.1", "/")
	kim.has(robot, "Bulbs &amp; more", `href="/goods/`+town.goods[0].ID+`" rel`)
	token := regexp.MustCompile(`data-seen="([\w-]+)"`).FindStringSubmatch(front)[1]
	for _, agent := range []string{"Googlebot/2.1", realBrowser, realBrowser} {
		if got := kim.as(agent, "POST", "/adverts/seen", token).StatusCode; got != 204 {
			t.Errorf("seen: %d", got)
		}
	}
	press := func(agent, path string, status int) string {
		t.Helper()
		answer := kim.as(agent, "GET", path, "")
		if answer.StatusCode != status {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
		return answer.Header.Get("Location")
	}
	press(realBrowser, "/adverts/"+token+"A", 404)
	if to := press("Googlebot/2.1", "/adverts/"+token, 303); to != "/goods/"+town.goods[0].ID {
		t.Errorf("a robot is led to %s", to)
	}
	to := press(realBrowser, "/adverts/"+token, 303)
	press(realBrowser, "/adverts/"+token, 303)
	led, err := url.Parse(to)
	if err != nil || led.Path != "/goods/"+town.goods[0].ID || led.Query().Get("advert") == "" {
		t.Fatalf("led to %s", to)
	}
	goods := kim.get(to, 200)
	kim.has(goods, `name="advert" value="`+led.Query().Get("advert")+`"`)

	town.rooms = []string{"room-1", "room-1", "room-2"}
	for range town.rooms {
		kim.noFollow().post(led.Path+"/chat", 303, "advert", led.Query().Get("advert"))
		for range 2 {
			if err := town.adverts.Answered(t.Context(), town.rooms[0]); err != nil {
				t.Fatal(err)
			}
		}
		town.rooms = append(town.rooms[1:], "room-3")
	}
	if err := town.adverts.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page = staff.get(console+"/"+id, 200)
	staff.has(page, "<bdi>₩100</bdi> of <bdi>₩150</bdi>", `<td>Front page</td><td>1</td><td>1</td><td>2</td><td>₩100</td>`, `<svg class="plot"`)
	if next := kim.pageAs(realBrowser, "/"); strings.Contains(next, "Bulbs") {
		t.Error("it shows without money for one more talk")
	}

	other := staff.post(console+"/new", 200, fill("target", "https://bulbs.example/new?a=b", "place", "search")...)
	id = regexp.MustCompile(console + `/(\w{26})/edit`).FindStringSubmatch(other)[1]
	staff.post(console+"/"+id, 200, "act", "review")
	boss.post("/operator/adverts", 200, "advert", id, "do", "approve", "weight", "1", "seen", seen())
	found := kim.pageAs(realBrowser, "/search?q=lamp")
	kim.has(found, "Talk to <bdi>Bright Bulbs</bdi>")
	token = regexp.MustCompile(`data-seen="([\w-]+)"`).FindStringSubmatch(found)[1]
	if to := press(realBrowser, "/adverts/"+token, 303); to != "https://bulbs.example/new?a=b" {
		t.Errorf("led to %s", to)
	}
	if to := press(realBrowser, "/adverts/"+token+"?talk", 303); !strings.HasPrefix(to, "/shops/bright?advert=") {
		t.Errorf("led to %s", to)
	}
	boss.post("/operator/adverts?state=shown", 200, "advert", id, "do", "refuse", "why", "The <b>address</b> is gone")
	staff.has(staff.get(console+"/"+id, 200), "The operator refused it", "The &lt;b&gt;address&lt;/b&gt; is gone")
	press(realBrowser, "/adverts/"+token, 404)
}

// noFollow is the same browser, which shows where it is led.
func (b browser) noFollow() browser {
	client := *b.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return browser{b.town, &client}
}

// addPicture sends a picture of 40 by 30 points.
func (b browser) addPicture(path string) {
	b.Helper()
	var body, picture bytes.Buffer
	if err := png.Encode(&picture, image.NewRGBA(image.Rect(0, 0, 40, 30))); err != nil {
		b.Fatal(err)
	}
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "bulb.png")
	if err == nil {
		_, err = file.Write(picture.Bytes())
	}
	if err != nil || form.Close() != nil {
		b.Fatal(err)
	}
	b.read(b.client.Post(b.server.URL+path, form.FormDataContentType(), &body))(200)
}
