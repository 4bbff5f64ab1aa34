// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/mall/store"
)

// mallStore is the database of a running demo's mall.
func mallStore(t testing.TB, state string) *store.Store {
	t.Helper()
	found := ""
	err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "mall.db" {
			found = path
		}
		return nil // files come and go
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), "sqlite:"+found, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const (
	mia     = "friend+mall@mall.example" // her own address, whose mails the friend's mailbox gets
	miaPass = "a password of Mia"
)

// TestMallWay: the whole way of a customer, and the roles exchanged. A stranger registers,
// confirms by the mailed link, and is where she was; her question survives a session that
// ran out; Chat now rings the desk, and the panel has the talk; an offer made in the
// talk becomes an order and is seen through by both. Then the shop rings her page. At last
// she asks from the shop's own web site, which shows its buttons.
func TestMallWay(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	db := mallStore(t, s.state)
	shop, err := db.ShopBySlug(t.Context(), "lamps")
	if err != nil {
		t.Fatal(err)
	}
	goods, _, err := db.ListGoods(t.Context(), store.CatalogueFilter{Shop: shop.ID}, "", 1)
	if err != nil || len(goods) != 1 {
		t.Fatal(goods, err)
	}
	chrome := browser(t, inOneProcess...)
	member := open(t, chrome, "member", s.Mall+"/goods/"+goods[0].ID)
	login := register(t, s, db, member)
	mail := askLate(t, s, db, member)
	if !regexp.MustCompile(`From: "?Mia"? <` + regexp.QuoteMeta(login) + ">").MatchString(mail) {
		t.Errorf("the mail is not from %s:\n%s", login, mail)
	}

	desk := open(t, chrome, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	member.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	desk.press("Answer")
	desk.statusBegins(20*time.Second, "Connected")
	panel := member.frame("/c/")
	panel.statusBegins(20*time.Second, "Connected")
	panel.fill("Message", "Is there one for the wall?")
	panel.press("Send")
	desk.hears("Is there one for the wall?")
	desk.say("I make you an offer.")
	panel.hears("I make you an offer.")
	member.shot("panel")

	till := open(t, chrome, "till", s.Mall+"/console/lamps/inquiries")
	hostLogin, hostPass := s.password("host")
	till.fill("Login or e-mail", hostLogin)
	till.fill("Password", hostPass)
	till.press("Sign in")
	till.waitFor("heading", "Hanok Lamps", 10*time.Second)
	number := order(t, s, till, member)
	for _, subject := range []string{"An offer of", "Your order " + number + " at", number + " is paid",
		number + " is on its way"} {
		if got := s.mailOf(t, login, miaPass, subject); !strings.Contains(got, "CHmail-Chat: <") {
			t.Errorf("the mail %q is not stamped:\n%s", subject, got)
		}
	}
	if got := s.mailWith(t, "host", "Order "+number+" has arrived"); !strings.Contains(got, "CHmail-Chat: <") {
		t.Errorf("the shop's mail is not stamped:\n%s", got)
	}

	// The roles exchanged: a link of her mail rings her, on any page of the mall.
	member.press("Close the chat")
	desk.run(chromedp.Navigate(regexp.MustCompile(`http://\S+/c/[\w-]{22}`).FindString(mail)))
	member.run(chromedp.Navigate(s.Mall + "/orders"))
	member.waitFor("heading", "Your orders", 10*time.Second)
	desk.press("Chat now")
	member.waitFor("alertdialog", "Incoming chat", 20*time.Second)
	member.shot("ring")
	member.press("Answer")
	desk.statusBegins(20*time.Second, "Connected")
	member.frame("/c/").statusBegins(20*time.Second, "Connected")
	member.shot("answered")
	member.close()
	embedded(t, s, chrome, till, desk)
}

// register makes a member of a stranger who wants to ask, and returns the new login.
func register(t *testing.T, s *server, db *store.Store, p *page) string {
	t.Helper()
	p.pressRole("link", "Ask the shop")
	p.waitFor("heading", "Sign in", 10*time.Second)
	p.press("Register")
	p.fill("Name", "Mia")
	p.fill("E-mail", mia)
	p.fill("Password", miaPass)
	p.shot("register")
	p.press("Register")
	p.waitFor("heading", "Look into your mailbox", 10*time.Second)
	unfolded := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(s.mailWith(t, "friend", "/confirm/"))
	link := regexp.MustCompile(`http://\S+/confirm/[\w-]+`).FindString(unfolded)
	answers := func(want int) {
		t.Helper()
		res, err := http.Get(strings.Replace(link, "mall.localhost", "127.0.0.1", 1))
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != want {
			t.Fatalf("the link answers %d, want %d", res.StatusCode, want)
		}
	}
	answers(http.StatusOK) // scanners follow links, and consume none
	answers(http.StatusOK)
	p.run(chromedp.Navigate(link))
	p.press("Yes, confirm")
	p.waitFor("textbox", "Your question", 10*time.Second) // where she was
	answers(http.StatusGone)
	const login = "friend1@mall.example"
	if _, err := db.MemberByLogin(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	s.fetchOf(t, login, miaPass) // her mailbox is there
	return login
}

// askLate asks the shop in a session that has run out, and returns the mail that it got.
func askLate(t *testing.T, s *server, db *store.Store, p *page) string {
	t.Helper()
	cookies, err := ask(p, network.GetCookies, network.GetCookiesParams{URLs: []string{s.Mall}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies.Cookies {
		if sum := sha256.Sum256([]byte(c.Value)); c.Name == "mall_session" {
			if err := db.EndSession(t.Context(), base64.RawURLEncoding.EncodeToString(sum[:])); err != nil {
				t.Fatal(err)
			}
		}
	}
	const question = "Is the lamp warm?"
	p.fill("Your question", question)
	p.press("Send")
	p.waitFor("heading", "Sign in", 10*time.Second)
	p.fill("Login or e-mail", mia)
	p.fill("Password", miaPass)
	p.press("Sign in")
	p.waitFor("heading", "You are signed in", 10*time.Second)
	p.shot("kept")
	p.press("Go on with it")
	p.waitFor("heading", "Your question is on its way", 10*time.Second)
	return s.mailWith(t, "host", question)
}

// order has the shop offer its goods in the newest talk, the member accept them, and
// both take the steps of the order, whose number it returns.
func order(t *testing.T, s *server, till, member *page) string {
	t.Helper()
	till.run(chromedp.Navigate(till.eval(`document.querySelector(".rows a").href`)))
	till.eval(`document.querySelector("details").open = true; ""`)
	till.fill("Price", "45,000")
	till.shot("offer")
	till.press("Send the offer")
	member.pressRole("link", "See the offer")
	member.fill("Where the goods go", "1 Paper Street, Jeonju")
	member.press("Accept the offer")
	says := func(p *page, words string) {
		t.Helper()
		p.wait(words, 10*time.Second, func() bool { return strings.Contains(p.eval(`document.body?.innerText ?? ""`), words) })
	}
	says(member, "Waits for payment")
	says(member, "1 Paper Street, Jeonju") // the panel that came back took no letter of it
	member.shot("order")
	at := member.eval("location.pathname")
	number := at[strings.LastIndexByte(at, '/')+1:]
	till.run(chromedp.Navigate(s.Mall + "/console/lamps/orders/" + number))
	till.press("It is paid")
	till.press("It is sent")
	till.waitFor("button", "It has arrived", 10*time.Second)
	member.run(chromedp.Navigate(s.Mall + at))
	member.press("The goods are here")
	says(member, "Done")
	return number
}

// embedded asks from a page of the shop's own web site, which the shop allows in its
// console, and finds no buttons on another one.
func embedded(t *testing.T, s *server, chrome context.Context, till, desk *page) {
	t.Helper()
	site := func() string {
		own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, `<!doctype html><title>Our own shop</title><h1>Our own shop</h1>
<script src="%s/embed.js" data-shop="lamps" data-goods="lamps-1a" async></script>`, s.Mall)
		}))
		t.Cleanup(own.Close)
		return own.URL
	}
	own, strange := site(), site()
	till.run(chromedp.Navigate(s.Mall + "/console/lamps/settings"))
	till.fill("Web sites that may show the shop's buttons", own)
	till.press("Save")
	p := open(t, chrome, "own", own)
	buttons := p.frame("/embed/lamps")
	buttons.fill("Name", "Ann")
	buttons.fill("E-mail", "ann@far.example")
	p.shot("embed")
	byMail := buttons.eval(`[...document.links].find((a) => a.textContent === "Ask by mail").href`)
	if !strings.HasPrefix(byMail, s.Mall+"/goods/") || !strings.HasSuffix(byMail, "/ask") {
		t.Errorf("Ask by mail leads to %s", byMail)
	}
	desk.run(chromedp.Navigate(s.Web + "/desk")) // it followed a link
	desk.wait("the desk's connection", 20*time.Second, func() bool {
		return strings.HasPrefix(desk.eval(`document.querySelector(".avail-words")?.textContent ?? ""`), "Available")
	})
	buttons.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 20*time.Second)
	desk.press("Answer")
	talk := p.frame("/c/")
	talk.statusBegins(20*time.Second, "Connected")
	desk.say("Good day, Ann.")
	talk.hears("Good day, Ann.")
	p.shot("embedded-talk")
	p.run(chromedp.Navigate(byMail))
	p.waitFor("heading", "Sign in", 10*time.Second) // and then the question, with the goods in it

	other := open(t, chrome, "strange", strange)
	other.frame("chrome-error://") // the browser refuses the frame
}
