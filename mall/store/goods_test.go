// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"strings"
	"testing"
)

// newShop adds a shop named by its slug.
func newShop(t *testing.T, s *Store, slug string) Shop {
	t.Helper()
	shop, err := s.AddShop(t.Context(), Shop{Slug: slug, Name: slug, Addr: slug + "@mall.example", State: ShopOpen,
		Lang: "en", Currency: "KRW"}, "host@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	return shop
}

func lamp(sku string) Item {
	return Item{Goods: Goods{SKU: sku, Title: "전등 " + sku, State: GoodsShown},
		Variants: []Variant{{Name: "white", Price: 300, Stock: 4}, {Name: "black", Price: 200, Stock: 1}}}
}

// TestGoods: added, changed, put by SKU, listed; one shop does not reach another's.
func TestGoods(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		ours, theirs := newShop(t, s, "lamps").ID, newShop(t, s, "chairs").ID
		it, err := s.AddGoods(ctx, ours, lamp("A_1"))
		if err != nil {
			t.Fatal(err)
		}
		if it.Price != 200 {
			t.Errorf("the lowest price is %d", it.Price)
		}
		if _, err := s.AddGoods(ctx, ours, lamp("A_1")); !errors.Is(err, ErrTaken) {
			t.Errorf("a SKU twice: %v", err)
		}
		if _, err := s.AddGoods(ctx, theirs, lamp("A_1")); err != nil {
			t.Errorf("another shop's same SKU: %v", err)
		}
		black := it.Variants[1].ID
		now, err := s.ChangeGoods(ctx, ours, it.ID, func(it *Item) error {
			it.Variants = []Variant{it.Variants[1], {Name: "red", Price: 900}}
			it.Pictures = []Picture{{Hash: "b"}, {Hash: "a", Alt: "front"}, {Hash: "b"}}
			return nil
		})
		if err != nil || now.Variants[0].ID != black || now.Changed <= it.Changed || now.Stamp() == it.Stamp() {
			t.Errorf("changed: %+v, %v", now, err)
		}
		if read, err := s.ItemOf(ctx, ours, it.ID); err != nil || len(read.Pictures) != 2 ||
			read.Pictures[1].Alt != "front" || read.Variants[1].Name != "red" || read.Stamp() != now.Stamp() {
			t.Errorf("read: %+v, %v", read, err)
		}
		for what, err := range map[string]error{
			"read": func() error { _, err := s.ItemOf(ctx, theirs, it.ID); return err }(),
			"changed": func() error {
				_, err := s.ChangeGoods(ctx, theirs, it.ID, func(*Item) error { return nil })
				return err
			}(),
		} {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("another shop's goods %s: %v", what, err)
			}
		}
		for _, dry := range []bool{true, false} {
			added, changed, err := s.PutGoods(ctx, ours, []string{"A_1", "B", "C"}, dry,
				func(n int, old Item) (Item, error) {
					if n == 2 {
						return Item{}, ErrSkip
					}
					it := lamp("")
					it.Title = []string{"Élan First", "Second"}[n]
					return it, nil
				})
			if err != nil || added != 1 || changed != 1 {
				t.Errorf("put: %d, %d, %v", added, changed, err)
			}
		}
		for search, want := range map[string]int{"A_1": 1, "ÉLAN": 1, "élan": 1, "ｆｉｒｓｔ": 1, "nothing": 0, "%": 0} {
			if found, err := s.GoodsOfShop(ctx, ours, GoodsFilter{Search: search}, 10); err != nil ||
				len(found) != want {
				t.Errorf("%s finds %+v, %v", search, found, err)
			}
		}
		// Of an older version, they are found after the next start.
		if _, err := s.db.ExecContext(ctx, "UPDATE goods SET folded = ''"); err != nil {
			t.Fatal(err)
		}
		if err := s.foldAll(ctx); err != nil {
			t.Fatal(err)
		}
		rows, err := s.GoodsOfShop(ctx, ours, GoodsFilter{Search: "firs"}, 10)
		if err != nil || len(rows) != 1 || rows[0].Title != "Élan First" || rows[0].Stock != 5 ||
			rows[0].Picture != "b" {
			t.Errorf("found: %+v, %v", rows, err)
		}
		if rows, err := s.GoodsOfShop(ctx, ours, GoodsFilter{After: rows[0].ID}, 10); err != nil || len(rows) != 0 {
			t.Errorf("after the oldest: %+v, %v", rows, err)
		}
		var skus []string
		err = s.EachItem(ctx, ours, func(it Item) error {
			skus = append(skus, it.SKU)
			if len(it.Variants) != 2 {
				t.Errorf("%s has %d variants", it.SKU, len(it.Variants))
			}
			return nil
		})
		if err != nil || strings.Join(skus, " ") != "A_1 B" {
			t.Errorf("each: %v, %v", skus, err)
		}
	})
}

// TestGoodsTwoPages: what two people change at once is refused to the later one
// if they ask for that, and stock sold meanwhile stays sold.
func TestGoodsTwoPages(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop := newShop(t, s, "lamps").ID
		it, err := s.AddGoods(ctx, shop, lamp("A"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.ExecContext(ctx, "UPDATE variants SET stock = stock - 3 WHERE id = ?",
			it.Variants[0].ID); err != nil {
			t.Fatal(err)
		}
		_, err = s.ChangeGoods(ctx, shop, it.ID, func(now *Item) error {
			if now.Stamp() != it.Stamp() {
				return ErrState
			}
			return nil
		})
		if !errors.Is(err, ErrState) {
			t.Errorf("an old stamp: %v", err)
		}
		now, err := s.ChangeGoods(ctx, shop, it.ID, func(now *Item) error {
			now.Variants[0].Stock += 10 - it.Variants[0].Stock // typed 10 over 4
			return nil
		})
		if err != nil || now.Variants[0].Stock != 7 {
			t.Errorf("stock %+v, %v", now.Variants, err)
		}
	})
}

// TestItemCheck: each field has its bound, and says which.
func TestItemCheck(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*Item){
		"sku: missing":      func(it *Item) { it.SKU = " " },
		"sku: long":         func(it *Item) { it.SKU = strings.Repeat("가", maxSKU+1) },
		"title: missing":    func(it *Item) { it.Title = "" },
		"title: control":    func(it *Item) { it.Title = "a\nb" },
		"text: long":        func(it *Item) { it.Text = strings.Repeat("가", maxText+1) },
		"text: control":     func(it *Item) { it.Text = "a\xff" },
		"state: unknown":    func(it *Item) { it.State = "sold" },
		"variants: missing": func(it *Item) { it.Variants = nil },
		"variants: many":    func(it *Item) { it.Variants = make([]Variant, MaxVariants+1) },
		"name: missing":     func(it *Item) { it.Variants[1].Name = "" },
		"name: twice":       func(it *Item) { it.Variants[1].Name = "white" },
		"price: range":      func(it *Item) { it.Variants[0].Price = -1 },
		"stock: range":      func(it *Item) { it.Variants[0].Stock = maxStock + 1 },
		"pictures: many":    func(it *Item) { it.Pictures = make([]Picture, MaxPictures+1) },
		"alt: long":         func(it *Item) { it.Pictures = []Picture{{Alt: strings.Repeat("a", maxAlt+1)}} },
	} {
		it := lamp("A")
		if err := it.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&it)
		var invalid Invalid
		if err := it.Check(); !errors.As(err, &invalid) || invalid.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestGrams: Korean, wide letters and case; a bound.
func TestGrams(t *testing.T) {
	t.Parallel()
	if got := strings.Join(grams("전등을, ＡB a", 9), " "); got != "전 전등 등을 a ab" {
		t.Errorf("%s", got)
	}
	if got := grams("abcdef", 3); len(got) != 3 {
		t.Errorf("%v", got)
	}
}
