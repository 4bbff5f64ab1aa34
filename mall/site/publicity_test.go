// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/mall/store"
)

// TestCampaignForm: goods are looked for and chosen without losing what was typed; a
// draft is changed, shown as members would see it, and sent at its time in the shop's zone.
func TestCampaignForm(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	furnish(b)
	ctx, shop := t.Context(), b.goods[0].Goods.Shop
	_, err := b.store.ChangeShop(ctx, shop, func(s *store.Shop) error {
		s.Hours = `{"zone":"Asia/Seoul","week":[{"from":0,"to":600},{},{},{},{},{},{}]}`
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	owner := b.browser()
	owner.post("/sign-in", 200, "login", "host@mall.example", "password", "the password")
	const at = "/console/lamps/publicity"
	first, second := b.goods[0].Goods, b.goods[1].Goods
	ticks := regexp.MustCompile(`value="(\w+)" checked`)

	page := owner.post(at+"/new", 200, "do", "find", "find", second.SKU, "subject", "Half a subject", "goods", first.ID)
	owner.has(page, `value="Half a subject"`, second.ID, "Asia/Seoul")
	if got := ticks.FindAllStringSubmatch(page, -1); len(got) != 1 || got[0][1] != first.ID {
		t.Errorf("ticked: %v", got)
	}
	later := time.Now().Add(48 * time.Hour).In(zoneOf(store.Shop{Hours: `{"zone":"Asia/Seoul"}`})).Truncate(time.Minute)
	right := []string{"subject", "New", "text", "**They** are here", "segment", "all", "lang", "en", "goods", first.ID,
		"at", later.Format(localTime)}
	owner.has(owner.post(at+"/new", 422, append(right, "at", "2020-01-01T10:00")...), "within the next year", "They")
	page = owner.post(at+"/new", 200, right...)
	when := "<bdi>" + later.Format("2006-01-02 15:04") + " Asia/Seoul</bdi>"
	owner.has(page, "Send at "+when, "On a phone", "On a computer", "* "+first.Title, `sandbox title=`)
	id := regexp.MustCompile(`/publicity/(\w+)/mail`).FindStringSubmatch(page)[1]

	page = owner.get(at+"/"+id+"/edit", 200)
	owner.has(page, `value="New"`, later.Format(localTime))
	if got := ticks.FindAllStringSubmatch(page, -1); len(got) != 1 || got[0][1] != first.ID {
		t.Errorf("ticked in the draft: %v", got)
	}
	right[1] = "Newer"
	owner.has(owner.post(at+"/"+id+"/edit", 200, right...), "Newer", when)
	res, err := owner.client.Get(b.server.URL + at + "/" + id + "/mail")
	mail := owner.read(res, err)(200)
	owner.has(mail, "<strong>They</strong>", b.server.URL+"/goods/"+first.ID)
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || !strings.HasSuffix(policy, "; sandbox") {
		t.Errorf("the mail's policy: %s", policy)
	}
	owner.has(owner.post(at+"/"+id, 200, "act", "test"), "A test is on its way to host@mall.example")
	owner.has(owner.post(at+"/"+id, 200, "act", "send"), "It goes out at "+when)
	c, err := b.store.Campaign(ctx, shop, id)
	if err != nil || c.State != store.CampaignScheduled || !store.Time(c.At).Equal(later) || c.Subject != "Newer" {
		t.Errorf("the campaign is %+v, %v", c, err)
	}
	owner.post(at+"/"+id+"/edit", 409, right...) // it is no draft any more
}
