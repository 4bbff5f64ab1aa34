// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/mall/store"
)

// finds says whether some octets are in any file of a folder.
func finds(t *testing.T, dir, octets string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(octets)) {
			found = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestLeave: a member gets all that is known about them in one file; when they leave, no
// octet of their name, addresses and texts is in any file of the mall, their account is
// gone, and an order stays without them.
func TestLeave(t *testing.T) {
	t.Parallel()
	b := newTown(t).browser()
	path := furnish(b.town)
	ctx, cancel := context.WithCancel(t.Context())
	var listens sync.WaitGroup
	listens.Go(func() { b.mall.Listen(ctx) })
	b.post("/register", 200, "name", "Wilhelmina", "email", "wil@far.example", "password", "a long password",
		"publicity", "yes", "record", "yes")
	b.post(confirmLink.FindString(b.mails[0].Text), 200)
	member, err := b.store.MemberByLogin(ctx, "wil@mall.example")
	if err != nil || !member.Made {
		t.Fatalf("%+v, %v", member, err)
	}
	it, at := b.goods[0], "/goods/"+b.goods[0].ID
	b.get("/search?q=zanzibar", 200)
	b.get(at, 200)
	b.post(at+"/ask", 200, "id", "1", "subject", "A querulous subject", "text", "Is it luminiferous?")
	b.post(at+"/bookmark", 200, "mark", "yes")
	b.post(at+"/basket", 200, "variant", it.Variants[0].ID, "quantity", "1")
	inq, err := b.store.InquiriesOf(ctx, member.ID, "", 1)
	if err != nil || len(inq) != 1 {
		t.Fatalf("%v, %v", inq, err)
	}
	host := b.browser()
	host.post("/sign-in", 200, "login", "host@mall.example", "password", "the password")
	asked := "/console/lamps/inquiries/" + inq[0].ID
	host.post(asked+"/notes", 200, "note", "a pernickety customer")
	host.post(asked+"/offer", 200, "sku", it.SKU, "quantity", "1", "price", "9000", "note", "for Wilhelmina")
	orders, err := b.store.OrdersOf(ctx, member.ID, "", 5)
	if err != nil || len(orders) != 1 {
		t.Fatalf("%v, %v", orders, err)
	}
	b.post("/orders/"+orders[0].Number+"/accept", 200, "deliver", "7 Perambulator Way")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if uses, err := b.store.Uses(ctx, member.ID, 10); err != nil {
			t.Fatal(err)
		} else if len(uses) >= 2 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("only %d uses are recorded", len(uses))
		}
	}
	cancel()
	listens.Wait()
	b.has(b.get("/account", 200), "Searched for", "zanzibar")

	var got map[string]any
	text := b.get("/account/export", 200)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	typed := []string{"Wilhelmina", "wil@far.example", "wil@mall.example", "zanzibar", "querulous", "luminiferous",
		"pernickety", "Perambulator"}
	b.has(text, typed...)
	b.has(text, "member.read", `"campaigns"`, it.Variants[0].ID, orders[0].Number)
	for _, one := range []string{"wil@mall.example", "zanzibar", "querulous", "luminiferous", "pernickety"} {
		if !finds(t, b.dir, one) {
			t.Errorf("%q is in no file, so that the test below says nothing", one)
		}
	}

	b.has(b.post("/account/erase", 422, "erase", "yes"), "Nothing was erased")
	b.has(b.post("/account/erase", 200, "erase", "wil@mall.example"), "You have left")
	b.has(b.get("/", 200), `href="/register"`)
	for _, one := range append(typed, member.Sealed, member.AddrHash) {
		if finds(t, b.dir, one) {
			t.Errorf("%q is still in a file", one)
		}
	}
	if _, there := b.accounts.all["wil@mall.example"]; there {
		t.Error("the account is still there")
	}
	b.post("/sign-in", 422, "login", "wil@far.example", "password", "a long password")
	o, err := b.store.OrderByNumber(t.Context(), orders[0].Number)
	if err != nil || o.Total != 9000 || o.Deliver != "" {
		t.Errorf("the order: %+v, %v", o, err)
	}
	host.get("/console/lamps/orders/"+o.Number, 200)
	host.get(asked, 200)
	host.get(path("/inquiries/{id}"), 200) // another member's

	host.post("/join", 200, "name", "Host")
	host.has(host.post("/account/erase", 409, "erase", "host@mall.example"), "still work for a shop")
	known, err := b.store.KnownOf(t.Context(), store.Member{ID: member.ID, Login: member.Login})
	if err != nil || len(known.Uses)+len(known.Basket)+len(known.Bookmarks)+len(known.Sessions)+len(known.Consents) > 0 {
		t.Errorf("left: %+v, %v", known, err)
	}
}

// TestAudit: looks of a shop's people at members are in the owner's page and in the
// operator's; an agent and other shops do not see them.
func TestAudit(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	path := furnish(town)
	town.accounts.all["agent@mall.example"] = password.Hash("the password")
	if err := town.store.PutStaff(t.Context(), town.goods[0].Goods.Shop, "agent@mall.example",
		store.RoleAgent); err != nil {
		t.Fatal(err)
	}
	as := func(login string) browser {
		b := town.browser()
		b.post("/sign-in", 200, "login", login, "password", "the password")
		return b
	}
	agent, owner, other := as("agent@mall.example"), as("host@mall.example"), as("other@mall.example")
	agent.get(path("/inquiries/{id}"), 200)
	owner.has(owner.get("/console/lamps/audit", 200), "agent@mall.example", "Looked at a member")
	agent.get("/console/lamps/audit", 404)
	if page := other.get("/console/chairs/audit", 200); strings.Contains(page, "agent@mall.example") {
		t.Error("another shop sees the trail")
	}
	owner.get("/operator/audit", 404)
	operator := as(operatorLogin)
	operator.has(operator.get("/operator/audit", 200), "agent@mall.example", "Looked at a member",
		"Read the audit trail")
}
