// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/mall/store"
)

// TestMallPages looks at the pages of the mall and of its console, as strangers, members
// and hosts see them. Then a member follows an advertisement and talks to its shop, which
// is charged for it.
func TestMallPages(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	db := mallStore(t, s.state)
	chrome := browser(t)
	advert := func() store.Advert {
		t.Helper()
		shop, err := db.ShopBySlug(t.Context(), "lamps")
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := db.AdvertsOf(t.Context(), shop.ID)
		if err != nil || len(all) != 1 {
			t.Fatalf("%d advertisements, %v", len(all), err)
		}
		return all[0]
	}
	shop := advert().Shop
	list, _, err := db.ListGoods(t.Context(), store.CatalogueFilter{Shop: shop}, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	goods := "/goods/" + list[0].ID
	var kim *page
	for _, l := range looks() {
		kim = openAs(t, chrome, l, "mall "+l.String(), s.Mall+"/")
		visit := func(paths ...string) {
			t.Helper()
			for _, path := range paths {
				kim.run(chromedp.Navigate(s.Mall + path))
				kim.check(strings.Trim(strings.ReplaceAll(path, "/", "-"), "-"))
			}
		}
		signIn := func(role string) {
			t.Helper()
			login, password := s.password(role)
			if _, err := ask(kim, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
				t.Fatal(err)
			}
			kim.run(chromedp.Navigate(s.Mall + "/sign-in"))
			kim.eval(fmt.Sprintf(`document.querySelector("#login").value = %q;
				document.querySelector("#password").value = %q; document.querySelector("main .primary").click(); ""`, login, password))
			kim.wait("the page after it", 10*time.Second, func() bool {
				return kim.eval(`String(document.readyState === "complete" && !document.querySelector("#login"))`) == "true"
			})
		}
		visit("/", goods, "/categories/light", "/search?q=lamp", "/search?q=zzzz", "/shops/lamps", "/shops/tea",
			"/sign-in",
			"/register", "/nowhere")
		signIn("host")
		visit("/console", "/apply", "/operator", "/operator/adverts?state=shown")
		for i, path := range []string{"", "/goods", "/goods/new", "/goods/edit/" + list[0].ID, "/import", "/inquiries",
			"/orders", "/publicity", "/publicity/new", "/adverts", "/adverts/new", "/adverts/" + advert().ID, "/staff",
			"/hours", "/figures", "/settings"} {
			if l.width < 1000 || i%3 == 0 { // what fits a phone fits a desk: there, a part of them
				visit("/console/lamps" + path)
			}
		}
		signIn("customer")
		kim.run(chromedp.Navigate(s.Mall + goods))
		kim.eval(`document.querySelector(".buy button").click(); ""`)
		kim.wait("the basket", 10*time.Second, func() bool { return kim.eval("location.pathname") == "/basket" })
		visit("/account", goods+"/ask", "/basket", "/checkout", "/orders", "/bookmarks")
	}

	desk := open(t, chrome, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	before := advert()
	kim.wait("the advertisement of the lamps", 60*time.Second, func() bool {
		kim.run(chromedp.Navigate(s.Mall + "/"))
		return strings.Contains(kim.eval(`document.querySelector(".advert")?.innerText ?? ""`), before.Title)
	})
	time.Sleep(1500 * time.Millisecond) // so long it is to be in sight
	kim.eval(`document.querySelector(".advert a").click(); ""`)
	kim.wait("the shop", 10*time.Second, func() bool { return kim.eval("location.pathname") == "/shops/lamps" })
	kim.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	if now := advert(); now.Spent != before.Spent {
		t.Errorf("a talk that nobody answered costs %d", now.Spent-before.Spent)
	}
	desk.press("Answer")
	desk.statusBegins(20*time.Second, "Connected")
	kim.wait("the charge", 15*time.Second, func() bool { return advert().Spent == before.Spent+before.Price })
	kim.wait("the figures", 15*time.Second, func() bool { // they are stored every few seconds
		days, err := db.AdvertDays(t.Context(), shop, before.ID, time.Now())
		return err == nil && len(days) > 0 && days[0].Place == store.PlaceFront && days[0].Views > 0 &&
			days[0].Presses == 1 && days[0].Talks == 1 && days[0].Spent == before.Price
	})
}
