// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// tabOf opens another tab of the same browser, with scripts in it.
func (p *page) tabOf(name, url string, scripts ...string) *page {
	p.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.t.Cleanup(cancel)
	other := &page{t: p.t, name: name, ctx: ctx}
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
	t.Parallel()
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
	second.wait("the name that others see", 10*time.Second, func() bool {
		return second.eval(`document.querySelector(".side-who p").textContent`) == "Sora"
	})
}

// TestDeskAtADaysLoad: a desk lists conversations and not the mails that were sent;
// missed calls are one button that shows them, also those that come while one is not
// to be disturbed, and they are dismissed for good; a press on a row leads to it
// whatever comes in meanwhile.
func TestDeskAtADaysLoad(t *testing.T) {
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	desk.set(`{"availability": "dnd"}`)
	var callers []*page
	for _, subject := range []string{"First question", "Second question", "Third question"} {
		p := s.caller(t, desk, subject)
		p.press("Chat now")
		p.statusBegins(10*time.Second, "Alerted", "No answer")
		callers = append(callers, p)
	}
	for i := range 3 {
		s.send(t, "host", fmt.Sprintf(letter, fmt.Sprint("Invoice ", i), fmt.Sprint("invoice-", i)),
			"customer@mall.example")
	}
	desk.waitFor("button", "3 missed calls", 10*time.Second) // on the open desk
	rows := func() string {
		return desk.eval(`[...document.querySelectorAll(".rooms .room-subject")].map((e) => e.textContent).join()`)
	}
	listed := func(want string) {
		t.Helper()
		desk.wait("the list "+want, 10*time.Second, func() bool { return rows() == want })
	}
	listed("Third question,Second question,First question")
	desk.press("Sent mails")
	listed("Invoice 2,Invoice 1,Invoice 0,Your order of two hanok lamps") // the last is the sample

	// Dismissed ones stay away, and the focus goes on to the next.
	desk.press("3 missed calls")
	listed("Third question,Second question,First question")
	desk.eval(`document.querySelector(".room-dismiss").focus(); ""`)
	desk.enter()
	listed("Second question,First question")
	desk.wait("the focus on the next row's button", 5*time.Second, func() bool {
		return desk.eval(`String(document.activeElement === document.querySelector(".room-dismiss"))`) == "true"
	})
	desk.run(chromedp.Reload())
	desk.press("2 missed calls")
	listed("Second question,First question")
	desk.press("Chats")
	listed("Third question,Second question,First question")

	// What is pressed is not moved away by a message elsewhere.
	at := desk.eval(`(() => { const r = document.querySelectorAll(".rooms .room")[0].getBoundingClientRect();
		return (r.x + 60) + " " + (r.y + 30); })()`)
	var x, y float64
	fmt.Sscan(at, &x, &y)
	mouse := func(kind input.DispatchMouseEventType) {
		t.Helper()
		if _, err := ask(desk, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: x, Y: y,
			Button: input.MouseButtonLeft, ClickCount: 1}); err != nil {
			t.Fatal(err)
		}
	}
	mouse(input.DispatchMouseEventTypeMousePressed)
	callers[0].say("I am the first one again")
	desk.wait("the message in the title", 10*time.Second,
		func() bool { return desk.eval("document.title") == "(1) Desk" })
	mouse(input.DispatchMouseEventTypeMouseReleased)
	desk.wait("the conversation that was pressed", 10*time.Second, func() bool {
		return desk.eval(`document.querySelector(".room[aria-current] .room-subject")?.textContent ?? ""`) ==
			"Third question"
	})
	listed("First question,Third question,Second question")
}

// TestRingWhileWriting: a ring takes no word of what somebody writes, and fits into
// a small window that is zoomed in.
func TestRingWhileWriting(t *testing.T) {
	s := startServer(t, t.TempDir())
	desk := open(t, browser(t), "host", s.Web+"/desk")
	s.signIn(desk, "host")
	first := s.caller(t, desk, "First question")
	first.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	// In a window of 320 by 256, as at 400 % zoom, all of it can be scrolled to, and the buttons are in view.
	desk.run(chromedp.EmulateViewport(320, 256))
	if wrong := desk.eval(`(() => {
		const inner = [...document.querySelectorAll(".incoming *")].filter((e) => e.scrollHeight > e.clientHeight + 1 &&
			/auto|scroll/.test(getComputedStyle(e).overflowY)).map((e) => e.className);
		const seen = [...document.querySelectorAll(".ring-answers button")]
			.every((e) => e.getBoundingClientRect().bottom <= innerHeight);
		return inner.join() + (seen ? "" : " the buttons are out of sight");
	})()`); wrong != "" {
		t.Errorf("zoomed in: %s", wrong)
	}
	desk.run(chromedp.EmulateViewport(1100, 800))
	desk.press("Answer")
	first.statusBegins(10*time.Second, "Connected")
	first.press("Leave")
	desk.fill("Message", "I am in the mid")
	second := s.caller(t, desk, "Second question")
	second.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.run(chromedp.KeyEvent("dle of it"))
	if got := desk.eval(`document.querySelector(".compose textarea").value`); got != "I am in the middle of it" {
		t.Errorf("the box has %q", got)
	}
	desk.press("Decline")
	second.statusBegins(10*time.Second, "Declined")
}

// TestSettingsByField: each setting is saved when it is changed, alone; what was set
// elsewhere meanwhile stays, and what is typed is not lost with the page.
func TestSettingsByField(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	desk := open(t, browser(t), "host", s.Web+"/desk")
	s.signIn(desk, "host")
	kept := func(expression, want string) {
		t.Helper()
		desk.wait(expression+" to be "+want, 10*time.Second, func() bool {
			desk.do(`fetch("/desk/settings").then((r) => r.json()).then((s) => { window.kept = s; return ""; })`)
			return desk.eval("JSON.stringify(window.kept."+expression+") ?? ''") == want
		})
	}
	set := func(control, value string) {
		t.Helper()
		desk.eval(fmt.Sprintf(`{ const e = document.querySelector(%q); e.value = %q;
			e.dispatchEvent(new Event("change", {bubbles: true})); } ""`, control, value))
	}
	desk.eval(`location.hash = "settings"; ""`)
	desk.waitFor("combobox", "Chats at once", 10*time.Second)
	desk.set(`{"back": 60, "availability": "dnd"}`) // at another desk
	set("#set-chats", "5")
	desk.statusBegins(10*time.Second, "Saved")
	kept("chats", "5")
	kept("back", "60")
	kept("availability", `"dnd"`)
	desk.wait("what was set elsewhere", 10*time.Second,
		func() bool { return desk.eval(`document.querySelector("#set-back").value`) == "60" })

	// What is wrong stands beside its field, and is not kept.
	set("#set-until", "2020-01-01T10:00")
	desk.has("Choose a time that is still to come.", 10*time.Second)
	if got := desk.eval(`document.querySelector("#set-until").getAttribute("aria-invalid")`); got != "true" {
		t.Errorf("a wrong time is marked %q", got)
	}
	kept("availability", `"dnd"`)

	desk.press("Add a reply")
	desk.fill("Text of reply 1", "We open at nine.")
	desk.eval(`location.hash = ""; ""`) // while the field has the focus
	kept("canned[0]?.text", `"We open at nine."`)
}
