// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"testing"
	"time"
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
