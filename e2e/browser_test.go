// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/internal/testpart"
)

// browser starts Chromium; every page of it has its own cookies, as if each
// were another person's browser.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(testpart.Need(t, "chromium")),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("headless", "new"),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("lang", "en"),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(60 * time.Second),
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return ctx
}

// page is one person's tab.
type page struct {
	t    *testing.T
	name string
	ctx  context.Context
	part string // of the address of a frame in it; empty: the page itself
}

func open(t *testing.T, browser context.Context, name, url string) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &page{t: t, name: name, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			p.shot("failed")
		}
	})
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1100, 800), chromedp.Navigate(url)); err != nil {
		t.Fatalf("%s: opening %s: %v", name, url, err)
	}
	return p
}

// inOneProcess keeps frames of other sites in the process of their page, so that their
// nodes and the user's input are the page's.
var inOneProcess = []chromedp.ExecAllocatorOption{chromedp.Flag("disable-site-isolation-trials", true),
	chromedp.Flag("disable-features", "IsolateOrigins,site-per-process")}

// frame is the frame in a page whose address has a part, in a browser inOneProcess.
func (p *page) frame(part string) *page {
	p.t.Helper()
	f := &page{t: p.t, name: p.name + "-frame", ctx: p.ctx, part: part}
	p.wait("a frame of "+part, 15*time.Second, func() bool { return f.document() != nil })
	return f
}

// document is that of the page, or of its frame; nil: it is not there.
func (p *page) document() *cdp.Node {
	params := dom.GetDocumentParams{}
	if p.part != "" {
		depth, pierce := int64(-1), true
		params = dom.GetDocumentParams{Depth: &depth, Pierce: &pierce}
	}
	doc, err := ask(p, dom.GetDocument, params)
	if err != nil {
		return nil
	}
	if p.part == "" {
		return doc.Root
	}
	var find func(n *cdp.Node) *cdp.Node
	find = func(n *cdp.Node) *cdp.Node {
		if d := n.ContentDocument; d != nil && strings.Contains(d.DocumentURL, p.part) {
			d.FrameID = n.FrameID
			return d
		}
		for _, c := range n.Children {
			if found := find(c); found != nil {
				return found
			}
		}
		return nil
	}
	return find(doc.Root)
}

// evalInFrame is eval in a frame of the page.
func (p *page) evalInFrame(expression string) string {
	p.t.Helper()
	doc := p.document()
	if doc == nil {
		return ""
	}
	world, err := ask(p, cdpage.CreateIsolatedWorld, cdpage.CreateIsolatedWorldParams{FrameID: doc.FrameID})
	if err != nil {
		return "" // it has just gone to another page
	}
	byValue := true
	res, err := ask(p, runtime.Evaluate, runtime.EvaluateParams{Expression: expression,
		ContextID: world.ExecutionContextID, ReturnByValue: &byValue})
	if err != nil {
		return ""
	}
	var text string
	if err := json.Unmarshal(res.Result.Value, &text); err != nil {
		p.t.Fatalf("%s: %q gives %s: %v", p.name, expression, res.Result.Value, err)
	}
	return text
}

// actionWait bounds every single step in a page.
const actionWait = 30 * time.Second

func (p *page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, actionWait)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// ask sends one command of the DevTools protocol. An error is not the test's
// end: the page may have changed between finding a node and asking about it.
func ask[P, R any](p *page, command cdp.Command[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(p.ctx, actionWait)
	defer cancel()
	return chromedp.Call(ctx, command, params)
}

// eval returns the text that a JavaScript expression gives.
func (p *page) eval(expression string) string {
	p.t.Helper()
	if p.part != "" {
		return p.evalInFrame(expression)
	}
	ctx, cancel := context.WithTimeout(p.ctx, actionWait)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return text
}

// close closes the tab, as its person would.
func (p *page) close() {
	p.t.Helper()
	if err := chromedp.Cancel(p.ctx); err != nil {
		p.t.Fatalf("%s: closing the tab: %v", p.name, err)
	}
}

// shot keeps a screenshot where CHMAIL_SHOTS says.
func (p *page) shot(what string) {
	dir := os.Getenv("CHMAIL_SHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Logf("screenshot of %s: %v", p.name, err)
		return
	}
	os.WriteFile(filepath.Join(dir, p.name+"-"+what+".png"), png, 0o644)
}

// find asks Chromium's accessibility tree, as a screen reader does. An empty
// name stands for any.
func (p *page) find(role, name string) (cdp.BackendNodeID, bool) {
	p.t.Helper()
	doc := p.document()
	if doc == nil {
		return 0, false
	}
	found, err := ask(p, accessibility.QueryAXTree,
		accessibility.QueryAXTreeParams{NodeID: doc.NodeID, Role: role, AccessibleName: name})
	if err != nil {
		return 0, false
	}
	for _, n := range found.Nodes {
		if !n.Ignored && n.BackendDOMNodeID != 0 {
			return n.BackendDOMNodeID, true
		}
	}
	return 0, false
}

func (p *page) wait(what string, limit time.Duration, done func() bool) time.Duration {
	p.t.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > limit {
			p.t.Fatalf("%s: %s did not come within %v. The page says:\n%s",
				p.name, what, limit, p.eval("document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

func (p *page) waitFor(role, name string, limit time.Duration) time.Duration {
	p.t.Helper()
	return p.wait(fmt.Sprintf("%s %q", role, name), limit, func() bool {
		_, ok := p.find(role, name)
		return ok
	})
}

func (p *page) press(button string) {
	p.t.Helper()
	p.pressRole("button", button)
}

func (p *page) pressRole(role, name string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%s %q to press", role, name), 10*time.Second, func() bool {
		id, ok := p.find(role, name)
		if !ok {
			return false
		}
		if _, err := ask(p, dom.ScrollIntoViewIfNeeded,
			dom.ScrollIntoViewIfNeededParams{BackendNodeID: id}); err != nil {
			return false
		}
		res, err := ask(p, dom.GetBoxModel, dom.GetBoxModelParams{BackendNodeID: id})
		if err != nil {
			return false
		}
		box := res.Model.Content
		p.run(chromedp.MouseClickXY((box[0]+box[4])/2, (box[1]+box[5])/2))
		return true
	})
}

func (p *page) fill(label, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("textbox %q to fill", label), 10*time.Second, func() bool {
		id, ok := p.find("textbox", label)
		if !ok {
			return false
		}
		_, err := ask(p, dom.Focus, dom.FocusParams{BackendNodeID: id})
		return err == nil
	})
	p.run(chromedp.KeyEvent(text))
}

func (p *page) say(text string) {
	p.t.Helper()
	p.fill("Message", text)
	p.press("Send")
}

// log is the text of the conversation.
func (p *page) log() string {
	p.t.Helper()
	if _, ok := p.find("log", "Conversation"); !ok {
		return ""
	}
	return p.eval(`document.querySelector("[role=log]")?.innerText ?? ""`)
}

func (p *page) hears(text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%q in the conversation", text), 10*time.Second,
		func() bool { return strings.Contains(p.log(), text) })
}

func (p *page) status() string {
	p.t.Helper()
	return p.eval(`[...document.querySelectorAll("[role=status]")].map(e => e.innerText.trim()).join("\n")`)
}

func (p *page) statusBegins(limit time.Duration, words ...string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("a status that begins with one of %q", words), limit, func() bool {
		for line := range strings.Lines(p.status()) {
			for _, w := range words {
				if strings.HasPrefix(line, w) {
					return true
				}
			}
		}
		return false
	})
}
