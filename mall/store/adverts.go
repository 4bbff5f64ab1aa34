// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// States of an advertisement.
const (
	AdvertDraft   = "draft"
	AdvertReview  = "review" // the operator has not looked at it yet
	AdvertShown   = "shown"
	AdvertPaused  = "paused" // by its shop
	AdvertRefused = "refused"
	AdvertEnded   = "ended"
)

// Places of the mall's pages where an advertisement may stand.
const (
	PlaceFront  = "front"
	PlaceList   = "list"
	PlaceGoods  = "goods"
	PlaceSearch = "search"
)

// Places in the order that a page lists them.
var Places = []string{PlaceFront, PlaceList, PlaceGoods, PlaceSearch}

// Bounds of advertisements.
const (
	MaxAdverts     = 200 // of a shop
	MaxAdvertTitle = 80  // characters
	MaxAdvertText  = 300
	MaxWeight      = 100
	maxAddress     = 500
	maxLive        = 5000 // that are shown at a time
)

const (
	// callLife is for how long after "Chat now" an answered call counts as its own.
	callLife = time.Hour
	// firstLook is how long after "Chat now" a talk that was not charged is looked at again.
	firstLook = time.Minute
)

// AdvertDaysKept is how long what happened to an advertisement is kept by day.
const AdvertDaysKept = 2 * 365 * 24 * time.Hour

// Advert is an advertisement of a shop, which pays for it.
type Advert struct {
	bun.BaseModel `bun:"table:adverts"`

	Shop       string `bun:",pk"`
	ID         string `bun:",pk"`
	Title      string
	Text       string
	Picture    string // hash; empty: none
	Width      int
	Height     int
	Alt        string
	Target     string // /goods/ID or /shops/SLUG of the mall, or an https address
	Rings      string // the shop whose answered "Chat now" is charged
	Places     string // space-separated; empty: all
	Categories string // the same
	Starts     int64
	Ends       int64
	Weight     int64
	Budget     int64
	Spent      int64
	Price      int64 // of a talk that was rung and answered
	MaxViews   int64 // a day; 0: no limit
	State      string
	Why        string // it was refused
	Created    int64
}

// ShopAdvert is an advertisement with its shop, as others see it.
type ShopAdvert struct {
	Advert `bun:",extend"`

	ShopName string
	ShopSlug string
	Currency string
}

// AdvertDay counts what happened to an advertisement at a place on a day in UTC.
type AdvertDay struct {
	bun.BaseModel `bun:"table:advert_days"`

	Shop    string `bun:",pk"`
	Advert  string `bun:",pk"`
	Day     string `bun:",pk"`
	Place   string `bun:",pk"`
	Views   int64
	Presses int64
	Talks   int64
	Spent   int64
}

// Check returns the first field that cannot be stored, as Invalid.
func (a Advert) Check() error {
	switch {
	case a.Title == "":
		return Invalid{"title", "missing"}
	case utf8.RuneCountInString(a.Title) > MaxAdvertTitle:
		return Invalid{"title", "long"}
	case utf8.RuneCountInString(a.Text) > MaxAdvertText:
		return Invalid{"text", "long"}
	case utf8.RuneCountInString(a.Alt) > MaxAdvertText:
		return Invalid{"alt", "long"}
	case !goodTarget(a.Target):
		return Invalid{"target", "target"}
	case a.Ends <= a.Starts:
		return Invalid{"ends", "range"}
	case a.Price < 1:
		return Invalid{"price", "range"}
	case a.Budget < a.Price, a.Budget < a.Spent:
		return Invalid{"budget", "range"}
	case a.MaxViews < 0:
		return Invalid{"views", "range"}
	}
	return nil
}

// goodTarget says whether an advertisement may lead to an address.
func goodTarget(address string) bool {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxAddress || u.User != nil || strings.ContainsAny(address, "\\ \t\r\n") {
		return false
	}
	if u.Scheme == "https" {
		return u.Hostname() != ""
	}
	return u.Scheme == "" && u.Host == "" && u.RawQuery == "" && u.Fragment == "" &&
		(strings.HasPrefix(u.Path, "/goods/") || strings.HasPrefix(u.Path, "/shops/"))
}

// AddAdvert stores a draft of a shop. Invalid; ErrFull.
func (s *Store) AddAdvert(ctx context.Context, a Advert) (Advert, error) {
	a.ID, a.Created, a.Spent, a.State, a.Why = NewID(), Micros(time.Now()), 0, AdvertDraft, ""
	a.Weight = 1
	err := a.Check()
	if err == nil {
		err = s.OfShop(ctx, a.Shop, func(tx bun.Tx) error {
			have, err := tx.NewSelect().Model((*Advert)(nil)).Where("shop = ?", a.Shop).Count(ctx)
			if err == nil && have >= MaxAdverts {
				err = ErrFull
			}
			if err == nil {
				_, err = tx.NewInsert().Model(&a).Exec(ctx)
			}
			return err
		})
	}
	if err != nil {
		return Advert{}, fmt.Errorf("adding an advertisement: %w", err)
	}
	return a, nil
}

// ChangeAdvert changes an advertisement by edit. It is a draft then, which is not shown
// before the operator has looked at it again. Invalid; ErrUnknown; ErrState: it has ended.
func (s *Store) ChangeAdvert(ctx context.Context, shop, id string, edit func(a *Advert)) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		var a Advert
		if err := s.forUpdate(tx.NewSelect().Model(&a).Where("shop = ? AND id = ?", shop, id)).Scan(ctx); err != nil {
			return known(err)
		}
		if a.State == AdvertEnded {
			return ErrState
		}
		spent := a.Spent
		edit(&a)
		a.Shop, a.ID, a.Spent, a.State, a.Why = shop, id, spent, AdvertDraft, ""
		if err := a.Check(); err != nil {
			return err
		}
		_, err := tx.NewUpdate().Model(&a).WherePK().ExcludeColumn("spent", "weight", "created").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("changing an advertisement: %w", err)
	}
	return nil
}

// SetAdvert moves an advertisement of a shop into another state. ErrState: it is in none
// of those before.
func (s *Store) SetAdvert(ctx context.Context, shop, id, to string, from ...string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewUpdate().Table("adverts").Set("state = ?", to).
			Where("shop = ? AND id = ? AND state IN (?)", shop, id, bun.List(from)).Exec(ctx)
		return changed(res, err, ErrState)
	})
	if err != nil {
		return fmt.Errorf("setting an advertisement's state: %w", err)
	}
	return nil
}

// Seen is a hash of what whoever reviews an advertisement has seen of it.
func (a Advert) Seen() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q %q %q %q %d %d %d %d", a.Title, a.Text, a.Picture, a.Alt, a.Target, a.Rings,
		a.Places, a.Categories, a.Starts, a.Ends, a.Budget, a.Price)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// ApproveAdvert shows an advertisement that waits for it, with a weight beside others.
// ErrState: it does not wait, or has become another than the one that was seen.
func (s *Store) ApproveAdvert(ctx context.Context, id, seen string, weight int64) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		var a Advert
		if err := s.forUpdate(tx.NewSelect().Model(&a).Where("id = ?", id)).Scan(ctx); err != nil {
			return known(err)
		}
		if a.State != AdvertReview || a.Seen() != seen {
			return ErrState
		}
		_, err := tx.NewUpdate().Table("adverts").Set("state = ?, why = '', weight = ?", AdvertShown, weight).
			Where("id = ?", id).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("approving an advertisement: %w", err)
	}
	return nil
}

// RefuseAdvert refuses one that waits, or takes away one that is shown, and says why.
// ErrState.
func (s *Store) RefuseAdvert(ctx context.Context, id, why string) error {
	res, err := s.db.NewUpdate().Table("adverts").Set("state = ?, why = ?", AdvertRefused, why).
		Where("id = ? AND state IN (?)", id, bun.List([]string{AdvertReview, AdvertShown, AdvertPaused})).Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return fmt.Errorf("refusing an advertisement: %w", err)
	}
	return nil
}

// Advert is an advertisement of a shop. ErrUnknown.
func (s *Store) Advert(ctx context.Context, shop, id string) (a Advert, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&a).Where("shop = ? AND id = ?", shop, id).Scan(ctx)
	})
	if err != nil {
		return Advert{}, fmt.Errorf("reading an advertisement: %w", known(err))
	}
	return a, nil
}

// AnyAdvert is an advertisement of whatever shop, for the operator. ErrUnknown.
func (s *Store) AnyAdvert(ctx context.Context, id string) (a Advert, err error) {
	if err := s.rd.NewSelect().Model(&a).Where("id = ?", id).Scan(ctx); err != nil {
		return Advert{}, fmt.Errorf("reading an advertisement: %w", known(err))
	}
	return a, nil
}

// AdvertsOf are a shop's, the newest first, with what happened to each so far.
func (s *Store) AdvertsOf(ctx context.Context, shop string) (all []Advert, sums map[string]AdvertDay, err error) {
	var days []AdvertDay
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		err := db.NewSelect().Model(&all).Where("shop = ?", shop).Order("id DESC").Limit(MaxAdverts).Scan(ctx)
		if err != nil {
			return err
		}
		return db.NewSelect().Model(&days).Column("advert").
			ColumnExpr("SUM(views) AS views, SUM(presses) AS presses, SUM(talks) AS talks, SUM(spent) AS spent").
			Where("shop = ?", shop).Group("advert").Scan(ctx)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listing advertisements: %w", err)
	}
	sums = make(map[string]AdvertDay, len(days))
	for _, d := range days {
		sums[d.Advert] = d
	}
	return all, sums, nil
}

// withShops selects advertisements with their shops.
func (s *Store) withShops(list *[]ShopAdvert) *bun.SelectQuery {
	return s.rd.NewSelect().Model(list).ModelTableExpr("adverts AS a").
		ColumnExpr("a.*, s.name AS shop_name, s.slug AS shop_slug, s.currency AS currency").
		Join("JOIN shops AS s ON s.id = a.shop")
}

// AdvertsIn are those of all shops in a state, the newest first, before an id; empty:
// from the newest.
func (s *Store) AdvertsIn(ctx context.Context, state, before string, limit int) (list []ShopAdvert, err error) {
	q := s.withShops(&list).Where("a.state = ?", state).OrderExpr("a.id DESC").Limit(int64(limit))
	if before != "" {
		q.Where("a.id < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("listing advertisements: %w", err)
	}
	return list, nil
}

// LiveAdverts are those that may be shown from now on, with their views of today.
func (s *Store) LiveAdverts(ctx context.Context, now time.Time) (all []ShopAdvert, views map[string]int64, err error) {
	err = s.withShops(&all).Where("a.state = ? AND a.ends > ? AND a.spent + a.price <= a.budget AND s.state = ?",
		AdvertShown, Micros(now), ShopOpen).OrderExpr("a.id").Limit(maxLive).Scan(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the advertisements that are shown: %w", err)
	}
	var rows []struct {
		Advert string
		N      int64
	}
	err = s.rd.NewRaw("SELECT d.advert, SUM(d.views) AS n FROM advert_days d JOIN adverts a"+
		" ON a.shop = d.shop AND a.id = d.advert"+
		" WHERE a.state = ? AND a.ends > ? AND d.day = ? GROUP BY d.advert", AdvertShown, Micros(now),
		DayOf(now)).Scan(ctx, &rows)
	if err != nil {
		return nil, nil, fmt.Errorf("reading advertisements' views: %w", err)
	}
	views = make(map[string]int64, len(rows))
	for _, row := range rows {
		views[row.Advert] = row.N
	}
	return all, views, nil
}

// DayOf is the day of a time as advert_days has it.
func DayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// AddAdvertDays adds counts to what is stored. Their shop is not needed.
func (s *Store) AddAdvertDays(ctx context.Context, all []AdvertDay) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, d := range all {
			if err := addDay(ctx, tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing advertisements' counts: %w", err)
	}
	return nil
}

func addDay(ctx context.Context, tx bun.Tx, d AdvertDay) error {
	_, err := tx.NewRaw("INSERT INTO advert_days (shop, advert, day, place, views, presses, talks, spent)"+
		" SELECT shop, id, ?, ?, ?, ?, ?, ? FROM adverts WHERE id = ?"+ // it may be gone
		" ON CONFLICT (shop, advert, day, place) DO UPDATE SET views = advert_days.views + excluded.views,"+
		" presses = advert_days.presses + excluded.presses, talks = advert_days.talks + excluded.talks,"+
		" spent = advert_days.spent + excluded.spent", d.Day, d.Place, d.Views, d.Presses, d.Talks, d.Spent,
		d.Advert).Exec(ctx)
	return err
}

// CameFromAdvert notes that somebody who came from an advertisement has opened a
// conversation. Of several advertisements the last counts, until one was charged.
func (s *Store) CameFromAdvert(ctx context.Context, room, advert, place string, now time.Time) error {
	_, err := s.db.NewRaw("INSERT INTO advert_talks (room, shop, advert, place, came, look)"+
		" SELECT ?, shop, id, ?, ?, ? FROM adverts WHERE id = ?"+ // it may be gone
		" ON CONFLICT (room) DO UPDATE SET shop = excluded.shop, advert = excluded.advert, place = excluded.place,"+
		" came = excluded.came, look = excluded.look WHERE advert_talks.answered = 0",
		room, place, Micros(now), Micros(now.Add(firstLook)), advert).Exec(ctx)
	if err != nil {
		return fmt.Errorf("noting a talk from an advertisement: %w", err)
	}
	return nil
}

// AdvertTalk is a conversation that came from an advertisement and was not charged yet.
type AdvertTalk struct {
	Room   string
	Callee string // address of the shop whose answer is charged
	Came   int64
	Look   int64 // when to look whether it is to be charged
}

// OpenAdvertTalks are those that are to be looked at now, the longest waiting first.
func (s *Store) OpenAdvertTalks(ctx context.Context, now time.Time, limit int) (list []AdvertTalk, err error) {
	err = s.rd.NewRaw("SELECT t.room, s.addr AS callee, t.came, t.look FROM advert_talks t"+
		" JOIN adverts a ON a.shop = t.shop AND a.id = t.advert JOIN shops s ON s.id = a.rings"+
		" WHERE t.look > 0 AND t.look <= ? ORDER BY t.look LIMIT ?", Micros(now), limit).Scan(ctx, &list)
	if err != nil {
		return nil, fmt.Errorf("looking for talks that were not charged: %w", err)
	}
	return list, nil
}

// LookLater sets when a talk is looked at again: after as long as since it came, which
// doubles each time. No call of one that is older than callLife can be charged any more: a
// talk that was looked at after that is not looked at again.
func (s *Store) LookLater(ctx context.Context, t AdvertTalk, now time.Time, failed bool) error {
	look := Micros(now) + max(Micros(now)-t.Came, firstLook.Microseconds())
	if !failed && now.Sub(Time(t.Came)) > callLife {
		look = 0
	}
	_, err := s.db.NewRaw("UPDATE advert_talks SET look = ? WHERE room = ? AND look = ?", look, t.Room,
		t.Look).Exec(ctx)
	if err != nil {
		return fmt.Errorf("putting off a talk that was not charged: %w", err)
	}
	return nil
}

// ForgetAdvertDays removes what happened to advertisements before AdvertDaysKept, with the
// conversations that came from them. What was spent stays in the advertisement.
func (s *Store) ForgetAdvertDays(ctx context.Context, now time.Time) error {
	until := now.Add(-AdvertDaysKept)
	_, err := s.db.NewRaw("DELETE FROM advert_days WHERE day < ?", DayOf(until)).Exec(ctx)
	if err == nil {
		_, err = s.db.NewRaw("DELETE FROM advert_talks WHERE came < ?", Micros(until)).Exec(ctx)
	}
	if err != nil {
		return fmt.Errorf("forgetting what happened to advertisements: %w", err)
	}
	return nil
}

// ChargeAdvert charges the advertisement that a conversation came from because its call
// was answered at a time: once a conversation, and never above the budget. charged is what it
// cost: 0 if it came from none, was charged before, or if the budget is used up.
func (s *Store) ChargeAdvert(ctx context.Context, room string, at time.Time) (
	advert string, charged int64, err error,
) {
	// Most conversations come from no advertisement: they need no writer.
	var t struct {
		Advert, Place string
	}
	err = s.rd.NewRaw("SELECT advert, place FROM advert_talks WHERE room = ? AND answered = 0 AND came > ?",
		room, Micros(at.Add(-callLife))).Scan(ctx, &t)
	if errors.Is(known(err), ErrUnknown) {
		return "", 0, nil
	}
	if err == nil {
		err = s.tx(ctx, func(tx bun.Tx) error {
			charged = 0
			err := tx.NewRaw("UPDATE advert_talks SET answered = ?, look = 0 WHERE room = ? AND answered = 0"+
				" RETURNING advert, place", Micros(at), room).Scan(ctx, &t)
			if errors.Is(known(err), ErrUnknown) {
				return nil // charged meanwhile
			}
			if err != nil {
				return err
			}
			err = tx.NewRaw("UPDATE adverts SET spent = spent + price WHERE id = ? AND spent + price <= budget RETURNING price",
				t.Advert).Scan(ctx, &charged)
			if err != nil && !errors.Is(known(err), ErrUnknown) {
				return err
			}
			if _, err := tx.NewRaw("UPDATE advert_talks SET charged = ? WHERE room = ?", charged,
				room).Exec(ctx); err != nil {
				return err
			}
			return addDay(ctx, tx, AdvertDay{Advert: t.Advert, Day: DayOf(at), Place: t.Place, Talks: 1,
				Spent: charged})
		})
	}
	if err != nil {
		return "", 0, fmt.Errorf("charging an advertisement: %w", err)
	}
	return t.Advert, charged, nil
}

// AdvertDays are the counts of an advertisement of a shop from a day on, by day and place.
func (s *Store) AdvertDays(ctx context.Context, shop, id string, from time.Time) (all []AdvertDay, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&all).Where("shop = ? AND advert = ? AND day >= ?", shop, id, DayOf(from)).
			Order("day", "place").Limit(int64(MaxFigureDays * len(Places))).Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading an advertisement's counts: %w", err)
	}
	return all, nil
}
