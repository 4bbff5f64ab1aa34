// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/chmail/chmail/mall/order"
)

// Inquiry is what a member asked a shop, by mail or by "Chat now".
type Inquiry struct {
	bun.BaseModel `bun:"table:inquiries"`

	Shop     string `bun:",pk"`
	ID       string `bun:",pk"`
	Member   string // empty: a stranger, from the page of a shop elsewhere
	Goods    string
	Ordered  string // the order that it is about
	Room     string
	Mail     string // Message-ID; empty: a chat without a mail
	Subject  string
	Created  int64
	Rung     int64
	Answered int64 // first answer by words
	Public   bool
	Question string
	Answer   string
	Campaign string // whose mail led to it
}

// AddInquiry stores an inquiry and returns it with its ID.
func (s *Store) AddInquiry(ctx context.Context, i Inquiry) (Inquiry, error) {
	i.ID, i.Created = NewID(), Micros(time.Now())
	if _, err := s.db.NewInsert().Model(&i).Exec(ctx); err != nil {
		return Inquiry{}, fmt.Errorf("storing an inquiry: %w", err)
	}
	return i, nil
}

// InquiryIn finds the newest inquiry of a room. ErrUnknown: the room is none of the
// mall's.
func (s *Store) InquiryIn(ctx context.Context, room string) (i Inquiry, err error) {
	err = s.rd.NewSelect().Model(&i).Where("room = ? AND room <> ''", room).Order("id DESC").Limit(1).Scan(ctx)
	if err != nil {
		return Inquiry{}, fmt.Errorf("reading an inquiry: %w", known(err))
	}
	return i, nil
}

// InquiryAbout finds the newest inquiry of a member at a shop about the same goods and
// order. ErrUnknown: there is none.
func (s *Store) InquiryAbout(ctx context.Context, about Inquiry) (i Inquiry, err error) {
	err = s.rd.NewSelect().Model(&i).Where("member = ? AND member <> ''", about.Member).
		Where("shop = ? AND goods = ? AND ordered = ?", about.Shop, about.Goods, about.Ordered).
		Order("id DESC").Limit(1).Scan(ctx)
	if err != nil {
		return Inquiry{}, fmt.Errorf("reading an inquiry: %w", known(err))
	}
	return i, nil
}

// Inquiry finds one of a shop. ErrUnknown.
func (s *Store) Inquiry(ctx context.Context, shop, id string) (i Inquiry, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&i).Where("shop = ? AND id = ?", shop, id).Scan(ctx)
	})
	if err != nil {
		return Inquiry{}, fmt.Errorf("reading an inquiry: %w", known(err))
	}
	return i, nil
}

// InquiriesOf are a member's, the newest first, before an ID; empty: from the newest on.
func (s *Store) InquiriesOf(ctx context.Context, member, before string, limit int) (list []Inquiry, err error) {
	err = inquiries(ctx, s.rd.NewSelect().Model(&list).Where("member = ?", member), before, limit)
	return list, err
}

// InquiriesIn are a shop's, the newest first.
func (s *Store) InquiriesIn(ctx context.Context, shop, before string, limit int) (list []Inquiry, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return inquiries(ctx, db.NewSelect().Model(&list).Where("shop = ?", shop), before, limit)
	})
	return list, err
}

// UnansweredIn are those of a shop that wait for an answer, the newest first.
func (s *Store) UnansweredIn(ctx context.Context, shop, before string, limit int) (list []Inquiry, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return inquiries(ctx, db.NewSelect().Model(&list).Where("shop = ? AND answered = 0", shop), before, limit)
	})
	return list, err
}

func inquiries(ctx context.Context, q *bun.SelectQuery, before string, limit int) error {
	if before != "" {
		q.Where("id < ?", before)
	}
	if err := q.Order("id DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return fmt.Errorf("listing inquiries: %w", err)
	}
	return nil
}

// Waiting counts what waits for a shop.
type Waiting struct {
	Unanswered int // inquiries
	Accepted   int // orders that are not paid
	Paid       int // orders that are not sent
}

// WaitingAt counts it.
func (s *Store) WaitingAt(ctx context.Context, shop string) (w Waiting, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().
			ColumnExpr("(SELECT COUNT(*) FROM inquiries WHERE shop = ? AND answered = 0) AS unanswered", shop).
			ColumnExpr("(SELECT COUNT(*) FROM orders WHERE shop = ? AND state = ?) AS accepted", shop, order.Accepted).
			ColumnExpr("(SELECT COUNT(*) FROM orders WHERE shop = ? AND state = ?) AS paid", shop,
				order.Paid).Scan(ctx, &w)
	})
	if err != nil {
		return Waiting{}, fmt.Errorf("counting what waits for a shop: %w", err)
	}
	return w, nil
}

// Rung notes that the shop was rung for an inquiry, and Answered that it answered by
// words, each for the first time: otherwise it reports false.
func (s *Store) Rung(ctx context.Context, i Inquiry, at time.Time) (first bool, err error) {
	return s.noted(ctx, i, "rung", at)
}

// Answered notes that the shop answered an inquiry; see Rung.
func (s *Store) Answered(ctx context.Context, i Inquiry, at time.Time) (first bool, err error) {
	return s.noted(ctx, i, "answered", at)
}

func (s *Store) noted(ctx context.Context, i Inquiry, column string, at time.Time) (bool, error) {
	res, err := s.db.NewUpdate().Table("inquiries").Set("? = ?", bun.Ident(column), Micros(at)).
		Where("shop = ? AND id = ? AND ? = 0", i.Shop, i.ID, bun.Ident(column)).Exec(ctx)
	switch err := changed(res, err, ErrState); {
	case errors.Is(err, ErrState):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("noting what became of an inquiry: %w", err)
	}
	return true, nil
}

// Topic is goods as a talk about them names them.
type Topic struct{ Shop, Goods, Title string }

// TopicOf reads what a talk about goods on show is about. ErrUnknown.
func (s *Store) TopicOf(ctx context.Context, goods string) (t Topic, err error) {
	err = s.rd.NewSelect().TableExpr("goods").ColumnExpr("shop, id AS goods, title").
		Where("id = ? AND state = 'shown'", goods).Scan(ctx, &t)
	if err != nil {
		return Topic{}, fmt.Errorf("reading goods: %w", known(err))
	}
	return t, nil
}

// TopicBySKU is TopicOf by a shop's own name of its goods.
func (s *Store) TopicBySKU(ctx context.Context, shop, sku string) (t Topic, err error) {
	err = s.rd.NewSelect().TableExpr("goods").ColumnExpr("shop, id AS goods, title").
		Where("shop = ? AND sku = ? AND state = 'shown'", shop, sku).Scan(ctx, &t)
	if err != nil {
		return Topic{}, fmt.Errorf("reading goods: %w", known(err))
	}
	return t, nil
}
