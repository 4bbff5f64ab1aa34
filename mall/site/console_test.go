// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"

	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
)

// TestTable: every route of the console and the API has its least role, and a role
// may what the ones after it may.
func TestTable(t *testing.T) {
	t.Parallel()
	for _, route := range slices.Concat(consoleTable, apiTable) {
		if !slices.Contains(roles, route.Role) {
			t.Errorf("%s %s is for %q", route.Method, route.Path, route.Role)
		}
	}
	for mine, may := range map[string][]bool{store.RoleOwner: {true, true, true}, store.RoleManager: {false, true, true},
		store.RoleAgent: {false, false, true}, "": {false, false, false}} {
		for i, role := range roles {
			if (visit{Role: mine}).May(role) != may[i] {
				t.Errorf("%q as %s", mine, role)
			}
		}
	}
}

// TestAPINobody: a call without a key, or with a wrong one, is refused on every route.
func TestAPINobody(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), "sqlite:"+t.TempDir()+"/mall.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := &Server{store: db}
	mux := http.NewServeMux()
	s.apiRoutes(mux)
	shop, err := db.AddShop(t.Context(), store.Shop{Slug: "lamps", Addr: "lamps@mall.example", State: store.ShopOpen, Currency: "KRW"}, "a@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	other, err := db.AddShop(t.Context(), store.Shop{Slug: "chairs", Addr: "chairs@mall.example", State: store.ShopOpen, Currency: "KRW"}, "b@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	it, err := db.AddGoods(t.Context(), shop.ID, store.Item{Goods: store.Goods{SKU: "A", Title: "A", State: store.GoodsShown},
		Variants: []store.Variant{{Price: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	_, theirs, err := db.AddKey(t.Context(), other.ID, "till")
	if err != nil {
		t.Fatal(err)
	}
	_, ours, err := db.AddKey(t.Context(), shop.ID, "till")
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`\{\w+\}`)
	call := func(route shopRoute, key string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(route.Method, apiBase+parts.ReplaceAllString(route.Path, it.Goods.ID), bytes.NewBufferString("{}"))
		r.Header.Set("Authorization", key)
		r.Header.Set("If-Match", `"`+it.Stamp()+`"`)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	for _, route := range apiTable {
		for _, key := range []string{"", "Bearer ", "Bearer chmall_wrong", theirs} {
			if w := call(route, key); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %d", route.Method, route.Path, key, w.Code)
			}
		}
		w := call(route, "Bearer "+theirs)
		if parts.MatchString(route.Path) && w.Code != http.StatusNotFound || bytes.Contains(w.Body.Bytes(), []byte(it.Goods.ID)) {
			t.Errorf("%s %s by another shop: %d %s", route.Method, route.Path, w.Code, w.Body)
		}
	}
	if w := call(shopRoute{Method: "GET", Path: "/goods/{id}"}, "Bearer "+ours); w.Code != http.StatusOK || w.Header().Get("ETag") == "" {
		t.Errorf("ours: %d", w.Code)
	}
}

// TestConsoleWords: every word of the console's pages is in the catalogue.
func TestConsoleWords(t *testing.T) {
	t.Parallel()
	page, err := fs.ReadFile(templateFiles, "templates/console.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`say "([\w.]+)"`).FindAllSubmatch(page, -1) {
		if key := string(found[1]); words.In("en").Say(key) == key {
			t.Errorf("no words for %s", key)
		}
	}
}
