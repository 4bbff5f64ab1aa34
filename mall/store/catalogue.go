// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/uptrace/bun"
	"golang.org/x/text/unicode/norm"
)

// maxSearched are the pairs of letters that a search looks for; those of a longer one are not.
const maxSearched = 24

// Listed is goods as lists show them.
type Listed struct {
	Goods `bun:",extend"`

	ShopName string
	ShopSlug string
	Currency string
	Picture  Picture `bun:"-"` // the first; no hash: none
	More     bool    `bun:"-"` // its variants differ in price
	Sold     bool    `bun:"-"` // nothing of it is left
}

// CatalogueFilter chooses goods for a list; what is empty does not matter.
type CatalogueFilter struct {
	Shop       string
	Categories []string
	Words      string // that it is found by
}

// searchWords are the words of a text as they are compared: without case and width.
func searchWords(text string) []string {
	return strings.FieldsFunc(fold(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
}

// fold is a text without case and width.
func fold(text string) string { return strings.ToLower(norm.NFKC.String(text)) }

// queryGrams are those that goods must have to be found: the pairs, and the letter of
// a word that has only one.
func queryGrams(words []string) (list []string) {
	for _, word := range words {
		runes := []rune(word)
		for i := 0; i == 0 || i+1 < len(runes); i++ {
			gram := string(runes[i:min(i+2, len(runes))])
			if !slices.Contains(list, gram) && len(list) < maxSearched {
				list = append(list, gram)
			}
		}
	}
	return list
}

// ListGoods lists shown goods of open shops, the newest first, after the one with the
// id after (empty: from the first). next is where the next part goes on; empty: this was
// the last.
func (s *Store) ListGoods(ctx context.Context, f CatalogueFilter, after string, limit int) (
	list []Listed, next string, err error,
) {
	q := s.rd.NewSelect().Model(&list).ModelTableExpr("goods AS g").
		ColumnExpr("g.*, s.name AS shop_name, s.slug AS shop_slug, s.currency AS currency").
		Join("JOIN shops AS s ON s.id = g.shop").
		Where("g.state = ? AND s.state = ?", GoodsShown, ShopOpen)
	if after != "" {
		q.Where("g.id < ?", after)
	}
	if f.Shop != "" {
		q.Where("g.shop = ?", f.Shop)
	}
	if len(f.Categories) > 0 {
		q.Where("g.category IN (?)", bun.List(f.Categories))
	}
	if strings.TrimSpace(f.Words) != "" {
		if found, err := s.findBy(ctx, q, f.Words); err != nil || !found {
			return nil, "", err
		}
	}
	if err := q.OrderExpr("g.id DESC").Limit(int64(limit) + 1).Scan(ctx); err != nil {
		return nil, "", fmt.Errorf("listing goods: %w", err)
	}
	if len(list) > limit {
		list, next = list[:limit], list[limit-1].ID
	}
	return list, next, s.complete(ctx, list)
}

// findBy makes a query of goods g choose those that are found by some words; not found:
// there can be none.
func (s *Store) findBy(ctx context.Context, q *bun.SelectQuery, text string) (found bool, err error) {
	wanted := queryGrams(searchWords(text))
	if len(wanted) == 0 {
		return false, nil
	}
	// Where a pair is rare, its goods are tried; otherwise all, the newest first, until there
	// are enough.
	rare, err := s.rareGram(ctx, wanted)
	if err != nil {
		return false, err
	}
	if rare != "" {
		q.Where("g.id IN (SELECT goods FROM grams WHERE gram = ?)", rare)
	}
	for _, gram := range wanted {
		q.Where("EXISTS (SELECT 1 FROM grams WHERE gram = ? AND goods = g.id)", gram)
	}
	return true, nil
}

// maxRare is how many goods have a rare pair of letters at most.
const maxRare = 1000

// rareGram is the rarest of some pairs of letters; empty: none is rare.
func (s *Store) rareGram(ctx context.Context, grams []string) (rare string, err error) {
	least := maxRare + 1
	for _, gram := range grams {
		found := s.rd.NewSelect().Table("grams").ColumnExpr("1").Where("gram = ?", gram).Limit(int64(least))
		var n int
		if err := s.rd.NewSelect().TableExpr("(?) AS few", found).ColumnExpr("COUNT(*)").Scan(ctx, &n); err != nil {
			return "", fmt.Errorf("counting goods: %w", err)
		}
		if n < least {
			rare, least = gram, n
		}
		if n == 0 {
			break
		}
	}
	return rare, nil
}

// complete adds to listed goods their first pictures, and what their variants say.
func (s *Store) complete(ctx context.Context, list []Listed) error {
	if len(list) == 0 {
		return nil
	}
	at := make(map[string]*Listed, len(list))
	ids := make([]string, 0, len(list))
	for i := range list {
		at[list[i].ID] = &list[i]
		ids = append(ids, list[i].ID)
		list[i].Sold = true
	}
	var pictures []Picture
	var variants []Variant
	err := s.rd.NewSelect().Model(&pictures).Where("goods IN (?)", bun.List(ids)).Order("goods", "place").Scan(ctx)
	if err == nil {
		err = s.rd.NewSelect().Model(&variants).Where("goods IN (?)", bun.List(ids)).Scan(ctx)
	}
	if err != nil {
		return fmt.Errorf("reading what belongs to listed goods: %w", err)
	}
	for _, p := range pictures {
		if of := at[p.Goods]; of.Picture.Hash == "" {
			of.Picture = p
		}
	}
	for _, v := range variants {
		of := at[v.Goods]
		of.More = of.More || v.Price != of.Price
		of.Sold = of.Sold && v.Stock == 0
	}
	return nil
}

// GoodsPage is goods as their own page shows them.
type GoodsPage struct {
	Listed
	Shop     Shop
	Variants []Variant
	Pictures []Picture
}

// GoodsByID reads goods that anybody may see, of an open shop. ErrUnknown.
func (s *Store) GoodsByID(ctx context.Context, id string) (page GoodsPage, err error) {
	var list []Listed
	err = s.rd.NewSelect().Model(&list).ModelTableExpr("goods AS g").
		ColumnExpr("g.*, s.name AS shop_name, s.slug AS shop_slug, s.currency AS currency").
		Join("JOIN shops AS s ON s.id = g.shop").
		Where("g.id = ? AND g.state = ? AND s.state = ?", id, GoodsShown, ShopOpen).Scan(ctx)
	if err == nil && len(list) == 0 {
		err = ErrUnknown
	}
	if err == nil {
		page.Listed = list[0]
		page.Shop, err = s.Shop(ctx, list[0].Goods.Shop)
	}
	if err == nil {
		g := page.Listed.Goods
		err = s.rd.NewSelect().Model(&page.Variants).Where("shop = ? AND goods = ?", g.Shop, g.ID).Order("place", "id").
			Scan(ctx)
		if err == nil {
			err = s.rd.NewSelect().Model(&page.Pictures).Where("shop = ? AND goods = ?", g.Shop, g.ID).Order("place").
				Scan(ctx)
		}
	}
	if err != nil {
		return GoodsPage{}, fmt.Errorf("reading goods: %w", err)
	}
	page.Sold = !slices.ContainsFunc(page.Variants, func(v Variant) bool { return v.Stock > 0 })
	if len(page.Pictures) > 0 {
		page.Picture = page.Pictures[0]
	}
	return page, nil
}

// OpenShops are the open ones that sell, after a name, in the order of their names.
func (s *Store) OpenShops(ctx context.Context, after string, limit int) (list []Shop, err error) {
	err = s.rd.NewSelect().Model(&list).Where("state = ? AND name > ? AND NOT company", ShopOpen, after).Order("name").
		Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the shops: %w", err)
	}
	return list, nil
}

// ShopByAddr finds a shop by its address. ErrUnknown.
func (s *Store) ShopByAddr(ctx context.Context, addr string) (shop Shop, err error) {
	if err := s.rd.NewSelect().Model(&shop).Where("addr = ?", addr).Scan(ctx); err != nil {
		return Shop{}, fmt.Errorf("reading a shop: %w", known(err))
	}
	return shop, nil
}
