// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// States of an advertisement.
const (
	AdvertDraft   = "draft"
	AdvertReview  = "review" // the operator has not looked at it yet
	AdvertShown   = "shown"
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

// maxLive is how many advertisements are shown at a time.
const maxLive = 5000

// Company advertises in the mall.
type Company struct {
	bun.BaseModel `bun:"table:companies"`

	ID      string `bun:",pk"`
	Name    string
	Login   string // who sees its figures
	Created int64
}

// Advert is a company's advertisement.
type Advert struct {
	bun.BaseModel `bun:"table:adverts"`

	Company    string `bun:",pk"`
	ID         string `bun:",pk"`
	Title      string
	Text       string
	Picture    string // hash
	Target     string
	Shop       string
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
	Why        string
	Created    int64
}

// AdvertDay counts what happened to an advertisement at a place on a day in UTC.
type AdvertDay struct {
	bun.BaseModel `bun:"table:advert_days"`

	Advert  string `bun:",pk"`
	Day     string `bun:",pk"`
	Place   string `bun:",pk"`
	Views   int64
	Presses int64
	Talks   int64
	Spent   int64
}

// AddCompany stores a new company.
func (s *Store) AddCompany(ctx context.Context, c Company) (Company, error) {
	c.ID, c.Created = NewID(), Micros(time.Now())
	if _, err := s.db.NewInsert().Model(&c).Exec(ctx); err != nil {
		return Company{}, fmt.Errorf("adding a company: %w", err)
	}
	return c, nil
}

// CompaniesOf returns the companies whose figures a login sees.
func (s *Store) CompaniesOf(ctx context.Context, login string) (all []Company, err error) {
	if err = s.rd.NewSelect().Model(&all).Where("login = ?", login).Order("id").Limit(100).Scan(ctx); err != nil {
		return nil, fmt.Errorf("reading a login's companies: %w", err)
	}
	return all, nil
}

// SaveAdvert stores a company's advertisement as it was changed: a new one if it has
// no ID. It is not shown before the operator has looked at it again.
func (s *Store) SaveAdvert(ctx context.Context, a Advert) (Advert, error) {
	a.State, a.Why = AdvertReview, ""
	if a.ID == "" {
		a.ID, a.Created, a.Spent = NewID(), Micros(time.Now()), 0
		if _, err := s.db.NewInsert().Model(&a).Exec(ctx); err != nil {
			return Advert{}, fmt.Errorf("adding an advertisement: %w", err)
		}
		return a, nil
	}
	res, err := s.db.NewUpdate().Model(&a).WherePK().Where("spent <= ?", a.Budget).
		ExcludeColumn("spent", "created", "shop", "price").Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return Advert{}, fmt.Errorf("changing an advertisement: %w", err)
	}
	return a, nil
}

// Advert returns an advertisement of a company. ErrUnknown.
func (s *Store) Advert(ctx context.Context, company, id string) (a Advert, err error) {
	if err := s.rd.NewSelect().Model(&a).Where("company = ? AND id = ?", company, id).Scan(ctx); err != nil {
		return Advert{}, fmt.Errorf("reading an advertisement: %w", known(err))
	}
	return a, nil
}

// AdvertsOf returns a company's advertisements, the newest first.
func (s *Store) AdvertsOf(ctx context.Context, company string) (all []Advert, err error) {
	err = s.rd.NewSelect().Model(&all).Where("company = ?", company).Order("id DESC").Limit(200).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing advertisements: %w", err)
	}
	return all, nil
}

// AdvertsToReview returns those that wait for the operator, the oldest first.
func (s *Store) AdvertsToReview(ctx context.Context, limit int) (all []Advert, err error) {
	err = s.rd.NewSelect().Model(&all).Where("state = ?", AdvertReview).Order("id").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing advertisements to review: %w", err)
	}
	return all, nil
}

// ReviewAdvert stores the operator's decision. ErrState: it does not wait for one.
func (s *Store) ReviewAdvert(ctx context.Context, company, id string, shown bool, why string) error {
	state := AdvertRefused
	if shown {
		state, why = AdvertShown, ""
	}
	res, err := s.db.NewUpdate().Table("adverts").Set("state = ?, why = ?", state, why).
		Where("company = ? AND id = ? AND state = ?", company, id, AdvertReview).Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return fmt.Errorf("reviewing an advertisement: %w", err)
	}
	return nil
}

// EndAdvert takes an advertisement away for good.
func (s *Store) EndAdvert(ctx context.Context, company, id string) error {
	res, err := s.db.NewUpdate().Table("adverts").Set("state = ?", AdvertEnded).
		Where("company = ? AND id = ? AND state <> ?", company, id, AdvertEnded).Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return fmt.Errorf("ending an advertisement: %w", err)
	}
	return nil
}

// LiveAdverts returns those that may be shown from now on, with their views of a day.
func (s *Store) LiveAdverts(ctx context.Context, now time.Time) (all []Advert, views map[string]int64, err error) {
	err = s.rd.NewSelect().Model(&all).Where("state = ? AND ends > ? AND spent + price <= budget", AdvertShown, Micros(now)).
		Order("id").Limit(maxLive).Scan(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the advertisements that are shown: %w", err)
	}
	var rows []struct {
		Advert string
		N      int64
	}
	err = s.rd.NewRaw("SELECT d.advert, SUM(d.views) AS n FROM advert_days d JOIN adverts a ON a.id = d.advert"+
		" WHERE a.state = ? AND a.ends > ? AND d.day = ? GROUP BY d.advert", AdvertShown, Micros(now), DayOf(now)).Scan(ctx, &rows)
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

// AddAdvertDays adds counts to what is stored.
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
	_, err := tx.NewRaw("INSERT INTO advert_days (advert, day, place, views, presses, talks, spent)"+
		" SELECT id, ?, ?, ?, ?, ?, ? FROM adverts WHERE id = ?"+ // it may be gone
		" ON CONFLICT (advert, day, place) DO UPDATE SET views = advert_days.views + excluded.views,"+
		" presses = advert_days.presses + excluded.presses, talks = advert_days.talks + excluded.talks,"+
		" spent = advert_days.spent + excluded.spent", d.Day, d.Place, d.Views, d.Presses, d.Talks, d.Spent, d.Advert).Exec(ctx)
	return err
}

// ChargeAdvert charges an advertisement for a talk that it led to, once a room, and
// never above its budget. charged is what it cost; 0: it was charged before, or the
// budget is used up.
func (s *Store) ChargeAdvert(ctx context.Context, advert, place, room string, now time.Time) (charged int64, err error) {
	err = s.tx(ctx, func(tx bun.Tx) error {
		charged = 0
		var a Advert
		if err := tx.NewSelect().Model(&a).Where("id = ?", advert).Scan(ctx); err != nil {
			return known(err)
		}
		res, err := tx.NewRaw("INSERT INTO advert_talks (room, advert, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
			room, advert, Micros(now)).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		res, err = tx.NewRaw("UPDATE adverts SET spent = spent + price WHERE id = ? AND spent + price <= budget", advert).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n > 0 {
			charged = a.Price
		}
		return addDay(ctx, tx, AdvertDay{Advert: advert, Day: DayOf(now), Place: place, Talks: 1, Spent: charged})
	})
	if err != nil {
		return 0, fmt.Errorf("charging an advertisement: %w", err)
	}
	return charged, nil
}

// AdvertDays returns the counts of an advertisement of a company from a day on.
func (s *Store) AdvertDays(ctx context.Context, company, id string, from time.Time) (all []AdvertDay, err error) {
	err = s.rd.NewRaw("SELECT d.* FROM advert_days d JOIN adverts a ON a.id = d.advert"+
		" WHERE a.company = ? AND a.id = ? AND d.day >= ? ORDER BY d.day, d.place LIMIT 2000", company, id, DayOf(from)).
		Scan(ctx, &all)
	if err != nil {
		return nil, fmt.Errorf("reading an advertisement's counts: %w", err)
	}
	return all, nil
}
