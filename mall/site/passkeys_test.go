// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/internal/testpart"
)

// chrome is a tab of Chromium with an authenticator inside.
type chrome struct {
	*town
	ctx context.Context
}

func (c *town) chrome() chrome {
	c.Helper()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(testpart.Need(c.TB, "chromium")),
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("headless", "new"), chromedp.Flag("lang", "en"), chromedp.UserDataDir(c.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute))
	c.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	c.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	c.Cleanup(cancel)
	tab := chrome{c, ctx}
	tab.do(chromedp.Navigate("about:blank"))
	return tab
}

func (c chrome) do(actions ...chromedp.Action[chromedp.Void]) {
	c.Helper()
	if err := chromedp.Do(c.ctx, actions...); err != nil {
		c.Fatal(err)
	}
}

// js runs a script in the page again and again, until it says true.
func (c chrome) js(format string, args ...any) {
	c.Helper()
	script := fmt.Sprintf("(() => {"+format+"})()", args...)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(c.ctx, chromedp.Evaluate[bool](script))
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			text, _ := chromedp.Run(c.ctx, chromedp.Evaluate[string]("document.body.innerText"))
			c.Fatalf("%s: %v\n%s", script, err, text)
		}
	}
}

// fill types into the fields of a page; press presses the button that says something.
func (c chrome) fill(pairs ...string) {
	c.Helper()
	for i := 0; i < len(pairs); i += 2 {
		c.js("const el = document.querySelector('main [name=%s]'); if (el) el.value = %q; return !!el", pairs[i],
			pairs[i+1])
	}
}

func (c chrome) press(text string) {
	c.Helper()
	c.js("const b = [...document.querySelectorAll('main button')].find((b) => b.innerText === %q && b.checkVisibility());"+
		"if (b) b.click(); return !!b", text)
}

func (c chrome) says(text string) {
	c.Helper()
	c.js("return document.body.innerText.includes(%q)", text)
}

// TestPasskeys: in Chromium somebody registers by a passkey alone, from a prefix whose
// browsers must do work; they sign in by it, get a password for mail programs, add a
// passkey and remove one, but not the last.
func TestPasskeys(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	town := newTown(t)
	c := town.chrome()
	base := strings.Replace(town.server.URL, "127.0.0.1", "localhost", 1)
	add := func() webauthn.AuthenticatorID {
		t.Helper()
		made, err := chromedp.Call(c.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{Protocol: webauthn.AuthenticatorProtocolCtap2,
				Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
				IsUserVerified: true, AutomaticPresenceSimulation: true}})
		if err != nil {
			t.Fatal(err)
		}
		return made.AuthenticatorID
	}
	if _, err := chromedp.Call(c.ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	first := add()
	if _, err := chromedp.Call(c.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{
		Headers: network.Headers{"X-Forwarded-For": "192.0.2.33"}}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		town.site.limits.register.Wait("192.0.2.33/32")
	}
	c.do(chromedp.Navigate(base + "/register"))
	c.js("return !!document.querySelector('input[data-work]')")
	c.fill("name", "Jun", "email", "jun@far.example")
	c.press("Register with a passkey, without a password")
	c.says("Look into your mailbox")
	c.do(chromedp.Navigate(base + confirmLink.FindString(town.mails[0].Text)))
	c.press("Yes, confirm")
	c.js("return location.pathname === '/'")
	member, err := town.store.MemberByLogin(t.Context(), "jun@mall.example")
	if err != nil || !member.Bare {
		t.Fatalf("%+v, %v", member, err)
	}

	c.js("document.querySelector('footer form[action=\"/sign-out\"]')?.requestSubmit();" +
		"return !!document.querySelector('header a[href=\"/sign-in\"]')")
	c.do(chromedp.Navigate(base + "/sign-in?next=/account"))
	c.press("Sign in with a passkey")
	c.says("Passkeys")
	c.press("Make a password")
	c.says("it is not shown again")
	made, err := chromedp.Run(c.ctx, chromedp.Evaluate[string]("document.querySelector('code').innerText"))
	if err != nil || town.accounts.Verify(t.Context(), "jun@mall.example", made) != nil {
		t.Errorf("the password %q, %v", made, err)
	}

	if _, err := chromedp.Call(c.ctx, webauthn.RemoveVirtualAuthenticator,
		webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: first}); err != nil {
		t.Fatal(err)
	}
	add() // another device
	c.do(chromedp.Navigate(base + "/account"))
	c.press("Remove")
	c.says("your only way in")
	c.fill("name", "Key in the drawer")
	c.press("Add a passkey")
	c.says("Key in the drawer")
	c.press("Remove") // the older one
	c.js("return document.querySelectorAll('form[action=\"/account/passkeys/remove\"]').length === 1")
	keys, err := town.store.Passkeys(t.Context(), member.ID)
	if err != nil || len(keys) != 1 || keys[0].Name != "Key in the drawer" {
		t.Errorf("%+v, %v", keys, err)
	}
	b := town.browser()
	b.post("/sign-in", 422, "ticket", "x", "passkey", "{}")
}
