// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/work"
)

// from is a browser at another address.
func (b browser) from(ip string) browser {
	client := *b.client
	client.Transport = fromIP(ip)
	return browser{b.town, &client}
}

type fromIP string

func (ip fromIP) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Forwarded-For", string(ip))
	return http.DefaultTransport.RoundTrip(r)
}

var taskIn = regexp.MustCompile(`data-work="([^"]+)"`)

// task is the work that a page asks for; empty: none.
func task(page string) string {
	if found := taskIn.FindStringSubmatch(page); found != nil {
		return found[1]
	}
	return ""
}

// TestWork: a prefix that registers or guesses much, and a member who asks much, must do
// work, which counts once; others need none; what was typed stays.
func TestWork(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	furnish(town)
	b := town.browser().from("192.0.2.7")
	typed := []string{"name", "Jun", "email", "jun@far.example", "password", "a long password"}
	drain := func(of *limit.Buckets, key string, n int) {
		for range n {
			of.Wait(key)
		}
	}
	drain(town.site.limits.register, "192.0.2.7/32", 7)
	page := b.post("/register", 429, typed...)
	b.has(page, `value="Jun"`, "Much comes from where you are", "without script it works in 2 minutes")
	asked := task(b.get("/register", 200))
	if asked == "" || task(page) == "" || task(town.browser().from("192.0.2.8").get("/register", 200)) != "" {
		t.Fatal("who is asked for work?")
	}
	done := work.Solve(asked)
	town.browser().from("192.0.2.8").post("/register", 200, typed...) // without
	b.post("/register", 422, "name", "Jun", "email", "x", "password", "a long password", "work", done)
	b.post("/register", 200, append(typed, "work", done)...)
	b.post("/register", 429, append(typed, "work", done)...)

	town.browser().from("192.0.2.20").post("/sign-in", 422, "login", "kim@mall.example", "password", "wrong")
	if left, burst, _ := town.site.limits.wrong.Left("kim@mall.example"); left > burst-0.9 {
		t.Error("a wrong sign-in does not count")
	}
	drain(town.site.limits.wrong, "kim@mall.example", 7)
	kim := town.browser().from("192.0.2.9")
	right := []string{"login", "Kim@mall.example", "password", "the password"}
	page = kim.post("/sign-in", 429, right...)
	kim.post("/sign-in", 200, append(right, "work", work.Solve(task(page)))...)

	ask, question := "/goods/"+b.goods[0].ID+"/ask", []string{"id", "1", "subject", "Light", "text", "Is it warm?"}
	kim.post(ask, 200, question...)
	member, err := town.store.MemberByLogin(t.Context(), "kim@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	drain(town.site.limits.ask, member.ID, 13)
	page = kim.post(ask, 429, question...)
	kim.has(page, "Is it warm?")
	kim.post(ask, 200, append(question, "work", work.Solve(task(page)))...)
	kim.has(kim.post(strings.TrimSuffix(ask, "ask")+"chat", 429), `data-work="`, `action="/goods/`)
}
