// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chromedp/cdproto/input"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// signIn signs in at the desk with the mouse, in English, and waits until the
// relay knows of it.
func (s *server) signIn(p *page, role string) {
	p.t.Helper()
	login, password := s.password(role)
	p.fill("Login", login)
	p.fill("Password", password)
	p.press("Sign in")
	p.waitFor("searchbox", "Search conversations", 10*time.Second)
	p.wait("the desk's connection", 10*time.Second, func() bool {
		words := p.eval("document.querySelector('.avail-words')?.textContent ?? ''")
		return words != "" && !strings.HasPrefix(words, "Connecting")
	})
}

// before runs script in every document that the page opens from now on.
func (p *page) before(script string) {
	p.t.Helper()
	if _, err := ask(p, cdpage.AddScriptToEvaluateOnNewDocument,
		cdpage.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// attempts is what the server counted.
func (s *server) attempts(t *testing.T) string {
	t.Helper()
	res, err := http.Get(s.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var found []string
	for line := range strings.Lines(readAll(t, res)) {
		if strings.HasPrefix(line, "chmail_relay_attempts_total{") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, ", ")
}

// TestScannersInABrowser: programs that look at links with a whole browser run
// every script, move the mouse, scroll, and fetch whatever the page names. They
// ring nobody, and the link is still its owner's.
func TestScannersInABrowser(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	s.send(t, "host", fmt.Sprintf(letter, "For scanners", "scan"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "For scanners"))
	for i := range 8 {
		visit := open(t, chromium, "scanner"+strconv.Itoa(i), link)
		visit.waitFor("button", "Chat now", 10*time.Second)
		visit.run(chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, 550, 500), chromedp.KeyEvent(kb.End))
		visit.do(`(async () => {
			for (const e of document.querySelectorAll("[href], [src]")) {
				const url = new URL(e.href || e.src, location);
				if (url.origin === location.origin) await fetch(url);
			}
			await fetch(location, {method: "HEAD"});
			dispatchEvent(new Event("focus"));
			dispatchEvent(new Event("load"));
			document.dispatchEvent(new Event("visibilitychange"));
			return "";
		})()`)
		visit.run(chromedp.Reload())
		visit.waitFor("button", "Chat now", 10*time.Second)
		visit.close()
	}
	if got := s.attempts(t); got != "" {
		t.Errorf("the visits made attempts: %s", got)
	}
	if _, rings := desk.find("alertdialog", "Incoming chat"); rings {
		t.Error("a visit rings")
	}
	// No code is asked for: nobody has claimed the link.
	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	customer.statusBegins(5*time.Second, "Ringing")
}

// ears count what a page sounds and shows outside itself, and let it be hidden.
const ears = `
	window.tones = 0;
	const start = OscillatorNode.prototype.start;
	OscillatorNode.prototype.start = function (...args) {
		if (this.context.state === "running") window.tones++;
		return start.apply(this, args);
	};
	window.notices = [];
	const show = ServiceWorkerRegistration.prototype.showNotification;
	ServiceWorkerRegistration.prototype.showNotification = function (title, options) {
		window.notices.push(title);
		return Promise.resolve();
	};
	Object.defineProperty(Notification, "permission", {get: () => "granted"});
	window.away = false;
	Object.defineProperty(Document.prototype, "hidden", {get: () => window.away});
	Object.defineProperty(Document.prototype, "visibilityState", {get: () => window.away ? "hidden" : "visible"});
`

// TestSoundWaitsForAPress: with Chromium's autoplay policy on, a desk that was
// loaded again cannot sound. It says so, still shows a ring in the title and as
// a notification, and sounds after one press.
func TestSoundWaitsForAPress(t *testing.T) {
	s := startServer(t, t.TempDir())
	chromium := browser(t, chromedp.Flag("autoplay-policy", "document-user-activation-required"))
	desk := open(t, chromium, "host", "about:blank")
	desk.before(ears)
	desk.run(chromedp.Navigate(s.Web + "/desk"))
	s.signIn(desk, "host")
	desk.has("This tab can ring.", 10*time.Second) // the press at signing in is enough
	desk.run(chromedp.Reload())
	desk.has("This tab can’t ring yet.", 10*time.Second)
	desk.do(`(async () => { const c = new AudioContext(); await new Promise((done) => setTimeout(done,` +
		` 300)); return c.state === "suspended" ? "" : "the autoplay policy is off: " + c.state; })()`)
	desk.eval(`window.away = true; document.dispatchEvent(new Event("visibilitychange")); ""`)

	ring := func(name string) *page {
		s.send(t, "host", fmt.Sprintf(letter, name, name), "customer@mall.example")
		_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: "+name))
		customer := open(t, chromium, "customer-"+name, link)
		customer.press("Chat now")
		desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
		return customer
	}
	customer := ring("silent")
	desk.wait("the ring in the title", 5*time.Second, func() bool {
		return strings.HasPrefix(desk.eval("document.title"), "Incoming chat: Jun")
	})
	desk.wait("the notification", 5*time.Second, func() bool {
		return desk.eval(`window.notices.join()`) == "Incoming chat: Jun"
	})
	time.Sleep(3 * time.Second) // longer than a phrase of the ring
	if got := desk.eval("String(window.tones)"); got != "0" {
		t.Errorf("%s tones before any press", got)
	}
	desk.has("This tab can’t ring yet.", time.Second)
	customer.press("Cancel")
	desk.wait("the end of the ring", 10*time.Second, func() bool {
		_, rings := desk.find("alertdialog", "Incoming chat")
		return !rings
	})

	desk.press("Turn on sound")
	desk.has("This tab can ring.", 10*time.Second)
	ring("aloud")
	desk.wait("a tone", 5*time.Second, func() bool { return desk.eval("String(window.tones > 0)") == "true" })
}

// TestByKeyboard: the whole story without a mouse. Every stop shows where the
// focus is.
func TestByKeyboard(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	login, password := s.password("host")
	desk := open(t, chromium, "host", s.Web+"/desk")
	desk.waitFor("button", "Sign in", 10*time.Second)
	desk.tabTo("Login")
	desk.run(chromedp.KeyEvent(login), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(password))
	desk.enter()
	desk.waitFor("searchbox", "Search conversations", 10*time.Second)

	s.send(t, "host", fmt.Sprintf(letter, "By keyboard", "keys"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "By keyboard"))
	customer := open(t, chromium, "customer", link)
	customer.waitFor("button", "Chat now", 10*time.Second)
	customer.tabTo("Chat now")
	customer.enter()
	// The first message is written while it rings: the focus is in the box.
	customer.statusBegins(10*time.Second, "Ringing")
	customer.run(chromedp.KeyEvent("First line"))
	customer.enter(kb.ModifierShift)
	customer.run(chromedp.KeyEvent("second line"))
	customer.enter()
	customer.hears("First line\nsecond line")

	// The ring has the focus on Answer; Escape does not put it away, and Tab stays within.
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.run(chromedp.KeyEvent(kb.Escape))
	for range 12 {
		desk.run(chromedp.KeyEvent(kb.Tab))
		if in := desk.eval(`String(document.activeElement === document.body |` +
			`| !!document.activeElement.closest("[role=alertdialog]"))`); in != "true" {
			t.Fatalf("Tab leads out of the ring, to %s", desk.focused())
		}
	}
	desk.tabTo("Answer")
	desk.enter()
	customer.statusBegins(10*time.Second, "Connected")
	desk.hears("second line")
	desk.wait("the box to have the focus", 10*time.Second, func() bool { return desk.focused() == "Message" })
	desk.run(chromedp.KeyEvent("Good mornign"))
	desk.enter()
	customer.hears("Good mornign")

	// The arrow takes one's last message again; Escape gives it up.
	desk.wait("the message to be sent", 10*time.Second, func() bool {
		return desk.eval(`String(document.querySelectorAll(".line.own .line-more").length)`) == "1"
	})
	desk.run(chromedp.KeyEvent(kb.ArrowUp))
	desk.has("Editing message", 5*time.Second)
	desk.run(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.ArrowUp))
	for range "ign" {
		desk.run(chromedp.KeyEvent(kb.Backspace))
	}
	desk.run(chromedp.KeyEvent("ing"))
	desk.enter()
	customer.hears("Good morning")

	// Its menu, and its end.
	desk.tabBackTo("Message actions")
	desk.enter()
	desk.wait("the menu", 5*time.Second, func() bool { return desk.focused() == "Reply" })
	desk.run(chromedp.KeyEvent(kb.ArrowUp)) // the last one
	desk.enter()
	desk.tabTo("Delete")
	desk.enter()
	customer.hears("This message was deleted.")

	// Details opens, and Escape closes it; then the customer leaves.
	customer.tabTo("Details")
	customer.enter()
	customer.has("Connection", 5*time.Second)
	customer.run(chromedp.KeyEvent(kb.Escape))
	customer.tabTo("Leave")
	customer.enter()
	customer.statusBegins(10*time.Second, "Ended")

	// The desk's own parts.
	desk.tabTo("Your availability: Available")
	desk.enter()
	desk.wait("the menu", 5*time.Second, func() bool { return desk.focused() == "Available" })
	desk.run(chromedp.KeyEvent(kb.Escape))
	desk.tabTo("Search conversations")
	desk.run(chromedp.KeyEvent("line"))
	desk.has("1 result", 10*time.Second)
	desk.tabTo("Settings")
	desk.enter()
	desk.waitFor("heading", "Settings", 10*time.Second)
}

// focused is the name of what has the focus.
func (p *page) focused() string {
	p.t.Helper()
	return p.eval(`(() => {
		const e = document.activeElement;
		const name = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.tagName;
		return name.trim().replace(/\s+/g, " ");
	})()`)
}

func (p *page) tabTo(name string) {
	p.t.Helper()
	p.tab(name)
}

func (p *page) tabBackTo(name string) {
	p.t.Helper()
	p.tab(name, chromedp.KeyModifiers(kb.ModifierShift))
}

// enter presses Enter as a keyboard does: what prevents the key prevents the line break.
func (p *page) enter(modifiers ...kb.Modifier) {
	p.t.Helper()
	params := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter",
		Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13}
	for _, m := range modifiers {
		params.Modifiers |= int64(m)
	}
	for _, params.Type = range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown,
		input.DispatchKeyEventTypeKeyUp} {
		if _, err := ask(p, input.DispatchKeyEvent, params); err != nil {
			p.t.Fatalf("%s: Enter: %v", p.name, err)
		}
	}
}

// tab presses Tab until something of that name has the focus.
func (p *page) tab(name string, options ...chromedp.KeyOption) {
	p.t.Helper()
	var stops []string
	for range 60 {
		at := p.focused()
		if at == name {
			return
		}
		stops = append(stops, at)
		p.run(chromedp.KeyEvent(kb.Tab, options...))
		if shown := p.eval(`(() => {
			const e = document.activeElement;
			const style = getComputedStyle(e);
			return String(e === document.body || style.outlineStyle !== "none" || style.boxShadow !== "none");
		})()`); shown != "true" {
			p.t.Errorf("%s: nothing shows that %q has the focus", p.name, p.focused())
		}
	}
	p.t.Fatalf("%s: Tab does not lead to %q, only to %q", p.name, name, stops)
}

// TestWrittenWhileLost: what was written while the server was gone is there
// exactly once, in its order, also when the page was loaded again meanwhile.
func TestWrittenWhileLost(t *testing.T) {
	t.Parallel()
	state, port := t.TempDir(), strconv.Itoa(testpart.FreePorts(t, 6))
	start := func() *server { return startServer(t, state, "--base-port", port) }
	s := start()
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
	customer.say("before")
	desk.hears("before")

	s.kill()
	for _, text := range []string{"one", "two", "three"} {
		customer.say(text)
	}
	customer.has("Waiting for the connection", 20*time.Second)
	start()
	customer.run(chromedp.Navigate(link)) // a reload, perhaps with the messages on their way
	desk.hears("three")
	customer.hears("three")
	for _, p := range []*page{desk, customer} {
		p.wait("everything once", 20*time.Second, func() bool {
			said := p.eval(`[...document.querySelectorAll("[role=log] .bubble")].map((e) => e.textContent).join()`)
			return said == "before,one,two,three" &&
				p.eval(`String(document.querySelectorAll(".waiting, .sending").length)`) == "0"
		})
	}
}

// strange are texts that mean harm, or look as if they did.
const (
	markup  = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>&amp;`
	turned  = "exe.\u202egnp.tiun" // reads as a picture's name where the override counts
	hidden  = "pay\u200bpal"
	lone    = `"half " + String.fromCharCode(0xd83d) + " a letter"`
	twoMade = "Jun Park"
)

// TestStrangeTexts: names, subjects and messages that mean harm come to
// nothing, in the card, the ring, the list and the conversation; people of the
// same name are told apart; and a clock that is wrong changes no times.
func TestStrangeTexts(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	chromium := browser(t)
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	s.send(t, "host", "From: \"Mina "+`<b>\"x\"</b>`+"\" <host@mall.example>\nTo: "+twoMade+
		" <customer@mall.example>, "+twoMade+" <friend@mall.example>\n"+
		"Subject: =?utf-8?q?"+quoted(markup+" "+turned+" "+hidden)+"?=\nDate: Mon, 23 Nov 2026 10:00:00 +0900\n"+
		"Message-ID: <strange@mall.example>\n\nHello\n", "customer@mall.example", "friend@mall.example")
	link := strings.Trim(headers(s.mailWith(t, "customer", "strange@mall.example"), "CHmail-Chat")[0], "<> ")
	other := strings.Trim(headers(s.mailWith(t, "friend", "strange@mall.example"), "CHmail-Chat")[0], "<> ")

	customer := open(t, chromium, "customer", "about:blank")
	// A clock that is a day and seven hours ahead.
	customer.before(`{ const late = 31 * 3600_000, D = Date;
		window.Date = class extends D {
			constructor(...a) { a.length ? super(...a) : super(D.now() + late); }
			static now() { return D.now() + late; }
		}; }`)
	customer.run(chromedp.Navigate(link))
	customer.waitFor("button", "Chat now", 10*time.Second)
	subject := markup + " exe.gnp.tiun paypal"
	if got := customer.eval(`document.querySelector(".card-subject").textContent`); got != subject {
		t.Errorf("the card's subject is %q", got)
	}
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.has(subject, 5*time.Second)
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")

	send := func(expression string) {
		customer.eval(`{ const box = document.querySelector("textarea"); box.value = ` + expression +
			`; box.dispatchEvent(new Event("input", {bubbles: true})); } ""`)
		customer.press("Send")
	}
	send("`" + markup + "`")
	send(strconv.Quote(turned + " " + hidden))
	send(lone)
	send(`"javascript:alert(1) data:text/html,x https://mall.example@evil.example/` +
		` https://xn--pple-43d.example/ 👩‍👩‍👧‍👦 \u05d0\u05d1"`)
	desk.hears("👩‍👩‍👧‍👦")
	for _, p := range []*page{desk, customer} {
		said := p.eval(`[...document.querySelectorAll("[role=log] .bubble")].map((e) => e.textContent).join("\n")`)
		for _, want := range []string{markup, "exe.gnp.tiun paypal", "half  a letter"} {
			if !strings.Contains(strings.ReplaceAll(said, "\ufffd", ""), want) {
				p.t.Errorf("%s: %q is missing in %q", p.name, want, said)
			}
		}
		if got := p.eval(`[...document.querySelectorAll("[role=log] a")].map((a) => a.href).join()`); got !=
			"https://xn--pple-43d.example/" {
			t.Errorf("%s: links to %s", p.name, got)
		}
		if got := p.eval(`document.title + document.querySelectorAll("[role=log] :is(script, b,` +
			` img)").length`); !strings.HasSuffix(got, "0") || strings.Contains(got, "run") {
			t.Errorf("%s: markup was read as such: %s", p.name, got)
		}
		// One day, and it is today, whatever this computer's clock says.
		if got := p.eval(`[...document.querySelectorAll("[role=log] .day")].map((e) => e.textContent).join()`); got !=
			"Today" {
			t.Errorf("%s: days %q", p.name, got)
		}
	}

	// Ten million letters: the page stays alive, and offers to send them as a file.
	start := time.Now()
	customer.eval(`{ const data = new DataTransfer(); data.setData("text/plain", "long ".repeat(2_000_000));
		const paste = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
		document.querySelector("textarea").dispatchEvent(paste); } ""`)
	customer.press("Send it as a file")
	desk.hears("pasted.txt")
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("ten million letters took %v", took)
	}

	// Files that lie: a page that calls itself a picture is saved, never shown.
	dir := t.TempDir()
	liar := filepath.Join(dir, "cat.png")
	if err := os.WriteFile(liar, []byte("<html><script>document.title='run'</script>"), 0o600); err != nil {
		t.Fatal(err)
	}
	customer.attach(liar)
	desk.hears("cat.png")
	if got := desk.eval(`String(document.querySelectorAll("[role=log] img").length)`); got != "0" {
		t.Error("a page is shown as a picture")
	}
	desk.do(`(async () => {
		const a = [...document.querySelectorAll("[role=log] a.file")].at(-1);
		const res = await fetch(a.href);
		const type = res.headers.get("Content-Type"), how = res.headers.get("Content-Disposition");
		const policy = res.headers.get("Content-Security-Policy");
		const harmless = !/html|image|svg/.test(type) && /^attachment/.test(how) && /sandbox/.test(policy);
		return a.hasAttribute("download") && harmless ? "" : [type, how, policy].join();
	})()`)

	// Two people of one name. Who is signed in as whose link it is reads what was said before.
	friend := open(t, chromium, "friend", s.Web+"/desk")
	s.signIn(friend, "friend")
	friend.run(chromedp.Navigate(other))
	friend.press("Chat now")
	friend.hears("half")
	friend.say("I am the other one.")
	desk.hears("I am the other one.")
	desk.wait("the addresses beside the names", 5*time.Second, func() bool {
		who := desk.eval(`[...document.querySelectorAll("[role=log] .who")].map((e) => e.textContent).join()`)
		return strings.Contains(who, "Jun Park (customer@mall.example)") &&
			strings.Contains(who, "Jun Park (friend@mall.example)")
	})
}

// quoted is the Q encoding of RFC 2047.
func quoted(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "=%02X", c)
	}
	return b.String()
}
