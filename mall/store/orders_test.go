// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/mall/order"
)

const kim = "kim" // a member's id

// stocked makes a shop with one variant of one thing for each of the stocks.
func stocked(t *testing.T, s *Store, slug string, stocks ...int64) (shop Shop, goods []string) {
	t.Helper()
	ctx := t.Context()
	shop, err := s.AddShop(ctx, Shop{Slug: slug, Name: slug, Addr: slug + "@mall.example", State: ShopOpen,
		Lang: "en", Currency: "KRW"}, "host@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	for i, stock := range stocks {
		id := NewID()
		for query, args := range map[string][]any{
			"INSERT INTO goods (shop, id, sku, title, state, price, created, changed) VALUES (?, ?, ?, ?, 'shown', 1000, 1, 1)": {
				shop.ID, id, fmt.Sprint(i), fmt.Sprintf("Lamp %d", i)},
		} {
			if _, err := s.db.ExecContext(ctx, query, args...); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.db.ExecContext(ctx, "INSERT INTO variants (shop, goods, id, name, price, stock) VALUES (?, ?, 'v', 'red', 1000, ?)",
			shop.ID, id, stock)
		if err != nil {
			t.Fatal(err)
		}
		goods = append(goods, id)
	}
	return shop, goods
}

func (s *Store) stockOf(t *testing.T, goods string) (n int64) {
	t.Helper()
	if err := s.rd.NewSelect().Table("variants").Column("stock").Where("goods = ?", goods).Scan(t.Context(),
		&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *Store) addMember(t *testing.T, id string) {
	t.Helper()
	_, err := s.db.ExecContext(t.Context(), "INSERT INTO members (id, login, addr_hash, sealed, state, created)"+
		" VALUES (?, ?, ?, '', 'active', 1)", id, id+"@mall.example", id)
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Store) inBasket(t *testing.T, member, shop, goods string, quantity int64) {
	t.Helper()
	_, err := s.db.ExecContext(t.Context(), "INSERT INTO basket (member, shop, goods, variant, quantity, created)"+
		" VALUES (?, ?, ?, 'v', ?, 1)", member, shop, goods, quantity)
	if err != nil {
		t.Fatal(err)
	}
}

func sealed(id string) (string, error) { return "sealed " + id, nil }

// TestFiftyBuyers: fifty members order at once what is there for twenty of them, half
// of them with a second thing that others have before it in their baskets. Twenty get
// it, nobody gets half an order, and the stock is never less than nothing.
func TestFiftyBuyers(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		const buyers, there = 50, 20
		lamps, goods := stocked(t, s, "lamps", there, 1000)
		chairs, more := stocked(t, s, "chairs", 1000)
		var all sync.WaitGroup
		var got, none atomic.Int64
		for i := range buyers {
			id := fmt.Sprint("m", i)
			s.addMember(t, id)
			s.inBasket(t, id, lamps.ID, goods[0], 1)
			s.inBasket(t, id, lamps.ID, goods[1], 2)
			expect := map[string]int64{lamps.ID: 3000}
			if i%2 == 0 {
				s.inBasket(t, id, chairs.ID, more[0], 1)
				expect[chairs.ID] = 1000
			}
			all.Go(func() {
				orders, err := s.OrderBasket(context.Background(), id, id, expect, sealed)
				switch {
				case err == nil && len(orders) == len(expect):
					got.Add(1)
				case errors.Is(err, ErrStock) && orders == nil:
					none.Add(1)
				default:
					t.Errorf("buyer %d: %d orders, %v", i, len(orders), err)
				}
			})
		}
		all.Wait()
		if got.Load() != there || none.Load() != buyers-there {
			t.Errorf("%d bought, %d did not", got.Load(), none.Load())
		}
		if s.stockOf(t, goods[0]) != 0 || s.stockOf(t, goods[1]) != 1000-2*there {
			t.Errorf("the stock is %d and %d", s.stockOf(t, goods[0]), s.stockOf(t, goods[1]))
		}
		list, err := s.OrdersIn(t.Context(), lamps.ID, order.Accepted, "", 100)
		if err != nil || len(list) != there {
			t.Errorf("%d orders, %v", len(list), err)
		}
		var left int64
		if left, err = s.rd.NewSelect().Table("basket").Where("shop = ?", lamps.ID).Count(t.Context()); err != nil ||
			left != 2*(buyers-there) {
			t.Errorf("%d lines are left in baskets, %v", left, err)
		}
	})
}

// TestBasketSplit: a basket becomes an order a shop with what it cost when the member
// saw it; a price that has changed meanwhile stops it.
func TestBasketSplit(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		lamps, lamp := stocked(t, s, "lamps", 5)
		chairs, chair := stocked(t, s, "chairs", 5)
		s.addMember(t, kim)
		s.inBasket(t, kim, lamps.ID, lamp[0], 2)
		s.inBasket(t, kim, chairs.ID, chair[0], 1)
		if _, err := s.OrderBasket(ctx, kim, kim, map[string]int64{lamps.ID: 2000}, sealed); !errors.Is(err, ErrPrice) {
			t.Errorf("an unexpected sum: %v", err)
		}
		if s.stockOf(t, lamp[0]) != 5 {
			t.Error("goods are aside though nothing was ordered")
		}
		orders, err := s.OrderBasket(ctx, kim, kim, map[string]int64{lamps.ID: 2000, chairs.ID: 1000}, sealed)
		if err != nil || len(orders) != 2 || orders[0].Basket != orders[1].Basket ||
			orders[0].Number == orders[1].Number {
			t.Fatalf("%+v, %v", orders, err)
		}
		for _, o := range orders {
			lines, err := s.Lines(ctx, o)
			if err != nil || len(lines) != 1 || lines[0].Price*lines[0].Quantity != o.Total ||
				lines[0].Title != "Lamp 0 (red)" || o.Deliver != "sealed "+o.ID || o.Currency != "KRW" {
				t.Errorf("%+v has %+v, %v", o, lines, err)
			}
		}
		if _, err := s.OrderBasket(ctx, kim, kim, nil, sealed); !errors.Is(err, ErrLines) {
			t.Errorf("an empty basket: %v", err)
		}
		if list, err := s.OrdersOf(ctx, kim, orders[1].ID, 10); err != nil || len(list) != 1 ||
			list[0].ID != orders[0].ID {
			t.Errorf("before the newest: %+v, %v", list, err)
		}
		if _, err := s.OrderOf(ctx, "lee", orders[0].Number); !errors.Is(err, ErrUnknown) {
			t.Errorf("another member's order: %v", err)
		}
		if _, err := s.OrderIn(ctx, chairs.ID, numberOf(orders, lamps.ID)); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop's order: %v", err)
		}
	})
}

func numberOf(orders []Order, shop string) string {
	for _, o := range orders {
		if o.Shop == shop {
			return o.Number
		}
	}
	return ""
}

// TestOffer: an offer takes its goods out of the stock when it is accepted, once, and a
// cancelled order puts them back.
func TestOffer(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, goods := stocked(t, s, "lamps", 3)
		lines := func(n int64) []OrderLine {
			return []OrderLine{{Goods: goods[0], Variant: "v", Quantity: n, Price: 800}}
		}
		for name, wrong := range map[string][]OrderLine{"none": nil, "too many": lines(MaxQuantity + 1),
			"unknown goods": {{Goods: "x", Variant: "v", Quantity: 1}}, "nothing of it": lines(0)} {
			if _, err := s.Offer(ctx, Order{Shop: shop.ID, Member: kim}, wrong, "host", ""); !errors.Is(err, ErrLines) {
				t.Errorf("%s: %v", name, err)
			}
		}
		o, err := s.Offer(ctx, Order{Shop: shop.ID, Member: kim, Inquiry: "i"}, lines(2), "host", "for you")
		if err != nil || o.State != order.Offered || o.Total != 1600 || s.stockOf(t, goods[0]) != 3 {
			t.Fatalf("%+v, %v", o, err)
		}
		other, err := s.Offer(ctx, Order{Shop: shop.ID, Member: "lee"}, lines(2), "host", "")
		if err != nil {
			t.Fatal(err)
		}
		if list, err := s.Offers(ctx, kim, "i", 10); err != nil || len(list) != 1 {
			t.Errorf("offers in the talk: %+v, %v", list, err)
		}
		accept := Step{Act: order.Accept, By: order.Member, Actor: kim, Deliver: sealed}
		var all sync.WaitGroup
		var accepted atomic.Int64
		for range 10 {
			all.Go(func() {
				if _, err := s.Move(context.Background(), shop.ID, o.ID, accept); err == nil {
					accepted.Add(1)
				} else if !errors.Is(err, order.ErrStep) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if accepted.Load() != 1 || s.stockOf(t, goods[0]) != 1 {
			t.Errorf("accepted %d times, %d in stock", accepted.Load(), s.stockOf(t, goods[0]))
		}
		if _, err := s.Move(ctx, shop.ID, other.ID, accept); !errors.Is(err, ErrStock) {
			t.Errorf("more than there is: %v", err)
		}
		if now, err := s.OrderOf(ctx, "lee", other.Number); err != nil || now.State != order.Offered {
			t.Errorf("the offer is %s, %v", now.State, err)
		}
		if _, err := s.Move(ctx, shop.ID, o.ID, Step{Act: order.Cancel, By: order.Member, Actor: kim}); err != nil {
			t.Fatal(err)
		}
		if s.stockOf(t, goods[0]) != 3 {
			t.Errorf("%d are in stock after the order was cancelled", s.stockOf(t, goods[0]))
		}
		steps, err := s.Steps(ctx, o)
		if err != nil || len(steps) != 3 || steps[2].State != order.Cancelled || steps[0].Note != "for you" {
			t.Errorf("steps %+v, %v", steps, err)
		}
	})
}

// TestPayOnce: the same notice many times at once pays once; another sum, and a notice
// after the order was cancelled, are kept and change nothing.
func TestPayOnce(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, goods := stocked(t, s, "lamps", 10)
		s.addMember(t, kim)
		bought := func() Order {
			s.inBasket(t, kim, shop.ID, goods[0], 1)
			orders, err := s.OrderBasket(ctx, kim, kim, map[string]int64{shop.ID: 1000}, sealed)
			if err != nil {
				t.Fatal(err)
			}
			return orders[0]
		}
		o := bought()
		var all sync.WaitGroup
		var paid atomic.Int64
		for range 10 {
			all.Go(func() {
				_, now, err := s.Pay(context.Background(), Payment{Shop: shop.ID, Provider: "bank", Notice: "1",
					Ordered: o.ID, Amount: 1000})
				if err != nil {
					t.Error(err)
				} else if now {
					paid.Add(1)
				}
			})
		}
		all.Wait()
		if now, err := s.OrderByNumber(ctx, o.Number); err != nil || now.State != order.Paid || paid.Load() != 1 {
			t.Errorf("paid %d times, the order is %s, %v", paid.Load(), now.State, err)
		}
		second := bought()
		if _, now, err := s.Pay(ctx, Payment{Shop: shop.ID, Provider: "bank", Notice: "2", Ordered: second.ID,
			Amount: 999}); err != nil || now {
			t.Errorf("another sum: %v, %v", now, err)
		}
		if _, err := s.Move(ctx, shop.ID, second.ID, Step{Act: order.Cancel, By: order.Shop}); err != nil {
			t.Fatal(err)
		}
		if got, now, err := s.Pay(ctx, Payment{Shop: shop.ID, Provider: "bank", Notice: "3", Ordered: second.ID,
			Amount: 1000}); err != nil || now || got.State != order.Cancelled {
			t.Errorf("after it was cancelled: %+v, %v, %v", got, now, err)
		}
		if _, _, err := s.Pay(ctx, Payment{Shop: shop.ID, Ordered: "x"}); !errors.Is(err, ErrUnknown) {
			t.Errorf("an unknown order: %v", err)
		}
	})
}

func TestInquiries(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, goods := stocked(t, s, "lamps", 1)
		first, err := s.AddInquiry(ctx, Inquiry{Shop: shop.ID, Member: kim, Goods: goods[0], Subject: "A lamp",
			Room: "R"})
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.AddInquiry(ctx, Inquiry{Shop: shop.ID, Member: kim, Goods: goods[0], Subject: "A lamp",
			Room: "R"})
		if err != nil {
			t.Fatal(err)
		}
		if i, err := s.InquiryIn(ctx, "R"); err != nil || i.ID != second.ID {
			t.Errorf("in the room: %+v, %v", i, err)
		}
		if i, err := s.InquiryAbout(ctx, Inquiry{Shop: shop.ID, Member: kim, Goods: goods[0]}); err != nil ||
			i.ID != second.ID {
			t.Errorf("about the goods: %+v, %v", i, err)
		}
		for _, about := range []Inquiry{{Shop: shop.ID, Member: "lee", Goods: goods[0]}, {Shop: shop.ID, Goods: goods[0]},
			{Shop: shop.ID, Member: kim}} {
			if _, err := s.InquiryAbout(ctx, about); !errors.Is(err, ErrUnknown) {
				t.Errorf("%+v: %v", about, err)
			}
		}
		for range 2 {
			at := time.Now()
			rung, err := s.Rung(ctx, first, at)
			answered, failed := s.Answered(ctx, first, at)
			if i, bad := s.Inquiry(ctx, shop.ID, first.ID); bad != nil || i.Rung == 0 || i.Answered == 0 ||
				rung != answered || rung != (i.Rung == Micros(at)) || err != nil || failed != nil {
				t.Errorf("%+v: rung %v, answered %v, %v, %v", i, rung, answered, err, failed)
			}
		}
		if list, err := s.InquiriesIn(ctx, shop.ID, second.ID, 10); err != nil || len(list) != 1 ||
			list[0].ID != first.ID {
			t.Errorf("before the second: %+v, %v", list, err)
		}
		if _, err := s.Inquiry(ctx, "other", first.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("of another shop: %v", err)
		}
	})
}
