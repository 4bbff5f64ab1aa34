// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	catalogue "github.com/chmail/chmail/internal/words"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// axe-core as npm has it, https://www.npmjs.com/package/axe-core: to renew it,
// `npm pack axe-core` and take axe.min.js.
//
//go:embed testdata/axe.min.js
var axe string

// look is how a person sees the pages.
type look struct {
	width, height int64
	dark          bool
	lang          string
}

func (l look) String() string {
	light := "light"
	if l.dark {
		light = "dark"
	}
	return fmt.Sprintf("%d-%s-%s", l.width, light, l.lang)
}

// looks are two that have everything between them; CHMAIL_LOOKS=all gives every
// combination, and a name that one.
func looks() []look {
	var all []look
	for _, lang := range []string{"en", "ko"} {
		for _, size := range [][2]int64{{360, 740}, {1440, 900}} {
			for _, dark := range []bool{false, true} {
				all = append(all, look{size[0], size[1], dark, lang})
			}
		}
	}
	wanted := os.Getenv("CHMAIL_LOOKS")
	if wanted == "all" {
		return all
	}
	var some []look
	for _, l := range all {
		if strings.Contains(wanted, l.String()) {
			some = append(some, l)
		}
	}
	if len(some) > 0 {
		return some
	}
	return []look{{360, 740, true, "ko"}, {1440, 900, false, "en"}}
}

// words says the messages of a language, by the keys of internal/words.
func words(t *testing.T, lang string) func(key string, values ...string) string {
	t.Helper()
	return func(key string, values ...string) string {
		t.Helper()
		given := make([]any, len(values))
		for i, v := range values {
			given[i] = v
		}
		said := catalogue.In(lang).Say(key, given...)
		if said == key {
			t.Fatalf("no message %q", key)
		}
		return said
	}
}

// openAs opens a page of a browser as somebody who has this look sees it.
func openAs(t *testing.T, browser context.Context, l look, name, url string) *page {
	t.Helper()
	p := open(t, browser, name, "about:blank")
	scheme, zone := "light", "UTC"
	if l.dark {
		scheme = "dark"
	}
	if l.lang == "ko" {
		zone = "Asia/Seoul"
	}
	if _, err := ask(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(p, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: p.eval("navigator.userAgent"), AcceptLanguage: l.lang}); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(p, emulation.SetTimezoneOverride,
		emulation.SetTimezoneOverrideParams{TimezoneID: zone}); err != nil {
		t.Fatal(err)
	}
	p.run(chromedp.EmulateViewport(l.width, l.height), chromedp.Navigate(url))
	return p
}

// insert writes into a field as an input method does, in any script.
func (p *page) insert(label, text string) {
	p.t.Helper()
	p.fill(label, "")
	if _, err := ask(p, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		p.t.Fatalf("%s: writing: %v", p.name, err)
	}
}

// fillRole writes into what is no textbox, such as a searchbox.
func (p *page) fillRole(role, label, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%s %q to fill", role, label), 10*time.Second, func() bool {
		id, ok := p.find(role, label)
		if !ok {
			return false
		}
		_, err := ask(p, dom.Focus, dom.FocusParams{BackendNodeID: id})
		return err == nil
	})
	p.run(chromedp.KeyEvent(text))
}

// talk is the text of the conversation, in any language of the page.
func (p *page) talk() string {
	p.t.Helper()
	return p.eval(`document.querySelector("[role=log]")?.innerText ?? ""`)
}

// tells waits for words in the conversation.
func (p *page) tells(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%q in the conversation", text), 20*time.Second,
		func() bool { return strings.Contains(p.talk(), text) })
}

// ofLast chooses from the menu of one's own last message.
func (p *page) ofLast(what string) {
	p.t.Helper()
	p.wait("its last message to be sent", 10*time.Second, func() bool {
		return p.eval(`String(document.querySelectorAll(".line.sending").length)`) == "0"
	})
	p.eval(`[...document.querySelectorAll(".line.own .line-more")].at(-1).click(); ""`)
	p.pressRole("menuitem", what)
}

// has waits for words anywhere in the page.
func (p *page) has(text string, limit time.Duration) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%q", text), limit, func() bool {
		return strings.Contains(p.eval("document.body.innerText"), text)
	})
}

// beyond lists what reaches out of the window, or out of its own box.
const beyond = `(() => {
	const out = [];
	const classes = (e) => e.className && e.className.split ? "." + e.className.split(" ").join(".") : "";
	const name = (e) => e.tagName.toLowerCase() + classes(e) + " " + JSON.stringify(e.textContent.slice(0, 40));
	const page = document.documentElement;
	if (page.scrollWidth > innerWidth) out.push("the page is " + page.scrollWidth + " wide");
	if (document.querySelector(".desk, div.talk") && page.scrollHeight > innerHeight)
		out.push("the page is " + page.scrollHeight + " high");
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest(".sr, .skip, svg, [hidden]") || !e.checkVisibility()) continue;
		const r = e.getBoundingClientRect();
		if (r.width === 0) continue;
		const own = getComputedStyle(e).overflowX;
		const scrolls = own !== "visible" && own !== "hidden" && own !== "clip";
		if (scrolls && e.scrollWidth > e.clientWidth && !e.matches("pre, .quick, .tabs, .scroll"))
			out.push(name(e) + " scrolls sideways");
		let within = e.parentElement;
		while (within && getComputedStyle(within).overflowX === "visible") within = within.parentElement;
		if (!within && (r.right > innerWidth + 1 || r.left < -1))
			out.push(name(e) + " reaches from " + Math.round(r.left) + " to " + Math.round(r.right));
		const shows = e.clientWidth && getComputedStyle(e).overflow === "visible";
		if (shows && e.matches("button, .button, h1, h2, label") && e.scrollWidth > e.clientWidth + 1)
			out.push(name(e) + " is too small for its words");
	}
	return out.join("\n");
})()`

// templates lists message templates that were shown with their braces, and
// what stands for something that is missing.
var templates = regexp.MustCompile(`\{\w+\}|\bundefined\b|\bnull\b|\bNaN\b|Invalid Date|\[object`)

// check looks at a state of a page: axe finds nothing, nothing reaches beyond
// the window, no words are missing; and a picture is kept where CHMAIL_SHOTS says.
func (p *page) check(state string) {
	p.t.Helper()
	time.Sleep(250 * time.Millisecond) // for what fades
	p.t.Logf("%s, %s", p.name, state)
	p.shot(state)
	if out := p.eval(beyond); out != "" {
		p.t.Errorf("%s, %s: %s", p.name, state, out)
	}
	// A field may name what one can write into it.
	if found := templates.FindString(p.eval(`[...document.querySelectorAll("code.token")].reduce(
		(all, c) => all.replace(c.innerText, ""), document.body.innerText)`)); found != "" {
		p.t.Errorf("%s, %s: %q is shown", p.name, state, found)
	}
	if p.eval("typeof window.axe") != "object" {
		p.eval(axe + "; ''")
	}
	ctx, cancel := context.WithTimeout(p.ctx, actionWait)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => {
		const result = await axe.run(document, {resultTypes: ["violations"]});
		const node = (n) => "  " + n.html.slice(0, 200) + "\n  " + n.failureSummary.replaceAll("\n", " ");
		return result.violations.map((v) => v.id + ": " + v.help + "\n" + v.nodes.map(node).join("\n")).join("\n");
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: axe: %v", p.name, err)
	}
	if found != "" {
		p.t.Errorf("%s, %s: axe finds %s", p.name, state, found)
	}
}
