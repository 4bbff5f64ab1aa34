// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestPages shows a person every state of the pages, and looks at each: axe
// finds nothing, nothing reaches beyond the window, no words are missing.
// CHMAIL_SHOTS=DIR keeps a picture of each, CHMAIL_LOOKS=all has every look.
func TestPages(t *testing.T) {
	t.Parallel()
	chromium := browser(t)
	for _, l := range looks() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			(&tour{T: t, look: l, chromium: chromium, w: words(t, l.lang)}).run()
		})
	}
}

// tour is one walk through the pages.
type tour struct {
	*testing.T
	look     look
	chromium context.Context
	w        func(key string, values ...string) string
	s        *server
	mails    int
}

func (o *tour) open(name, url string) *page {
	o.Helper()
	return openAs(o.T, o.chromium, o.look, o.look.String()+"-"+name, url)
}

// mail sends one from the host and returns each recipient's link.
func (o *tour) mail(subject string, roles ...string) (links []string) {
	o.Helper()
	o.mails++
	names := map[string]string{"customer": "Jun Park <customer@mall.example>",
		"friend": "Sora Lee <friend@mall.example>"}
	var to, rcpt []string
	for _, role := range roles {
		to = append(to, names[role])
		rcpt = append(rcpt, role+"@mall.example")
	}
	o.s.send(o.T, "host", fmt.Sprintf("From: Mina Kim <host@mall.example>\nTo: %s\nSubject: %s\nDate: %s\nMessage-ID:"+
		" <%d@mall.example>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nShall we talk about it?\n",
		strings.Join(to, ", "), subject, time.Now().Format(time.RFC1123Z), o.mails), rcpt...)
	for _, role := range roles {
		links = append(links, strings.Trim(headers(o.s.mailWith(o.T, role, fmt.Sprintf("<%d@mall.example>", o.mails)),
			"CHmail-Chat")[0], "<> "))
	}
	return links
}

func (o *tour) signIn(p *page, role string) {
	o.Helper()
	login, password := o.s.password(role)
	p.fill(o.w("signin.login"), login)
	p.fill(o.w("signin.password"), password)
	p.press(o.w("signin.button"))
	p.waitFor("searchbox", o.w("search.name"), 10*time.Second)
}

// set changes settings of the one whose desk this is.
func (p *page) set(body string) {
	p.t.Helper()
	p.do(fmt.Sprintf(`fetch("/desk/settings", {method: "PUT", headers: {"Content-Type": "application/json"}, body:`+
		` %q}).then((r) => r.ok ? "" : "settings: " + r.status)`, body))
}

// do runs script of the page that gives words when something is wrong.
func (p *page) do(script string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, actionWait)
	defer cancel()
	wrong, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil || wrong != "" {
		p.t.Fatalf("%s: %s %v", p.name, wrong, err)
	}
}

// attach sends files as with the clip.
func (p *page) attach(paths ...string) {
	p.t.Helper()
	doc, err := ask(p, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		p.t.Fatal(err)
	}
	clip, err := ask(p, dom.QuerySelector,
		dom.QuerySelectorParams{NodeID: doc.Root.NodeID, Selector: "input[type=file]"})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := ask(p, dom.SetFileInputFiles,
		dom.SetFileInputFilesParams{Files: paths, NodeID: clip.NodeID}); err != nil {
		p.t.Fatalf("%s: attaching %s: %v", p.name, paths, err)
	}
}

func (o *tour) picture(name string) string {
	o.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 480, 300))
	for y := range 300 {
		for x := range 480 {
			img.Set(x, y, color.RGBA{uint8(200 - y/3), uint8(120 + x/8), uint8(90 + y/4), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		o.Fatal(err)
	}
	return o.file(name, b.Bytes())
}

func (o *tour) file(name string, content []byte) string {
	o.Helper()
	path := filepath.Join(o.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		o.Fatal(err)
	}
	return path
}

func (o *tour) run() {
	o.s = startServer(o.T, o.TempDir())
	o.door()
	host, customer, friend := o.ringing()
	o.talking(host, customer, friend)
	o.beside(host, customer, friend)
	o.notThere(host, customer, friend)
	o.lost(host, customer)
	o.off(host, customer)
	o.s.stop(o.T)
	host.run(chromedp.Navigate(o.s.Web + "/desk"))
	// The page that the service worker keeps is in the language of the browser, not of this page.
	host.has(words(o.T, "en")("offline.title"), 10*time.Second)
	host.check("offline")
}

// door: the landing page, signing in, a desk without anything, links that lead nowhere.
func (o *tour) door() {
	front := o.open("landing", o.s.Web)
	front.has(o.w("demo.title"), 10*time.Second)
	front.check("demo")
	front.run(chromedp.Navigate(o.s.Web + "/c/AAAAAAAAAAAAAAAAAAAAAA"))
	front.has(o.w("gone.unknown.title"), 10*time.Second)
	front.check("gone-unknown")
	front.close()

	o.s.adminWith(o.T, "new-at-the-mall\n", "user", "add", "new@mall.example")
	desk := o.open("empty", o.s.Web+"/desk")
	desk.waitFor("button", o.w("signin.button"), 10*time.Second)
	desk.check("sign-in")
	desk.fill(o.w("signin.login"), "new@mall.example")
	desk.fill(o.w("signin.password"), "wrong")
	desk.press(o.w("signin.button"))
	desk.has(o.w("signin.wrong"), 10*time.Second)
	desk.check("sign-in-wrong")
	desk.eval(`document.querySelector("input[type=password]").value = ""`)
	desk.fill(o.w("signin.password"), "new-at-the-mall")
	desk.press(o.w("signin.button"))
	desk.has(o.w("empty.title"), 10*time.Second)
	desk.check("desk")
	desk.close()
}

// ringing: the card, the rings on both sides, more of them behind.
func (o *tour) ringing() (host, customer, friend *page) {
	links := o.mail("Your lamp is ready", "customer", "friend")
	other := o.mail("The table in the window", "friend")[0]

	customer = o.open("customer", links[0])
	customer.waitFor("button", o.w("chat.now"), 10*time.Second)
	customer.check("card-off")

	host = o.open("host", o.s.Web+"/desk")
	o.signIn(host, "host")
	host.waitFor("button", o.w("list.mine"), 10*time.Second) // of a shop's staff; it moves the next one
	host.press(o.w("list.mails"))                            // nobody has said anything yet
	host.has("Your lamp is ready", 10*time.Second)
	host.check("list")
	host.press(o.w("list.chats"))

	customer.run(chromedp.Reload())
	customer.has(o.w("status.available"), 10*time.Second)
	customer.check("card")
	customer.press(o.w("chat.now"))
	customer.waitFor("button", o.w("ringing.cancel"), 10*time.Second)
	customer.insert(o.w("compose.name"), "Is the lamp warm or cold?")
	customer.check("ringing")
	host.waitFor("alertdialog", o.w("ring.heading"), 10*time.Second)
	host.check("ring")

	friend = o.open("friend", other)
	friend.press(o.w("chat.now"))
	host.has(o.w("ring.oneMore", "names", "Sora Lee"), 10*time.Second)
	host.check("ring-more")
	friend.waitFor("button", o.w("ringing.cancel"), 10*time.Second)
	friend.press(o.w("ringing.cancel"))
	friend.waitFor("button", o.w("outcome.again"), 10*time.Second)
	friend.check("cancelled")
	host.press(o.w("ring.answer"))
	customer.has(o.w("status.connected", "names", "Mina Kim"), 10*time.Second)

	friend.run(chromedp.Navigate(links[1]))
	return host, customer, friend
}

// talking: what a conversation has in it.
func (o *tour) talking(host, customer, friend *page) {
	say := func(p *page, text string) {
		p.insert(o.w("compose.name"), text)
		p.press(o.w("compose.send"))
	}
	customer.press(o.w("compose.send"))
	host.tells("Is the lamp warm or cold?")
	say(host, "Warm, 2700 kelvin.\nIt is in the shop: https://mall.example/lamps/warm")
	say(host, "Here it is:")
	host.attach(o.picture("lamp.png"))
	host.wait("the picture", 20*time.Second, func() bool {
		return customer.eval(`String(document.querySelectorAll("[role=log] img").length)`) == "1"
	})
	customer.attach(o.file("2026-11 bill of the lamp in the window.pdf", []byte("%PDF-1.4\n%bill")))
	host.tells("bill of the lamp")
	say(customer, "감사합니다 🙂")
	say(customer, "👍")
	say(customer, "This was not meant to be here")
	host.tells("not meant to be here")

	friend.press(o.w("chat.now"))
	// Nobody has pressed anything at the desk for a while: it rings there. Whoever has only pressed a link is not
	// shown what was said before.
	host.waitFor("alertdialog", o.w("ring.heading"), 20*time.Second)
	host.press(o.w("ring.answer"))
	friend.waitFor("textbox", o.w("compose.name"), 10*time.Second)
	if log := friend.log(); strings.Contains(log, "👍") {
		o.Errorf("whoever has only a link reads what was said before: %s", log)
	}
	customer.has(o.w("coming.in", "name", "Sora Lee"), 10*time.Second)
	say(friend, "I take the table, then.")
	customer.tells("I take the table")
	// One message is changed, one is taken away.
	customer.ofLast(o.w("line.delete"))
	customer.press(o.w("line.delete"))
	customer.tells(o.w("line.deleted"))
	say(customer, "When can I come?")
	host.tells("When can I come?")
	customer.ofLast(o.w("line.edit"))
	customer.check("editing")
	customer.insert(o.w("compose.name"), " Today?")
	customer.press(o.w("compose.send"))
	customer.tells(o.w("line.edited"))
	host.insert(o.w("compose.name"), "Until")
	customer.has(o.w("typing.one", "names", "Mina Kim"), 10*time.Second)
	customer.check("talking")
	host.check("talking")
	say(host, " six.")
	host.has(o.w("line.seenBy", "names", ""), 10*time.Second)

	customer.eval(`document.querySelector(".details").click(); ""`)
	customer.check("details")
	customer.eval(`document.querySelector(".details").click(); ""`)
	host.eval(`document.querySelector(".details").click(); ""`)
	host.check("details")
	host.eval(`document.querySelector(".details").click(); ""`)
	customer.eval(`document.querySelector("[role=log] .line:not(.own) button.picture").click(); ""`)
	customer.check("picture")
	customer.press(o.w("ask.close"))
	host.eval(`document.querySelector(".mail summary").click(); ""`)
	host.eval(`document.querySelector(".log").scrollTop = 0; ""`)
	host.check("mail")
}

// beside: the rest of the desk.
func (o *tour) beside(host, customer, friend *page) {
	// A ring while one is talking comes to the side.
	link := o.mail("A second question", "friend")[0]
	friend.run(chromedp.Navigate(link))
	friend.press(o.w("chat.now"))
	host.waitFor("alertdialog", o.w("ring.heading"), 10*time.Second)
	host.check("ring-gentle")
	friend.waitFor("button", o.w("ringing.cancel"), 10*time.Second)
	friend.check("ringing-busy")
	second := o.open("host-second", o.s.Web+"/desk")
	o.signIn(second, "host")
	second.waitFor("alertdialog", o.w("ring.heading"), 10*time.Second)
	second.press(o.w("ring.answer"))
	host.has(o.w("toast.elsewhere", "name", "Sora Lee"), 10*time.Second)
	host.check("answered-elsewhere")
	friend.has(o.w("status.connected", "names", "Mina Kim"), 10*time.Second)
	friend.insert(o.w("compose.name"), "Is it oak?")
	friend.press(o.w("compose.send"))
	friend.tells("Is it oak?")
	friend.press(o.w("chat.leave"))
	friend.press(o.w("left.good"))
	friend.has(o.w("left.rated"), 10*time.Second)
	friend.has(o.w("chat.again"), 10*time.Second)
	friend.check("left")
	second.close()

	o.list(host)
	host.waitFor("searchbox", o.w("search.name"), 10*time.Second)
	host.fillRole("searchbox", o.w("search.name"), "lamp")
	host.has("lamp.png", 10*time.Second)
	host.check("search")
	host.fillRole("searchbox", o.w("search.name"), " zebra")
	host.has(o.w("search.none"), 10*time.Second)
	host.check("search-none")
	host.eval(`const s = document.querySelector("input[type=search]"); s.value = ""; s.dispatchEvent(new` +
		` Event("input", {bubbles: true})); ""`)

	now := time.Now().UTC()
	host.set(fmt.Sprintf(`{"canned": [{"title": "Hours", "text": "We are open from nine to six."},
		{"title": "Delivery", "text": "It takes two days."}],
		"quiet": {"from": %q, "to": %q, "days": []}, "zone": "UTC"}`,
		now.Add(-time.Hour).Format("15:04"), now.Add(time.Hour).Format("15:04")))
	host.eval(`document.querySelector("button.avail").click(); ""`)
	host.check("availability")
	host.run(chromedp.KeyEvent(kb.Escape))
	host.eval(`location.hash = "settings"; ""`)
	host.waitFor("heading", o.w("settings.title"), 10*time.Second)
	host.check("settings")
	host.eval(`document.querySelector(".canned-list").scrollIntoView(); ""`)
	host.check("settings-more")
	o.list(host)
	host.eval(`document.querySelector(".bell summary").click(); ""`)
	host.check("bell")
	host.eval(`document.querySelector(".bell summary").click(); ""`)
}

// list leads the desk from a conversation to the list of all.
func (o *tour) list(desk *page) {
	o.Helper()
	if o.look.width > 800 {
		desk.eval(`location.hash = ""; ""`)
	} else if desk.eval("location.hash") != "" {
		desk.press(o.w("desk.back"))
	}
	desk.waitFor("searchbox", o.w("search.name"), 10*time.Second)
}

// notThere: declined, do not disturb, busy, off, and what was missed.
func (o *tour) notThere(host, customer, friend *page) {
	customer.press(o.w("chat.leave"))
	o.list(host)
	link := o.mail("A third question", "friend")[0]
	friend.run(chromedp.Navigate(link))
	friend.has(strings.SplitN(o.w("status.quietUntil", "time", "{time}"), "{time}", 2)[0], 10*time.Second)
	friend.check("card-quiet")
	friend.press(o.w("chat.now"))
	friend.has(o.w("outcome.quiet", "name", "Mina Kim"), 10*time.Second)
	friend.check("quiet")
	// The end of the quiet hours rings for who still waits.
	host.set(`{"quiet": null}`)
	host.waitFor("alertdialog", o.w("ring.heading"), 10*time.Second)
	host.check("ring-canned")
	host.eval(`document.querySelector(".decline summary").click(); ""`)
	host.insert(o.w("ring.words"), "In a meeting until three")
	host.check("ring-words")
	host.press(o.w("ring.declineSend"))
	friend.has("In a meeting until three", 10*time.Second)
	friend.check("declined")

	// A desk that does not show a conversation leaves it soon after the others: the next attempt rings.
	time.Sleep(6 * time.Second)
	host.set(`{"availability": "dnd"}`)
	customer.run(chromedp.Reload())
	customer.has(o.w("status.dnd"), 10*time.Second)
	customer.check("card-dnd")
	customer.press(o.w("chat.now"))
	customer.has(o.w("outcome.dnd", "name", "Mina Kim"), 10*time.Second)
	customer.has(o.w("outcome.tell", "name", "Mina Kim"), 10*time.Second)
	customer.check("dnd")
	host.wait("the missed call", 10*time.Second, func() bool {
		return host.eval(`String(document.querySelector(".list-missed").hidden)`) == "false"
	})
	host.eval(`document.querySelector(".list-missed").click(); ""`)
	host.check("missed")
	host.press(o.w("list.chats"))

	// Busy: one chat at a time, and it is going on.
	host.set(`{"availability": "available", "chats": 1}`)
	host.wait("the ring of who still waits", 20*time.Second, func() bool {
		_, there := host.find("alertdialog", o.w("ring.heading"))
		return there
	})
	host.press(o.w("ring.answer"))
	customer.has(o.w("status.connected", "names", "Mina Kim"), 10*time.Second)
	friend.run(chromedp.Navigate(o.mail("A fourth question", "friend")[0]))
	friend.press(o.w("chat.now"))
	friend.has(o.w("panel.busyWhat"), 10*time.Second)
	friend.check("busy")
	friend.press(o.w("panel.stopWaiting"))
	host.set(`{"chats": 0}`)
}

// lost: the server does not answer for a while.
func (o *tour) lost(host, customer *page) {
	o.s.cmd.Process.Signal(syscall.SIGSTOP)
	customer.insert(o.w("compose.name"), "Are you there?")
	customer.press(o.w("compose.send"))
	customer.has(o.w("bar.lost"), 20*time.Second)
	customer.has(o.w("line.waiting"), 10*time.Second)
	customer.check("lost")
	host.has(o.w("avail.lost"), 20*time.Second)
	host.check("lost")
	o.s.cmd.Process.Signal(syscall.SIGCONT)
	customer.wait("the connection", 30*time.Second, func() bool {
		return !strings.Contains(customer.eval("document.body.innerText"), o.w("bar.lost"))
	})
	host.tells("Are you there?")
	if n := strings.Count(host.talk(), "Are you there?"); n != 1 {
		o.Errorf("the message of the meantime is there %d times", n)
	}
}

// off: the host's computer is off, and the link is opened in another browser.
func (o *tour) off(host, customer *page) {
	link := customer.eval("location.href")
	customer.press(o.w("chat.leave"))
	host.run(chromedp.Navigate("about:blank"))
	time.Sleep(10 * time.Second) // so long it may take
	customer.press(o.w("chat.again"))
	customer.has(o.w("outcome.off", "name", "Mina Kim"), 10*time.Second)
	customer.has(strings.SplitN(o.w("raised.mail", "time", "{time}"), "{time}", 2)[1], 10*time.Second)
	customer.check("alerted")
	other := o.open("other", link)
	other.press(o.w("chat.now"))
	send := o.w("gate.send", "to", "c…@mall.example")
	other.waitFor("button", send, 10*time.Second)
	other.check("gate")
	other.press(send)
	other.waitFor("textbox", o.w("gate.code"), 10*time.Second)
	other.insert(o.w("gate.code"), "000000")
	other.press(o.w("gate.continue"))
	other.has(o.w("gate.wrong"), 10*time.Second)
	other.check("gate-wrong")
	other.close()
}
