// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// mallParts are the database and the keys of a running demo's mall.
func mallParts(t testing.TB, state string) (*store.Store, *vault.Vault) {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			found[d.Name()] = path
		}
		return nil // files come and go
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), "sqlite:"+found["mall.db"], nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	v, err := vault.Open(found["mall.keys"])
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// signInMall signs a browser in at the mall.
func (s *server) signInMall(p *page, db *store.Store, login string) {
	p.t.Helper()
	cookie := "a-cookie-of-" + login
	sum := sha256.Sum256([]byte(cookie))
	err := db.AddSession(p.t.Context(), base64.RawURLEncoding.EncodeToString(sum[:]), login, time.Now())
	if err == nil {
		_, err = ask(p, network.SetCookie, network.SetCookieParams{Name: "mall_session", Value: cookie, URL: s.Mall})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestMallTalk: a member asks a shop by mail; its staff get the mail, and a desk that
// follows the link in it rings the member's page of the mall, where the talk opens in
// the panel. The roles exchanged, Chat now rings the desk.
func TestMallTalk(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	db, keys := mallParts(t, s.state)
	ctx := t.Context()
	host, _ := s.password("host")
	customer, _ := s.password("customer")
	shop, err := db.ShopBySlug(ctx, "lamps")
	if err != nil {
		shop, err = db.AddShop(ctx, store.Shop{Slug: "lamps", Name: "Lamps", Addr: "lamps@mall.example", State: store.ShopOpen,
			Lang: "en", Currency: "KRW"}, host)
	}
	if err != nil {
		t.Fatal(err)
	}
	member, err := db.MemberByLogin(ctx, customer)
	if err != nil {
		personal, err := json.Marshal(store.Personal{Name: "Jun", Addr: customer})
		if err != nil {
			t.Fatal(err)
		}
		member = store.Member{ID: store.NewID(), Login: customer, AddrHash: "x", Lang: "en", State: store.MemberActive}
		if member.Sealed, err = keys.Seal(personal, "member/"+member.ID); err != nil {
			t.Fatal(err)
		}
		if err := db.AddMember(ctx, member, nil); err != nil {
			t.Fatal(err)
		}
	}
	chrome := browser(t)
	jun := open(t, chrome, "member", s.Mall+"/")
	s.signInMall(jun, db, customer)
	visit := func(path string) {
		t.Helper()
		jun.eval(fmt.Sprintf("location.href = %q", s.Mall+path))
	}
	visit("/shops/" + shop.Slug + "/ask")
	jun.fill("Your question", "Is the lamp warm?")
	jun.shot("ask")
	jun.press("Send")
	jun.waitFor("heading", "Your question is on its way", 10*time.Second)

	mail := s.mailWith(t, "host", "Is the lamp warm?")
	if !strings.Contains(mail, "From: Jun <"+customer+">") && !strings.Contains(mail, `From: "Jun" <`+customer+">") {
		t.Errorf("the mail is from somebody else:\n%s", mail)
	}
	desk := open(t, chrome, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	jun.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	desk.press("Answer")
	desk.statusBegins(20*time.Second, "Connected")
	jun.shot("panel")
	desk.say("Warm white, 2700 K.")
	jun.press("Close the chat")

	link := regexp.MustCompile(`http://\S+/c/[\w-]{22}`).FindString(mail)
	desk.run(chromedp.Navigate(link))
	visit("/orders")
	jun.waitFor("heading", "Your orders", 10*time.Second)
	desk.press("Chat now")
	jun.waitFor("alertdialog", "Incoming chat", 20*time.Second)
	jun.shot("ring")
	jun.press("Answer")
	desk.statusBegins(20*time.Second, "Connected")
	jun.shot("answered")
}
