// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// withGroup runs the configuration of a demo, with a group of the host and the friend.
func withGroup(t *testing.T, s *server) {
	t.Helper()
	s.adminWith(t, "a long password of sales\n", "user", "add", "sales@mall.example")
	s.stop(t)
	conf := filepath.Join(s.state, "maddy.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	grouped := strings.Replace(string(text), "chat.relay relay {", "chat.relay relay {\n"+
		"    group sales@mall.example {\n        member host@mall.example friend@mall.example\n    }", 1)
	if err := os.WriteFile(conf, []byte(grouped), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(chmaild, "--config", conf, "run")
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.cmd.Wait() }()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get(s.Web + "/desk"); err == nil {
			if r.Body.Close(); r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("the server does not come back")
		}
	}
}

// TestTeam: what a customer writes to a group appears at the desks of its members;
// one of them looks after it, hands it over, and leaves a note that the customer
// never gets.
func TestTeam(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	withGroup(t, s)
	desk := func(role string) *page {
		p := open(t, browser(t), role, "about:blank")
		p.run(chromedp.Navigate(s.Web + "/desk"))
		s.signIn(p, role)
		return p
	}
	host, friend, customer := desk("host"), desk("friend"), desk("customer")
	lists := func(p *page) string {
		return p.eval(`[...document.querySelectorAll(".rooms .room-subject")].map((e) => e.textContent).join()`)
	}
	shows := func(p *page, list, want string) {
		t.Helper()
		p.press(list)
		p.wait(list+" with "+want, 10*time.Second, func() bool { return lists(p) == want })
	}

	customer.eval(`location.hash = "write"; ""`)
	customer.waitFor("heading", "Write to somebody", 10*time.Second)
	customer.shot("write")
	customer.fill("To", "sales@mall.example")
	customer.fill("Subject", "Red shoes")
	customer.fill("Message", "How much are they?")
	customer.press("Send the mail")
	customer.hears("How much are they?")
	for _, p := range []*page{host, friend} { // without being loaded again
		p.wait("the conversation", 10*time.Second, func() bool { return lists(p) == "Red shoes" })
		shows(p, "Mine", "")
		shows(p, "Unassigned", "Red shoes")
	}
	if _, found := host.find("alertdialog", "Incoming chat"); found {
		t.Error("writing rings")
	}

	host.eval(`document.querySelector(".rooms .room").click(); ""`)
	host.hears("How much are they?")
	host.say("Thirty.")
	host.has("Yours", 10*time.Second)
	customer.hears("Thirty.")
	customer.eval(`[...document.querySelectorAll(".line-more")].at(-1).click(); ""`)
	customer.pressRole("menuitem", "Reply")
	customer.say("Only for the left one?")
	for _, p := range []*page{host, customer} {
		p.wait("the quotation", 10*time.Second, func() bool {
			return strings.HasSuffix(p.eval(`document.querySelector(".quote")?.textContent ?? ""`), " Thirty.")
		})
	}
	shows(friend, "Chats", "")
	shows(friend, "All", "Red shoes")

	friend.eval(`document.querySelector(".rooms .room").click(); ""`)
	friend.has("host@mall.example looks after it", 10*time.Second)
	host.press("0 notes")
	host.fill("A note, which only colleagues see", "A secret rebate is possible.")
	host.press("Add the note")
	host.has("A secret rebate is possible.", 10*time.Second)
	friend.press("1 note")
	friend.has("A secret rebate is possible.", 10*time.Second)
	friend.fill("Add a label", "VIP")
	friend.eval(`document.querySelector(".label-add").requestSubmit(); ""`)
	host.wait("the label", 10*time.Second, func() bool {
		return strings.Contains(host.eval(
			`document.querySelector(".labels").textContent`), "VIP")
	})
	host.shot("team")

	host.press("Hand over")
	host.pressRole("menuitem", "To friend@mall.example (available)")
	friend.has("Yours", 10*time.Second)
	host.has("friend@mall.example looks after it", 10*time.Second)
	shows(host, "Mine", "")
	shows(friend, "Mine", "Red shoes")

	// A colleague takes it over, and gives it back to the group.
	host.press("Hand over")
	host.pressRole("menuitem", "Take over")
	host.has("Yours", 10*time.Second)
	friend.has("host@mall.example looks after it", 10*time.Second)
	host.press("Hand over")
	host.pressRole("menuitem", "Back to sales@mall.example")
	for _, p := range []*page{host, friend} {
		p.has("Nobody of sales@mall.example looks after it yet", 10*time.Second)
	}
	shows(host, "Unassigned", "Red shoes")

	// Neither the page nor what the server sends of the room has the note.
	seen := customer.eval(`document.body.innerText`)
	all := customer.eval(`(() => {
		const ask = new XMLHttpRequest();
		ask.open("GET", "/desk/rooms?list=all", false);
		ask.send();
		return ask.responseText;
	})()`)
	if strings.Contains(seen+all, "rebate") || !strings.Contains(all, "Only for the left one?") {
		t.Errorf("the customer's page %q, list %q", seen, all)
	}
	inviteColleague(t, s, host, friend)
	host.eval(`location.hash = "figures"; ""`)
	host.has("Last 7 days", 10*time.Second)
	host.waitFor("table", "", 10*time.Second)
	host.shot("figures")
}

// inviteColleague: the host writes first to a customer, whom that rings on no device, and then invites a colleague, who
// comes in by the link as who they are signed in as, and reads what was said.
func inviteColleague(t *testing.T, s *server, host, friend *page) {
	t.Helper()
	host.eval(`location.hash = "write"; ""`)
	host.fill("To", "customer@mall.example")
	host.fill("Subject", "Your lamps")
	host.fill("Message", "The lamps come on Monday.")
	host.press("Send the mail")
	host.hears("The lamps come on Monday.")
	if links := headers(s.mailWith(t, "customer", "Subject: Your lamps"), "CHmail-Chat"); len(links) != 1 {
		t.Errorf("the customer's mail has the links %q", links)
	}
	host.press("Details")
	host.fill("Invite somebody into this conversation", "friend@mall.example")
	host.press("Invite")
	host.has("friend@mall.example gets a mail with a link.", 10*time.Second)
	mail := decode(body(s.mailWith(t, "friend", "invites you to a conversation: Your lamps")))
	colleague := friend.tabOf("invited", s.Web+regexp.MustCompile(`/c/[\w-]{22}`).FindString(mail))
	colleague.has("You’ll join as friend@mall.example.", 10*time.Second)
	colleague.press("Chat now")
	colleague.hears("The lamps come on Monday.")
	colleague.say("I have them here.")
	host.hears("I have them here.")
}
