// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/chmail/chmail/mall/order"
)

// Limits of orders.
const (
	MaxLines    = 100    // of one order, or one basket
	MaxQuantity = 10_000 // of one line
	maxTotal    = 1 << 50
)

// Errors of orders, beside order.ErrStep.
var (
	// ErrStock: there is less than that in stock.
	ErrStock = errors.New("there is less in stock")
	// ErrPrice: the price is another one by now.
	ErrPrice = errors.New("the price is another one by now")
	// ErrLines: no goods, too many, or goods that cannot be bought.
	ErrLines = errors.New("these goods cannot be ordered")
)

// Order is what a member buys, or is offered, from one shop.
type Order struct {
	bun.BaseModel `bun:"table:orders"`

	Shop     string `bun:",pk"`
	ID       string `bun:",pk"`
	Number   string // what people say
	Member   string
	State    order.State
	Currency string
	Total    int64
	Deliver  string // where to, sealed with the ID
	Inquiry  string // the talk that it was offered in
	Basket   string // the same for all orders of one basket
	Created  int64
	Changed  int64
}

// OrderLine is goods of an order, as they were then.
type OrderLine struct {
	bun.BaseModel `bun:"table:order_lines"`

	Shop     string `bun:",pk"`
	Ordered  string `bun:",pk"` // the order
	Place    int    `bun:",pk"`
	Goods    string
	Variant  string
	Title    string
	Quantity int64
	Price    int64 // of one
}

// OrderEvent is a step of an order.
type OrderEvent struct {
	bun.BaseModel `bun:"table:order_events"`

	Shop    string `bun:",pk"`
	Ordered string `bun:",pk"`
	N       int    `bun:",pk"`
	At      int64
	State   order.State // that it came into
	Actor   string      // login, or "payment"
	Note    string
}

// Payment is a payment provider's notice.
type Payment struct {
	bun.BaseModel `bun:"table:payments"`

	Shop     string `bun:",pk"`
	Provider string `bun:",pk"`
	Notice   string `bun:",pk"` // the provider's ID of it
	Ordered  string
	Amount   int64
	At       int64
}

// Step is what somebody does with an order.
type Step struct {
	Act   order.Act
	By    order.Role
	Actor string // login, or "payment"
	Note  string
	// Deliver seals where the goods go, of an accepted offer, with the order's ID.
	Deliver func(id string) (string, error)
}

// number is a fresh number of an order: its day, and letters that are not taken for
// others.
func number(now time.Time) string { return now.UTC().Format("060102") + "-" + rand.Text()[:7] }

// sellable is what stands behind a line: goods that are shown, of an open shop.
type sellable struct {
	Goods, Variant, Title, Name string
	Price                       int64
}

// fill checks lines, and writes their titles and, where they have none, their prices.
func fill(ctx context.Context, tx bun.Tx, shop string, lines []OrderLine) (total int64, err error) {
	if len(lines) == 0 || len(lines) > MaxLines {
		return 0, ErrLines
	}
	for i := range lines {
		l := &lines[i]
		var of sellable
		err := tx.NewSelect().TableExpr("variants AS v").
			Join("JOIN goods AS g ON g.shop = v.shop AND g.id = v.goods").Join("JOIN shops AS s ON s.id = g.shop").
			ColumnExpr("v.goods, v.id AS variant, g.title, v.name, v.price").
			Where("v.shop = ? AND v.goods = ? AND v.id = ?", shop, l.Goods, l.Variant).
			Where("g.state = 'shown' AND s.state = ?", ShopOpen).Scan(ctx, &of)
		if err = known(err); errors.Is(err, ErrUnknown) || l.Quantity < 1 || l.Quantity > MaxQuantity || l.Price < 0 {
			return 0, ErrLines
		} else if err != nil {
			return 0, err
		}
		l.Shop, l.Place, l.Title = shop, i, of.Title
		if of.Name != "" {
			l.Title += " (" + of.Name + ")"
		}
		if l.Price == 0 {
			l.Price = of.Price
		}
		if l.Price > maxTotal/MaxQuantity/MaxLines {
			return 0, ErrLines
		}
		total += l.Price * l.Quantity
	}
	return total, nil
}

// take takes goods out of the stock (by -1), or puts them back (by 1). ErrStock: there
// is less. The rows are locked in one order, so that no two buyers wait for each other.
func take(ctx context.Context, tx bun.Tx, lines []OrderLine, by int) error {
	lines = slices.Clone(lines)
	slices.SortFunc(lines, func(a, b OrderLine) int {
		return cmp.Or(cmp.Compare(a.Shop, b.Shop), cmp.Compare(a.Goods, b.Goods), cmp.Compare(a.Variant, b.Variant))
	})
	for _, l := range lines {
		res, err := tx.NewUpdate().Table("variants").Set("stock = stock + ?", int64(by)*l.Quantity).
			Where("shop = ? AND goods = ? AND id = ? AND stock + ? >= 0", l.Shop, l.Goods, l.Variant,
				int64(by)*l.Quantity).
			Exec(ctx)
		err = changed(res, err, ErrStock)
		if errors.Is(err, ErrStock) && by > 0 {
			continue // the variant is gone: nobody can buy it again
		}
		if errors.Is(err, ErrStock) {
			return fmt.Errorf("%s: %w", l.Title, ErrStock)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// put stores a new order with its lines and first step.
func put(ctx context.Context, tx bun.Tx, o *Order, lines []OrderLine, actor, note string) error {
	if _, err := tx.NewInsert().Model(o).Exec(ctx); err != nil {
		return taken(err)
	}
	for i := range lines {
		lines[i].Ordered = o.ID
	}
	if _, err := tx.NewInsert().Model(&lines).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewInsert().Model(&OrderEvent{Shop: o.Shop, Ordered: o.ID, N: 1, At: o.Created, State: o.State,
		Actor: actor, Note: note}).Exec(ctx)
	return err
}

// Offer stores what a shop offers a member. Lines need goods, variant and quantity;
// without a price of their own they cost what the goods do. ErrLines.
func (s *Store) Offer(ctx context.Context, o Order, lines []OrderLine, actor, note string) (Order, error) {
	now := time.Now()
	o.ID, o.Number, o.State = NewID(), number(now), order.Offered
	o.Created, o.Changed = Micros(now), Micros(now)
	err := s.OfShop(ctx, o.Shop, func(tx bun.Tx) (err error) {
		if o.Total, err = fill(ctx, tx, o.Shop, lines); err != nil {
			return err
		}
		err = tx.NewSelect().Table("shops").Column("currency").Where("id = ?", o.Shop).Scan(ctx, &o.Currency)
		if err != nil {
			return known(err)
		}
		return put(ctx, tx, &o, lines, actor, note)
	})
	if err != nil {
		return Order{}, fmt.Errorf("offering: %w", err)
	}
	return o, nil
}

// OrderBasket makes orders of a member's basket, one a shop, sets their goods aside and
// empties the basket: all of it, or nothing. expect is what the member saw that each
// shop's goods cost; ErrPrice: it is another sum by now. ErrStock, ErrLines.
func (s *Store) OrderBasket(
	ctx context.Context, member, login string, expect map[string]int64, deliver func(id string) (string, error),
) (orders []Order, err error) {
	err = s.tx(ctx, func(tx bun.Tx) error {
		orders = nil
		var lines []OrderLine
		err := tx.NewSelect().TableExpr("basket").ColumnExpr("shop, goods, variant, quantity").
			Where("member = ?", member).OrderExpr("shop, created, goods, variant").Limit(MaxLines+1).Scan(ctx, &lines)
		if err != nil {
			return err
		}
		if len(lines) == 0 || len(lines) > MaxLines {
			return ErrLines
		}
		res, err := tx.NewDelete().Table("basket").Where("member = ?", member).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != int64(len(lines)) { // ordered in another tab just now
			return errors.Join(err, ErrState)
		}
		now, basket := time.Now(), NewID()
		if err := take(ctx, tx, lines, -1); err != nil {
			return err
		}
		for len(lines) > 0 {
			n := slices.IndexFunc(lines, func(l OrderLine) bool { return l.Shop != lines[0].Shop })
			if n < 0 {
				n = len(lines)
			}
			of := lines[:n:n]
			lines = lines[n:]
			o := Order{Shop: of[0].Shop, ID: NewID(), Number: number(now), Member: member, State: order.Accepted,
				Basket: basket, Created: Micros(now), Changed: Micros(now)}
			if o.Total, err = fill(ctx, tx, o.Shop, of); err != nil {
				return err
			}
			if o.Total != expect[o.Shop] {
				return ErrPrice
			}
			err := tx.NewSelect().Table("shops").Column("currency").Where("id = ?", o.Shop).Scan(ctx, &o.Currency)
			if err != nil {
				return err
			}
			if o.Deliver, err = deliver(o.ID); err != nil {
				return err
			}
			if err := put(ctx, tx, &o, of, login, ""); err != nil {
				return err
			}
			orders = append(orders, o)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ordering a basket: %w", err)
	}
	return orders, nil
}

// Move takes an order's step, and sets its goods aside or puts them back. A member of
// the order's own must be checked before. order.ErrStep, ErrStock, ErrUnknown.
func (s *Store) Move(ctx context.Context, shop, id string, step Step) (o Order, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		o, err = move(ctx, tx, shop, id, step)
		return err
	})
	if err != nil {
		return Order{}, fmt.Errorf("changing the order %s: %w", id, err)
	}
	return o, nil
}

func move(ctx context.Context, tx bun.Tx, shop, id string, step Step) (o Order, err error) {
	if err := tx.NewSelect().Model(&o).Where("shop = ? AND id = ?", shop, id).Scan(ctx); err != nil {
		return o, known(err)
	}
	next, err := order.Next(o.State, step.Act, step.By)
	if err != nil {
		return o, err
	}
	o.State, o.Changed = next.To, Micros(time.Now())
	if step.Act == order.Accept && step.Deliver != nil {
		if o.Deliver, err = step.Deliver(o.ID); err != nil {
			return o, err
		}
	}
	res, err := tx.NewUpdate().Model(&o).Column("state", "changed", "deliver").
		Where("shop = ? AND id = ? AND state = ?", shop, id, next.From).Exec(ctx)
	if err := changed(res, err, order.ErrStep); err != nil { // somebody was quicker
		return o, err
	}
	if next.Stock != 0 {
		lines, err := linesOf(ctx, tx, shop, id)
		if err == nil {
			err = take(ctx, tx, lines, next.Stock)
		}
		if err != nil {
			return o, err
		}
	}
	_, err = tx.NewRaw("INSERT INTO order_events (shop, ordered, n, at, state, actor, note)"+
		" SELECT ?, ?, COALESCE(MAX(n), 0) + 1, CAST(? AS BIGINT), ?, ?, ? FROM order_events WHERE shop = ? AND ordered = ?",
		shop, id, o.Changed, o.State, step.Actor, step.Note, shop, id).Exec(ctx)
	return o, err
}

// Pay stores a payment provider's notice. The order becomes paid when it waits for
// just that sum; paid is false for a notice that came before, for another sum, and
// for an order that does not wait for money: somebody has to look at these. ErrUnknown:
// there is no such order.
func (s *Store) Pay(ctx context.Context, p Payment) (o Order, paid bool, err error) {
	p.At = Micros(time.Now())
	err = s.OfShop(ctx, p.Shop, func(tx bun.Tx) error {
		paid = false
		if err := tx.NewSelect().Model(&o).Where("shop = ? AND id = ?", p.Shop, p.Ordered).Scan(ctx); err != nil {
			return known(err)
		}
		res, err := tx.NewInsert().Model(&p).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 || p.Amount != o.Total || o.State != order.Accepted {
			return err
		}
		o, err = move(ctx, tx, p.Shop, p.Ordered, Step{Act: order.Pay, By: order.Payment, Actor: "payment",
			Note: p.Provider})
		paid = err == nil
		return err
	})
	if err != nil {
		return Order{}, false, fmt.Errorf("storing a payment: %w", err)
	}
	return o, paid, nil
}

// BasketLines is a member's basket as orders of it would be, by shop, with today's prices.
func (s *Store) BasketLines(ctx context.Context, member string) (lines []OrderLine, err error) {
	err = s.rd.NewSelect().TableExpr("basket AS b").Join("JOIN goods AS g ON g.shop = b.shop AND g.id = b.goods").
		Join("JOIN variants AS v ON v.shop = b.shop AND v.goods = b.goods AND v.id = b.variant").
		ColumnExpr("b.shop, b.goods, b.variant, b.quantity, v.price").
		ColumnExpr("g.title || CASE WHEN v.name = '' THEN '' ELSE ' (' || v.name || ')' END AS title").
		Where("b.member = ?", member).OrderExpr("b.shop, b.created, b.goods, b.variant").Limit(MaxLines).Scan(ctx,
		&lines)
	if err != nil {
		return nil, fmt.Errorf("reading a basket: %w", err)
	}
	return lines, nil
}

// OrderByNumber finds an order by what people say. ErrUnknown.
func (s *Store) OrderByNumber(ctx context.Context, number string) (o Order, err error) {
	if err := s.rd.NewSelect().Model(&o).Where("number = ?", number).Scan(ctx); err != nil {
		return Order{}, fmt.Errorf("reading an order: %w", known(err))
	}
	return o, nil
}

// OrderIn finds an order of a shop, and OrderOf one of a member, by its number.
// ErrUnknown.
func (s *Store) OrderIn(ctx context.Context, shop, number string) (o Order, err error) {
	if o, err = s.OrderByNumber(ctx, number); err == nil && o.Shop != shop {
		return Order{}, fmt.Errorf("reading an order: %w", ErrUnknown)
	}
	return o, err
}

// OrderOf finds an order of a member by its number. ErrUnknown.
func (s *Store) OrderOf(ctx context.Context, member, number string) (o Order, err error) {
	if o, err = s.OrderByNumber(ctx, number); err == nil && o.Member != member {
		return Order{}, fmt.Errorf("reading an order: %w", ErrUnknown)
	}
	return o, err
}

// OrdersOf are a member's orders, the newest first, before an ID; empty: from the
// newest on.
func (s *Store) OrdersOf(ctx context.Context, member, before string, limit int) (list []Order, err error) {
	q := s.rd.NewSelect().Model(&list).Where("member = ?", member)
	return list, orders(ctx, q, before, limit)
}

// OrdersIn are a shop's orders in a state, or in all, the newest first.
func (s *Store) OrdersIn(ctx context.Context, shop string, state order.State, before string, limit int) (list []Order, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		q := db.NewSelect().Model(&list).Where("shop = ?", shop)
		if state != "" {
			q.Where("state = ?", state)
		}
		return orders(ctx, q, before, limit)
	})
	return list, err
}

// OrdersFrom are a member's orders from one shop, the newest first.
func (s *Store) OrdersFrom(ctx context.Context, shop, member string, limit int) (list []Order, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return orders(ctx, db.NewSelect().Model(&list).Where("shop = ? AND member = ?", shop, member), "", limit)
	})
	return list, err
}

// Offers are what waits for a member's answer in a talk, the newest first.
func (s *Store) Offers(ctx context.Context, member, inquiry string, limit int) (list []Order, err error) {
	q := s.rd.NewSelect().Model(&list).Where("member = ? AND inquiry = ? AND state = ?", member, inquiry, order.Offered)
	return list, orders(ctx, q, "", limit)
}

func orders(ctx context.Context, q *bun.SelectQuery, before string, limit int) error {
	if before != "" {
		q.Where("id < ?", before)
	}
	if err := q.Order("id DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return fmt.Errorf("listing orders: %w", err)
	}
	return nil
}

// Lines are the goods of an order.
func (s *Store) Lines(ctx context.Context, o Order) (list []OrderLine, err error) {
	err = s.readOfShop(ctx, o.Shop, func(db bun.IDB) (err error) {
		list, err = linesOf(ctx, db, o.Shop, o.ID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading an order: %w", err)
	}
	return list, nil
}

func linesOf(ctx context.Context, db bun.IDB, shop, id string) (list []OrderLine, err error) {
	err = db.NewSelect().Model(&list).Where("shop = ? AND ordered = ?", shop, id).Order("place").Scan(ctx)
	return list, err
}

// Steps are those that an order has taken.
func (s *Store) Steps(ctx context.Context, o Order) (list []OrderEvent, err error) {
	err = s.readOfShop(ctx, o.Shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&list).Where("shop = ? AND ordered = ?", o.Shop, o.ID).Order("n").Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading an order: %w", err)
	}
	return list, nil
}
