// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// tabOf opens another tab of the same browser, with scripts in it.
func (p *page) tabOf(name, url string, scripts ...string) *page {
	p.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.t.Cleanup(cancel)
	other := &page{p.t, name, ctx}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1100, 800)); err != nil {
		p.t.Fatalf("%s: opening a tab: %v", name, err)
	}
	for _, script := range scripts {
		other.before(script)
	}
	other.run(chromedp.Navigate(url))
	return other
}

// caller mails a customer from the host and opens the link.
func (s *server) caller(t *testing.T, like *page, subject string) *page {
	t.Helper()
	s.send(t, "host", fmt.Sprintf(letter, subject, strings.ReplaceAll(subject, " ", "-")), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: "+subject))
	p := open(t, like.ctx, subject, link)
	p.waitFor("button", "Chat now", 10*time.Second)
	return p
}

// tones is how many a page has sounded.
func (p *page) tones() string { return p.eval("String(window.tones)") }

// TestTabsOfOneBrowser: of two desks in one browser one sounds, the one that was
// pressed last; a message sounds unless it is before one's eyes; and with the
// sign-out in one tab, or another login's sign-in, the other desk is over.
func TestTabsOfOneBrowser(t *testing.T) {
	s := startServer(t, t.TempDir())
	first := open(t, browser(t), "first", "about:blank")
	first.before(ears)
	first.run(chromedp.Navigate(s.Web + "/desk"))
	s.signIn(first, "host")
	second := first.tabOf("second", s.Web+"/desk", ears)
	second.waitFor("searchbox", "Search conversations", 10*time.Second)
	second.run(chromedp.MouseClickXY(700, 600))

	customer := s.caller(t, first, "Two tabs")
	customer.press("Chat now")
	for _, desk := range []*page{first, second} {
		desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	}
	second.wait("a tone", 10*time.Second, func() bool { return second.tones() != "0" })
	if n := first.tones(); n != "0" {
		t.Errorf("both tabs sound, the first one %s times", n)
	}
	second.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	second.eval(`location.hash = ""; ""`)
	before := second.tones()
	customer.say("Are you still there?")
	second.wait("a tone for a message in a conversation that is not shown", 10*time.Second,
		func() bool { return second.tones() != before })
	second.wait("the title", 5*time.Second, func() bool { return second.eval("document.title") == "(1) Desk" })

	second.eval(`location.hash = "settings"; ""`)
	second.press("Sign out")
	first.has("Your session has ended.", 10*time.Second)
	second.waitFor("button", "Sign in", 10*time.Second)
	s.signIn(second, "host")
	first.run(chromedp.Reload())
	first.waitFor("searchbox", "Search conversations", 10*time.Second)
	login, password := s.password("friend")
	second.do(fmt.Sprintf(`fetch("/desk/sign-in", {method: "POST", headers: {"Content-Type": "application/json"}, `+
		`body: JSON.stringify({login: %q, password: %q})}).then(() => "")`, login, password))
	second.run(chromedp.Reload())
	first.has("Another login was signed in", 10*time.Second)
	second.waitFor("searchbox", "Search conversations", 10*time.Second)
	if who := second.eval(`document.querySelector(".side-who p").textContent`); who != "friend" {
		t.Errorf("the second tab is the desk of %s", who)
	}
}
