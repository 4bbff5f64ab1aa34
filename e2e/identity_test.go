// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"regexp"
	"testing"
	"time"
)

// TestLinkIsNoIdentity: a link that somebody else has pressed is its owner's by a
// code. Whoever pressed it is out at once, and the owner too when it is taken back.
func TestLinkIsNoIdentity(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	s.send(t, "host", fmt.Sprintf(letter, "Whose link", "whose"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Whose link"))
	inside := func(p *page) bool {
		_, there := p.find("textbox", "Message")
		return there
	}
	other := open(t, chromium, "other", link+").") // as it stood in a sentence
	other.press("Chat now")
	other.say("Let me in, I am Jun.")
	other.hears("Let me in, I am Jun.")

	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	customer.press("E-mail a code to c…@mall.example")
	code := regexp.MustCompile(`\b\d{6}\b`).FindString(body(s.mailWith(t, "customer", "Your chat code")))
	customer.fill("Code from the e-mail", code)
	customer.press("Continue")
	customer.hears("Let me in, I am Jun.") // and it says that it was not said by Jun for sure
	customer.say("This is Jun.")
	other.wait("the end of the other's way in", 10*time.Second, func() bool { return !inside(other) })

	s.admin(t, "link", "revoke", link)
	customer.wait("the end of the link", 10*time.Second, func() bool { return !inside(customer) })
	customer.waitFor("link", "Reply by e-mail", 10*time.Second)
	s.stop(t)
}
