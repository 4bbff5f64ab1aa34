// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// Bounds of goods.
const (
	MaxGoods    = 50_000 // of a shop
	MaxVariants = 100    // of goods
	MaxPictures = 12     // of goods
	maxSKU      = 64     // letters
	maxTitle    = 200
	maxText     = 20_000
	maxName     = 100       // of a variant
	maxAlt      = 300       // of a picture
	maxPrice    = 1e12      // in the smallest unit
	maxStock    = 1_000_000 // of a variant
)

// ErrFull: a bound of the mall is reached.
var ErrFull = errors.New("there is no room for more")

// Item is goods with all that belongs to them.
type Item struct {
	Goods
	Variants []Variant
	Pictures []Picture
}

// Invalid says what of an item cannot be stored.
type Invalid struct {
	Field string // sku, title, text, category, state, variants, name, price, stock, pictures, alt
	Why   string // missing, long, control, unknown, many, twice, range
}

func (e Invalid) Error() string { return e.Field + ": " + e.Why }

// Check returns the first field of the item that cannot be stored, as Invalid.
func (it Item) Check() error {
	switch {
	case it.State != GoodsDraft && it.State != GoodsShown && it.State != GoodsGone:
		return Invalid{"state", "unknown"}
	case len(it.Variants) == 0:
		return Invalid{"variants", "missing"}
	case len(it.Variants) > MaxVariants:
		return Invalid{"variants", "many"}
	case len(it.Pictures) > MaxPictures:
		return Invalid{"pictures", "many"}
	}
	if err := errors.Join(line("sku", it.SKU, 1, maxSKU), line("title", it.Title, 1, maxTitle)); err != nil {
		return first(err)
	}
	if utf8.RuneCountInString(it.Text) > maxText {
		return Invalid{"text", "long"}
	}
	if strings.ContainsRune(it.Text, 0) || !utf8.ValidString(it.Text) {
		return Invalid{"text", "control"}
	}
	names := make(map[string]bool)
	for _, v := range it.Variants {
		least := 0
		if len(it.Variants) > 1 {
			least = 1 // several must be told apart
		}
		if err := line("name", v.Name, least, maxName); err != nil {
			return err
		}
		switch {
		case names[v.Name]:
			return Invalid{"name", "twice"}
		case v.Price < 0 || v.Price > maxPrice:
			return Invalid{"price", "range"}
		case v.Stock < 0 || v.Stock > maxStock:
			return Invalid{"stock", "range"}
		}
		names[v.Name] = true
	}
	for _, p := range it.Pictures {
		if err := line("alt", p.Alt, 0, maxAlt); err != nil {
			return err
		}
	}
	return nil
}

// first is the first of joined errors.
func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// line checks a text of one line, between least and most letters long.
func line(field, text string, least, most int) error {
	switch n := utf8.RuneCountInString(text); {
	case n < least || least > 0 && strings.TrimSpace(text) == "":
		return Invalid{field, "missing"}
	case n > most:
		return Invalid{field, "long"}
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return Invalid{field, "control"}
	}
	return nil
}

// AddGoods stores new goods of a shop. Invalid; ErrTaken: the shop has that SKU;
// ErrFull: the shop has MaxGoods.
func (s *Store) AddGoods(ctx context.Context, shop string, it Item) (Item, error) {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		if err := roomForGoods(ctx, tx, shop, 1); err != nil {
			return err
		}
		return putItem(ctx, tx, shop, &it, false)
	})
	if err != nil {
		return Item{}, fmt.Errorf("adding goods: %w", err)
	}
	return it, nil
}

// ChangeGoods changes goods of a shop by edit, which gets them as they are now and
// may refuse; nobody changes them meanwhile, nor is their stock sold. Variants are
// told apart by their ids; one without is new. ErrUnknown, Invalid, ErrTaken.
func (s *Store) ChangeGoods(ctx context.Context, shop, id string, edit func(it *Item) error) (it Item, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		if it, err = s.item(ctx, tx, shop, "id", id, true); err != nil {
			return err
		}
		if err := edit(&it); err != nil {
			return err
		}
		it.ID = id
		return putItem(ctx, tx, shop, &it, true)
	})
	if err != nil {
		return Item{}, fmt.Errorf("changing goods: %w", err)
	}
	return it, nil
}

// ChangeStock changes the stock of a variant by a number and returns what it is then.
// ErrUnknown; ErrStock: there is less than that, or no room for so much.
func (s *Store) ChangeStock(ctx context.Context, shop, goods, variant string, by int64) (stock int64, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewUpdate().Table("variants").Set("stock = stock + ?", by).
			Where("shop = ? AND goods = ? AND id = ? AND stock + ? BETWEEN 0 AND ?", shop, goods, variant, by,
				int64(maxStock)).
			Exec(ctx)
		wrong := changed(res, err, ErrStock)
		if wrong != nil && !errors.Is(wrong, ErrStock) {
			return wrong
		}
		err = tx.NewSelect().Table("variants").Column("stock").
			Where("shop = ? AND goods = ? AND id = ?", shop, goods, variant).Scan(ctx, &stock)
		return cmp.Or(known(err), wrong)
	})
	if err != nil {
		return 0, fmt.Errorf("changing a stock: %w", err)
	}
	return stock, nil
}

// ErrSkip of a merge leaves those goods as they are.
var ErrSkip = errors.New("skipped")

// PutGoods adds or changes goods of a shop, found by their SKU, in one transaction.
// merge gets what the shop has now (old.ID is empty: nothing) and returns what it
// shall have, or ErrSkip; it may be called again. Pictures stay. dry: nothing is
// written, only counted.
func (s *Store) PutGoods(
	ctx context.Context, shop string, skus []string, dry bool, merge func(n int, old Item) (Item, error),
) (added, changed int, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		added, changed = 0, 0
		for n, sku := range skus {
			old, err := s.item(ctx, tx, shop, "sku", sku, true)
			if err != nil && !errors.Is(err, ErrUnknown) {
				return err
			}
			it, err := merge(n, old)
			if errors.Is(err, ErrSkip) {
				continue
			}
			if err != nil {
				return err
			}
			it.Goods.ID, it.SKU, it.Created, it.Pictures = old.ID, sku, old.Created, old.Pictures
			if old.ID == "" {
				added++
			} else {
				changed++
			}
			if dry || reflect.DeepEqual(it, old) {
				continue
			}
			if err := putItem(ctx, tx, shop, &it, old.ID != ""); err != nil {
				return err
			}
		}
		if dry {
			return roomForGoods(ctx, tx, shop, added)
		}
		return roomForGoods(ctx, tx, shop, 0)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("storing goods: %w", err)
	}
	return added, changed, nil
}

// foldedOf is what a shop's search looks for words in.
func foldedOf(g Goods) string { return fold(g.Title + " " + g.SKU) }

// foldAll gives goods that were stored by an older version what they are found by.
func (s *Store) foldAll(ctx context.Context) error {
	const batch = 500
	for {
		var list []Goods
		err := s.db.NewSelect().Model(&list).Where("folded = ''").Limit(batch).Scan(ctx)
		if err != nil || len(list) == 0 {
			return err
		}
		err = s.tx(ctx, func(tx bun.Tx) error {
			for _, g := range list {
				// Whoever has changed it meanwhile has set it.
				_, err := tx.NewUpdate().Table("goods").Set("folded = ?", foldedOf(g)).
					Where("shop = ? AND id = ? AND folded = ''", g.Shop, g.ID).Exec(ctx)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// roomForGoods returns ErrFull if the shop may not have that many more.
func roomForGoods(ctx context.Context, tx bun.Tx, shop string, more int) error {
	n, err := tx.NewSelect().Model((*Goods)(nil)).Where("shop = ?", shop).Count(ctx)
	if err == nil && int(n)+more > MaxGoods {
		err = ErrFull
	}
	return err
}

// putItem stores an item that is there already, or not.
func putItem(ctx context.Context, tx bun.Tx, shop string, it *Item, there bool) error {
	if err := it.Check(); err != nil {
		return err
	}
	if it.Category != "" {
		n, err := tx.NewSelect().Model((*Category)(nil)).Where("id = ?", it.Category).Count(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			return Invalid{"category", "unknown"}
		}
	}
	now := Micros(time.Now())
	it.Shop, it.Price, it.Folded = shop, it.Variants[0].Price, foldedOf(it.Goods)
	for _, v := range it.Variants {
		it.Price = min(it.Price, v.Price)
	}
	var err error
	if there {
		it.Changed = max(now, it.Changed+1)
		_, err = tx.NewUpdate().Model(&it.Goods).WherePK().Exec(ctx)
	} else {
		it.ID, it.Created, it.Changed = NewID(), now, now
		_, err = tx.NewInsert().Model(&it.Goods).Exec(ctx)
	}
	if err != nil {
		return taken(err)
	}
	if err := putVariants(ctx, tx, it); err != nil {
		return err
	}
	if err := putPictures(ctx, tx, it); err != nil {
		return err
	}
	return setGrams(ctx, tx, it.Goods)
}

func putVariants(ctx context.Context, tx bun.Tx, it *Item) error {
	ids := make(map[string]bool)
	for i := range it.Variants {
		v := &it.Variants[i]
		if v.ID == "" || ids[v.ID] {
			v.ID = NewID()
		}
		v.Shop, v.Goods, v.Place = it.Shop, it.ID, i
		ids[v.ID] = true
	}
	// Rows that stay are changed in place: whoever waits to take from one or to give back finds it.
	_, err := tx.NewDelete().Model((*Variant)(nil)).Where("shop = ? AND goods = ?", it.Shop, it.ID).
		Where("id NOT IN (?)", bun.List(slices.Collect(maps.Keys(ids)))).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewInsert().Model(&it.Variants).On("CONFLICT (shop, goods, id) DO UPDATE").
		Set("name = EXCLUDED.name, price = EXCLUDED.price, stock = EXCLUDED.stock, place = EXCLUDED.place").Exec(ctx)
	return err
}

func putPictures(ctx context.Context, tx bun.Tx, it *Item) error {
	if _, err := tx.NewDelete().Model((*Picture)(nil)).Where("shop = ? AND goods = ?", it.Shop,
		it.ID).Exec(ctx); err != nil {
		return err
	}
	seen := make(map[string]bool)
	it.Pictures = slices.DeleteFunc(it.Pictures, func(p Picture) bool {
		twice := seen[p.Hash]
		seen[p.Hash] = true
		return twice
	})
	if len(it.Pictures) == 0 {
		return nil
	}
	for i := range it.Pictures {
		p := &it.Pictures[i]
		p.Shop, p.Goods, p.Place = it.Shop, it.ID, i
	}
	_, err := tx.NewInsert().Model(&it.Pictures).Exec(ctx)
	return err
}

// ItemOf reads goods of a shop, whatever their state. ErrUnknown.
func (s *Store) ItemOf(ctx context.Context, shop, id string) (it Item, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		it, err = s.item(ctx, db, shop, "id", id, false)
		return err
	})
	if err != nil {
		return Item{}, fmt.Errorf("reading goods: %w", err)
	}
	return it, nil
}

// item reads goods of a shop by a column. lock: until the transaction ends, nobody
// else changes them or sells their stock.
func (s *Store) item(ctx context.Context, db bun.IDB, shop, column, value string, lock bool) (it Item, err error) {
	locked := func(q *bun.SelectQuery) *bun.SelectQuery { return q }
	if lock {
		locked = s.forUpdate
	}
	err = locked(db.NewSelect().Model(&it.Goods).Where("shop = ? AND ? = ?", shop, bun.Ident(column), value)).Scan(ctx)
	if err != nil {
		return Item{}, known(err)
	}
	err = locked(db.NewSelect().Model(&it.Variants).Where("shop = ? AND goods = ?", shop,
		it.ID).Order("place")).Scan(ctx)
	if err != nil {
		return Item{}, err
	}
	err = db.NewSelect().Model(&it.Pictures).Where("shop = ? AND goods = ?", shop, it.ID).Order("place").Scan(ctx)
	return it, err
}

// GoodsFilter chooses goods of a shop.
type GoodsFilter struct {
	State  string // empty: all but those gone
	Search string // words that stand in title and SKU, whatever their case
	After  string // id of the last on the page before
}

// GoodsRow is goods in a shop's own list.
type GoodsRow struct {
	Goods
	Stock   int64  // of all variants
	Picture string // hash of the first; may be empty
}

// GoodsOfShop lists a shop's goods, newest first.
func (s *Store) GoodsOfShop(ctx context.Context, shop string, f GoodsFilter, limit int) (rows []GoodsRow, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		q := db.NewSelect().TableExpr("goods AS g").ColumnExpr("g.*").
			ColumnExpr("(SELECT SUM(stock) FROM variants v WHERE v.shop = g.shop AND v.goods = g.id) AS stock").
			ColumnExpr("COALESCE((SELECT hash FROM pictures p WHERE p.shop = g.shop AND p.goods = g.id"+
				" ORDER BY place LIMIT 1), '') AS picture").
			Where("g.shop = ?", shop).OrderExpr("g.id DESC").Limit(int64(limit))
		if f.State != "" {
			q.Where("g.state = ?", f.State)
		} else {
			q.Where("g.state <> ?", GoodsGone)
		}
		if f.After != "" {
			q.Where("g.id < ?", f.After)
		}
		if strings.TrimSpace(f.Search) != "" {
			words := searchWords(f.Search)
			if len(words) == 0 {
				return nil
			}
			for _, word := range words { // letters and digits: LIKE takes them as they are
				q.Where("g.folded LIKE ?", "%"+word+"%")
			}
		}
		return q.Scan(ctx, &rows)
	})
	if err != nil {
		return nil, fmt.Errorf("listing goods: %w", err)
	}
	return rows, nil
}

// EachItem calls do with a shop's goods that are not gone, oldest first, reading a
// page at a time.
func (s *Store) EachItem(ctx context.Context, shop string, do func(Item) error) error {
	const page = 200
	for after := ""; ; {
		var goods []Goods
		variants, pictures := make(map[string][]Variant), make(map[string][]Picture)
		err := s.readOfShop(ctx, shop, func(db bun.IDB) error {
			err := db.NewSelect().Model(&goods).Where("shop = ? AND id > ? AND state <> ?", shop, after, GoodsGone).
				Order("id").Limit(page).Scan(ctx)
			if err != nil || len(goods) == 0 {
				return err
			}
			var vs []Variant
			last := goods[len(goods)-1].ID
			if err := db.NewSelect().Model(&vs).Where("shop = ? AND goods > ? AND goods <= ?", shop, after, last).
				Order("goods", "place").Scan(ctx); err != nil {
				return err
			}
			for _, v := range vs {
				variants[v.Goods] = append(variants[v.Goods], v)
			}
			var ps []Picture
			err = db.NewSelect().Model(&ps).Where("shop = ? AND goods > ? AND goods <= ?", shop, after, last).
				Order("goods", "place").Scan(ctx)
			for _, p := range ps {
				pictures[p.Goods] = append(pictures[p.Goods], p)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("reading goods: %w", err)
		}
		for _, g := range goods {
			if err := do(Item{Goods: g, Variants: variants[g.ID], Pictures: pictures[g.ID]}); err != nil {
				return err
			}
		}
		if len(goods) < page {
			return nil
		}
		after = goods[len(goods)-1].ID
	}
}

// Stamp is the state of an item for an ETag or a hidden field: its changes and its
// stock.
func (it Item) Stamp() string {
	b := strconv.AppendInt(nil, it.Changed, 36)
	for _, v := range it.Variants {
		b = strconv.AppendInt(append(b, '-'), v.Stock, 36)
	}
	return string(b)
}
