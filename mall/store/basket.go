// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// BasketLine is one thing in a member's basket.
type BasketLine struct {
	bun.BaseModel `bun:"table:basket,alias:b"`

	Member   string `bun:",pk"`
	Shop     string
	Goods    string `bun:",pk"`
	Variant  string `bun:",pk"`
	Quantity int64
	Created  int64
}

// BasketCount is how many different things are in a member's basket.
func (s *Store) BasketCount(ctx context.Context, member string) (int, error) {
	n, err := s.rd.NewSelect().Table("basket").Where("member = ?", member).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("counting a basket: %w", err)
	}
	return int(n), nil
}

// MaxBasket is how many different things fit into a basket.
const MaxBasket = 100

// InBasket is a line of a basket with what it stands for now.
type InBasket struct {
	BasketLine `bun:",extend"`

	Title    string
	Name     string // of the variant
	Price    int64  // of one
	Stock    int64
	ShopName string
	ShopSlug string
	Currency string
	Shown    bool    // it is still sold
	Picture  Picture `bun:"-"`
}

// Basket is a member's basket, by shop.
func (s *Store) Basket(ctx context.Context, member string) (list []InBasket, err error) {
	err = s.rd.NewSelect().Model(&list).ModelTableExpr("basket AS b").
		ColumnExpr("b.*, g.title, v.name, v.price, v.stock, s.name AS shop_name, s.slug AS shop_slug, s.currency").
		ColumnExpr("(g.state = ? AND s.state = ?) AS shown", GoodsShown, ShopOpen).
		Join("JOIN goods AS g ON g.id = b.goods").
		Join("JOIN shops AS s ON s.id = b.shop").
		Join("JOIN variants AS v ON v.shop = b.shop AND v.goods = b.goods AND v.id = b.variant").
		Where("b.member = ?", member).OrderExpr("s.name, b.created, b.goods").Limit(MaxBasket).Scan(ctx)
	if err == nil && len(list) > 0 {
		var ids []string
		for _, line := range list {
			ids = append(ids, line.Goods)
		}
		var pictures []Picture
		err = s.rd.NewSelect().Model(&pictures).Where("goods IN (?) AND place = 0", bun.List(ids)).Scan(ctx)
		for i := range list {
			for _, p := range pictures {
				if p.Goods == list[i].Goods {
					list[i].Picture = p
				}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading a basket: %w", err)
	}
	return list, nil
}

// AddToBasket adds a quantity of a variant that is shown. ErrUnknown: there is none.
// ErrState: the basket is full.
func (s *Store) AddToBasket(ctx context.Context, member, goods, variant string, quantity int64) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		var shop string
		err := tx.NewSelect().TableExpr("variants AS v").ColumnExpr("v.shop").
			Join("JOIN goods AS g ON g.id = v.goods").
			Where("v.goods = ? AND v.id = ? AND g.state = ?", goods, variant, GoodsShown).Scan(ctx, &shop)
		if err != nil {
			return known(err)
		}
		n, err := tx.NewSelect().Table("basket").Where("member = ?", member).Count(ctx)
		if err != nil {
			return err
		}
		if n >= MaxBasket {
			return ErrState
		}
		line := BasketLine{Member: member, Shop: shop, Goods: goods, Variant: variant, Quantity: quantity,
			Created: Micros(time.Now())}
		_, err = tx.NewInsert().Model(&line).On("CONFLICT (member, goods, variant) DO UPDATE").
			Set("quantity = ?", bun.Safe("CASE WHEN b.quantity + EXCLUDED.quantity > 999 THEN 999"+
				" ELSE b.quantity + EXCLUDED.quantity END")).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("adding to a basket: %w", err)
	}
	return nil
}

// SetQuantity changes a line of a basket; 0 takes it out.
func (s *Store) SetQuantity(ctx context.Context, member, goods, variant string, quantity int64) error {
	var err error
	if quantity == 0 {
		_, err = s.db.NewDelete().Table("basket").Where("member = ? AND goods = ? AND variant = ?", member, goods,
			variant).Exec(ctx)
	} else {
		_, err = s.db.NewUpdate().Table("basket").Set("quantity = ?", quantity).
			Where("member = ? AND goods = ? AND variant = ?", member, goods, variant).Exec(ctx)
	}
	if err != nil {
		return fmt.Errorf("changing a basket: %w", err)
	}
	return nil
}

// Bookmark is goods that a member marked.
type Bookmark struct {
	bun.BaseModel `bun:"table:bookmarks"`

	Member  string `bun:",pk"`
	Shop    string
	Goods   string `bun:",pk"`
	Created int64
}

// SetBookmark marks goods, or takes the mark away. ErrUnknown: there are no such goods.
func (s *Store) SetBookmark(ctx context.Context, member, goods string, marked bool) error {
	var err error
	if !marked {
		_, err = s.db.NewDelete().Table("bookmarks").Where("member = ? AND goods = ?", member, goods).Exec(ctx)
	} else {
		mark := Bookmark{Member: member, Goods: goods, Created: Micros(time.Now())}
		err = known(s.rd.NewSelect().Table("goods").Column("shop").Where("id = ? AND state = ?", goods, GoodsShown).
			Scan(ctx, &mark.Shop))
		if err == nil {
			_, err = s.db.NewInsert().Model(&mark).On("CONFLICT (member, goods) DO NOTHING").Exec(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("setting a bookmark: %w", err)
	}
	return nil
}

// Bookmarked reports whether a member marked goods.
func (s *Store) Bookmarked(ctx context.Context, member, goods string) (bool, error) {
	found, err := s.rd.NewSelect().Table("bookmarks").Where("member = ? AND goods = ?", member, goods).Exists(ctx)
	if err != nil {
		return false, fmt.Errorf("reading a bookmark: %w", err)
	}
	return found, nil
}

// Bookmarks are the shown goods that a member marked, the newest goods first.
func (s *Store) Bookmarks(ctx context.Context, member string, limit int) (list []Listed, err error) {
	err = s.rd.NewSelect().Model(&list).ModelTableExpr("goods AS g").
		ColumnExpr("g.*, s.name AS shop_name, s.slug AS shop_slug, s.currency AS currency").
		Join("JOIN shops AS s ON s.id = g.shop").
		Join("JOIN bookmarks AS m ON m.goods = g.id").
		Where("m.member = ? AND g.state = ? AND s.state = ?", member, GoodsShown, ShopOpen).
		OrderExpr("g.id DESC").Limit(int64(limit)).Scan(ctx)
	if err == nil {
		err = s.complete(ctx, list)
	}
	if err != nil {
		return nil, fmt.Errorf("listing bookmarks: %w", err)
	}
	return list, nil
}
