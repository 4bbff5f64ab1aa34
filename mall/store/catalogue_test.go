// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// openShop makes an open shop with goods of the given titles, and returns the goods.
func openShop(t *testing.T, s *Store, slug string, titles ...string) (Shop, []Goods) {
	t.Helper()
	shop, err := s.AddShop(t.Context(), Shop{Slug: slug, Name: "Hana", Addr: slug + "@mall.example",
		State: ShopOpen, Lang: "en", Currency: "KRW"}, "host@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	var all []Goods
	for i, title := range titles {
		g, err := s.AddGoods(t.Context(), shop.ID, Item{
			Goods:    Goods{SKU: fmt.Sprint("S-", i), Title: title, State: GoodsShown},
			Variants: []Variant{{Name: "small", Price: 900, Stock: 2}, {Name: "large", Price: 500, Stock: 0}},
			Pictures: []Picture{{Hash: fmt.Sprint("hash", i), Width: 4, Height: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g.Goods)
	}
	return shop, all
}

// TestGoods: goods are stored, changed, listed in parts and found by parts of words.
func TestCatalogue(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, all := openShop(t, s, "lamps", "Hanok lamp", "한옥 전등갓", "Desk LAMP, brass", "전기 스탠드")
		find := func(words string) (titles []string) {
			t.Helper()
			list, _, err := s.ListGoods(ctx, CatalogueFilter{Words: words}, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				titles = append(titles, l.Title)
			}
			return titles
		}
		// One letter finds the words that begin with it.
		for words, want := range map[string][]string{"lamp": {"Desk LAMP, brass", "Hanok lamp"}, "전등": {"한옥 전등갓"},
			"등": nil, "전": {"전기 스탠드", "한옥 전등갓"}, "ｌａｍｐ hanok": {"Hanok lamp"}, "스탠": {"전기 스탠드"},
			"chair": nil, "%": nil, "s-2": {"Desk LAMP, brass"}} {
			if got := find(words); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", words, got, want)
			}
		}
		first, next, err := s.ListGoods(ctx, CatalogueFilter{Shop: shop.ID}, "", 3)
		if err != nil || len(first) != 3 || next == "" {
			t.Fatalf("the first part: %d, %q, %v", len(first), next, err)
		}
		if l := first[0]; l.ID != all[3].ID || l.Price != 500 || !l.More || l.Sold || l.Picture.Hash != "hash3" ||
			l.ShopSlug != "lamps" || l.Currency != "KRW" {
			t.Errorf("listed %+v", l)
		}
		if rest, next, err := s.ListGoods(ctx, CatalogueFilter{Shop: shop.ID}, next, 3); err != nil || len(rest) != 1 ||
			rest[0].ID != all[0].ID || next != "" {
			t.Errorf("the rest: %+v, %q, %v", rest, next, err)
		}
		page, err := s.GoodsByID(ctx, all[0].ID)
		if err != nil || len(page.Variants) != 2 || page.Variants[0].Name != "small" || page.Shop.ID != shop.ID ||
			len(page.Pictures) != 1 || page.Sold {
			t.Fatalf("%+v, %v", page, err)
		}
		_, err = s.ChangeGoods(ctx, shop.ID, all[0].ID, func(it *Item) error {
			it.Title = "Paper lantern"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if found := find("lantern"); !slices.Equal(found, []string{"Paper lantern"}) {
			t.Errorf("after the change: %v", found)
		}
		if found := find("hanok"); found != nil {
			t.Errorf("by its old title: %v", found)
		}
	})
}

// TestDrafts: nobody but the shop sees what is not shown yet.
func TestDrafts(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		chairs, _ := openShop(t, s, "chairs", "Chair")
		draft, err := s.AddGoods(ctx, chairs.ID, Item{Goods: Goods{SKU: "d", Title: "Draft", State: GoodsDraft},
			Variants: []Variant{{Price: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.GoodsByID(ctx, draft.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("a draft: %v", err)
		}
		if list, _, err := s.ListGoods(ctx, CatalogueFilter{Words: "draft"}, "", 5); err != nil || len(list) != 0 {
			t.Errorf("a draft is found: %v, %v", list, err)
		}
	})
}

// TestBasket: quantities add up, the basket is bounded, and it knows what is sold.
func TestBasket(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		_, lamps := openShop(t, s, "lamps", "Hanok lamp", "Desk lamp")
		m := Member{ID: NewID(), Login: "jun@mall.example", AddrHash: "h", State: MemberActive}
		if err := s.AddMember(ctx, m, []Consent{{What: ConsentRecord, Given: true, Wording: "yes"}}); err != nil {
			t.Fatal(err)
		}
		page, err := s.GoodsByID(ctx, lamps[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{2, 3} {
			if err := s.AddToBasket(ctx, m.ID, lamps[0].ID, page.Variants[0].ID, n); err != nil {
				t.Fatal(err)
			}
		}
		lines, err := s.Basket(ctx, m.ID)
		if err != nil || len(lines) != 1 || lines[0].Quantity != 5 || lines[0].Title != "Hanok lamp" ||
			lines[0].Name != "small" || !lines[0].Shown || lines[0].ShopSlug != "lamps" || lines[0].Stock != 2 {
			t.Fatalf("%+v, %v", lines, err)
		}
		if err := s.AddToBasket(ctx, m.ID, lamps[1].ID, page.Variants[0].ID, 1); !errors.Is(err, ErrUnknown) {
			t.Errorf("a variant of other goods: %v", err)
		}
		if err := s.SetQuantity(ctx, m.ID, lamps[0].ID, page.Variants[0].ID, 0); err != nil {
			t.Fatal(err)
		}
		if n, err := s.BasketCount(ctx, m.ID); err != nil || n != 0 {
			t.Errorf("%d, %v", n, err)
		}
		if err := s.SetBookmark(ctx, m.ID, lamps[1].ID, true); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Bookmarks(ctx, m.ID, 5); err != nil || len(list) != 1 || list[0].Title != "Desk lamp" {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := s.Consents(ctx, m.ID); err != nil || len(list) != 1 || list[0].Wording != "yes" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
