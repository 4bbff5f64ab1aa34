// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// talking is a customer's page and the host's desk in a conversation.
func talking(t *testing.T, s *server, subject string) (customer, desk *page) {
	t.Helper()
	chromium := browser(t)
	desk = open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	s.send(t, "host", fmt.Sprintf(letter, subject, "chatpage"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: "+subject))
	customer = open(t, chromium, "customer", link)
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 20*time.Second)
	desk.press("Answer")
	customer.statusBegins(20*time.Second, "Connected")
	return customer, desk
}

// TestHeardOnce: a screen reader hears a message once, its sender's too, though
// it is sent, acknowledged and seen meanwhile. What it hears is what is put into
// the log, but for parts that say that they are not live.
func TestHeardOnce(t *testing.T) {
	t.Parallel()
	customer, desk := talking(t, startServer(t, t.TempDir()), "Once")
	for _, p := range []*page{customer, desk} {
		p.eval(`heard = [];
			const live = (n) => n.nodeType === 3 ? n.data
				: n.hidden || n.ariaLive === "off" ? "" : [...n.childNodes].map(live).join("");
			new MutationObserver((all) => {
				for (const m of all) for (const n of m.addedNodes)
					if (!m.target.closest("[aria-live=off], [hidden]")) heard.push(live(n));
			}).observe(document.querySelector("[role=log]"), { childList: true, subtree: true, characterData: true });
			""`)
	}
	customer.say("read me once")
	customer.has("Seen", 10*time.Second)
	desk.say("and me")
	desk.has("Seen", 10*time.Second)
	for _, p := range []*page{customer, desk} {
		for _, text := range []string{"read me once", "and me"} {
			if n := p.eval(fmt.Sprintf(`String(heard.filter((x) => x.includes(%q)).length)`, text)); n != "1" {
				t.Errorf("%s hears %q %s times: %s", p.name, text, n, p.eval(`heard.join(" | ")`))
			}
		}
	}
}

// problem is what the card says went wrong.
func (p *page) problem() string {
	return p.eval(`document.querySelector(".card > .problem")?.textContent ?? ""`)
}

// TestPressesOfPrograms: a scanner of mail that presses every button, with a mouse
// or by a script, rings nobody, and the link is still its owner's, who presses once.
func TestPressesOfPrograms(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	s.send(t, "host", fmt.Sprintf(letter, "Pressed", "pressed"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: Pressed"))
	const buttons = `String(document.querySelectorAll("button, a").length)`
	for name, press := range map[string]func(*page){
		"scanner": func(p *page) {
			doc, err := ask(p, dom.GetDocument, dom.GetDocumentParams{})
			if err != nil {
				t.Fatal(err)
			}
			all, err := ask(p, dom.QuerySelectorAll,
				dom.QuerySelectorAllParams{NodeID: doc.Root.NodeID, Selector: "button"})
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range all.NodeIDs {
				if _, err := ask(p, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{NodeID: id}); err != nil {
					t.Fatal(err)
				}
				box, err := ask(p, dom.GetBoxModel, dom.GetBoxModelParams{NodeID: id})
				if err != nil {
					t.Fatal(err)
				}
				at := box.Model.Content
				p.run(chromedp.MouseClickXY((at[0]+at[4])/2, (at[1]+at[5])/2))
			}
		},
		"script": func(p *page) { p.eval(`document.querySelector(".card .large").click(); ""`) },
	} {
		visit := open(t, chromium, name, link)
		visit.wait("the script", 10*time.Second, func() bool {
			return visit.eval(`String(document.getElementById("loading"))`) == "null"
		})
		before := visit.eval(buttons)
		press(visit)
		visit.wait("being asked", 10*time.Second, func() bool {
			return strings.HasPrefix(visit.problem(), "Press once more")
		})
		if got := s.attempts(t); got != "" || visit.eval(buttons) != before {
			t.Errorf("%s: the presses made attempts: %s", name, got)
		}
		visit.close()
	}
	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	customer.statusBegins(20*time.Second, "Alerted")
}

// TestConversationNotLoaded: where the script of the conversation does not come, the
// press says so and rings nobody; a later press tries again.
func TestConversationNotLoaded(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	s.send(t, "host", fmt.Sprintf(letter, "Loaded", "loaded"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: Loaded"))
	customer := open(t, chromium, "customer", s.Web+"/healthz")
	block := func(on bool) {
		t.Helper()
		pattern := &network.BlockPattern{URLPattern: "*://*:*/assets/talk*", Block: on}
		if _, err := ask(customer, network.SetBlockedURLs,
			network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{pattern}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask(customer, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	block(true)
	customer.run(chromedp.Navigate(link))
	customer.press("Chat now")
	customer.wait("words", 10*time.Second, func() bool { return strings.Contains(customer.problem(), "loading completely") })
	if got := s.attempts(t); got != "" {
		t.Errorf("a page without a conversation rings: %s", got)
	}
	block(false)
	customer.press("Chat now")
	customer.statusBegins(20*time.Second, "Alerted")
}
