// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cdbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
)

// TestPushInTheWorker: what push brings is shown by the service worker while
// no desk is looked at. Repeats of a conversation are one notification, the end
// of a ring takes its place, and before a desk that is looked at nothing shows.
func TestPushInTheWorker(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	p := open(t, browser(t), "phone", "about:blank")
	ctx := chromedp.FromContext(p.ctx)
	if _, err := chromedp.CallBrowser(p.ctx, cdbrowser.SetPermission, cdbrowser.SetPermissionParams{
		Permission: &cdbrowser.PermissionDescriptor{Name: "notifications"}, Setting: "granted",
		BrowserContextID: ctx.BrowserContextID}); err != nil {
		t.Fatal(err)
	}
	registered := make(chan serviceworker.RegistrationID, 16)
	if err := chromedp.Listen(p.ctx, func(ev any) {
		if e, ok := ev.(*serviceworker.EventWorkerRegistrationUpdated); ok {
			for _, r := range e.Registrations {
				select {
				case registered <- r.RegistrationID:
				default:
				}
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(p, serviceworker.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	p.run(chromedp.Navigate(s.Web + "/desk"))
	p.do(`navigator.serviceWorker.ready.then(() => "")`)
	var id serviceworker.RegistrationID
	select {
	case id = <-registered:
	case <-time.After(10 * time.Second):
		t.Fatal("no service worker")
	}
	push := func(data string) {
		t.Helper()
		if _, err := ask(p, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{Origin: s.Web,
			RegistrationID: id, Data: data}); err != nil {
			t.Fatal(err)
		}
		// asking for notifications while one is being shown can make Chromium forget it
		time.Sleep(500 * time.Millisecond)
	}
	shows := func(want string) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("shown: %q", p.eval("window.shown"))
			}
		}()
		p.wait("the notifications "+want, 10*time.Second, func() bool {
			p.do(`navigator.serviceWorker.getRegistration("/desk").then((r) => r.getNotifications()).then((all) => {
				window.shown = all.map((n) => n.title + ": " + n.body + " " + n.actions.length).sort().join("; ");
				return "";
			})`)
			return p.eval("window.shown") == want
		})
	}
	declared := func(title, body, tag, kind, more string) string {
		return fmt.Sprintf(`{"web_push":8030,"mutable":true,"notification":{"title":%q,"body":%q,"tag":%q,"renotify":true,`+
			`"timestamp":1790000000000,"data":{"kind":%q,"room":"R1","attempt":"A1"}%s}}`, title, body, tag, kind, more)
	}
	ring := declared("Incoming chat: Jun", "The lamp", "ring-A1", "ring", `,"requireInteraction":true,`+
		`"vibrate":[300,150],"actions":[{"action":"answer","title":"Answer"},{"action":"decline","title":"Decline"}]`)

	push(ring) // a desk is looked at: it rings by itself
	time.Sleep(time.Second)
	shows("")
	p.run(chromedp.Navigate(s.Web + "/"))
	push(ring)
	push(ring)
	shows("Incoming chat: Jun: The lamp 2")
	push(declared("New message from Jun", "The lamp", "R1", "message", "")) // and the ring keeps its buttons
	shows("Incoming chat: Jun: The lamp 2; New message from Jun: The lamp 0")
	push(declared("Jun: answered on another device", "The lamp", "ring-A1", "end", `,"silent":true`))
	shows("Jun: answered on another device: The lamp 0; New message from Jun: The lamp 0")
	push(declared("Jun tried to reach you", "<b>The lamp</b>", "ring-A1", "alarm", ""))
	push(`not JSON`)
	shows("Jun tried to reach you: <b>The lamp</b> 0; New message from Jun: The lamp 0")
}

// TestTheLid: a page that was frozen, as by the lid of a laptop, has after it
// everything that was said meanwhile, once.
func TestTheLid(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	s.send(t, "host", fmt.Sprintf(letter, "The lid", "lid"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: The lid"))
	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	state := func(to cdpage.SetWebLifecycleStateState) {
		t.Helper()
		if _, err := ask(customer, cdpage.SetWebLifecycleState,
			cdpage.SetWebLifecycleStateParams{State: to}); err != nil {
			t.Fatal(err)
		}
	}
	state("frozen")
	desk.statusBegins(20*time.Second, "Ended") // the customer is gone
	for _, text := range []string{"one", "two"} {
		desk.say(text)
	}
	state("active")
	// Whoever opens the lid looks at the page, which DevTools leaves hidden,
	// and without a tree of accessible names.
	customer.eval(`Object.defineProperty(document, "hidden", {value: false});
		Object.defineProperty(document, "visibilityState", {value: "visible"});
		document.dispatchEvent(new Event("visibilitychange")); ""`)
	start := time.Now()
	customer.tells("two")
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the page was back after %v", took)
	}
	customer.eval(`document.querySelector("textarea").value = "three";` +
		` document.querySelector("button[type=submit]").click(); ""`)
	desk.hears("three")
	customer.tells("three")
	for _, p := range []*page{desk, customer} {
		if got := p.eval(`[...document.querySelectorAll("[role=log] .bubble")].map((e) =>` +
			` e.textContent).join()`); got != "one,two,three" {
			t.Errorf("%s has %s", p.name, got)
		}
		p.statusBegins(10*time.Second, "Connected")
	}
}

// TestBlockAtTheDesk: whom the host has blocked rings as ever on their own
// page, and nowhere else, until the block is undone in the settings.
func TestBlockAtTheDesk(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	s.send(t, "host", fmt.Sprintf(letter, "To be blocked", "block"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: To be blocked"))
	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	customer.say("Something rude")
	desk.hears("Something rude")
	desk.eval(`document.querySelector(".details").click(); ""`)
	desk.press("What to do about Jun")
	desk.pressRole("menuitem", "Block")
	desk.wait("the question", 5*time.Second, func() bool {
		return desk.eval(`document.querySelector("dialog.ask")?.innerText ?? ""`) != ""
	})
	desk.eval(`document.querySelector("dialog.ask .primary").click(); ""`)
	desk.has("Jun is blocked.", 10*time.Second)
	customer.say("Something worse")
	customer.press("Leave")
	desk.eval(`location.hash = ""; ""`)
	time.Sleep(6 * time.Second) // so long the desk stays in a conversation that it does not show
	customer.press("Chat again")
	customer.statusBegins(10*time.Second, "Ringing")
	time.Sleep(4 * time.Second)
	if _, rings := desk.find("alertdialog", "Incoming chat"); rings {
		t.Error("who is blocked rings")
	}
	if text := desk.eval("document.body.innerText"); !strings.Contains(text,
		"Something rude") && !strings.Contains(text, "You answered") || strings.Contains(text, "Something worse") {
		t.Errorf("who is blocked is heard: %s", text)
	}
	customer.press("Cancel")
	desk.eval(`location.hash = "settings"; ""`)
	desk.press("Unblock Jun")
	desk.has("Nobody is blocked.", 10*time.Second)
	customer.press("Leave")
	time.Sleep(3 * time.Second)
	customer.press("Chat again")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
}
