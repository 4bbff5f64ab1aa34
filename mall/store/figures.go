// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/uptrace/bun"
)

// MaxFigureDays is how far back figures go.
const MaxFigureDays = 92

// Day are a shop's figures of one day.
type Day struct {
	Date     time.Time // its midnight, in the zone asked for
	Asked    int       // inquiries
	Answered int       // of those, by words
	Rung     int       // of those, "Chat now" rang
	Missed   int       // of those rung, not answered
	Orders   int       // of those, became orders
}

// Figures are a shop's, by day and in all.
type Figures struct {
	Days  []Day // oldest first, without gaps
	Sum   Day
	First time.Duration // median time from asking to the first answer; 0: none
}

// idAt is the least id that was made at a time.
func idAt(t time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(t)) // it fails only after the year 10889
	return id.String()
}

// ShopFigures counts what was asked in the last days, which are days of a zone, and
// what became of it.
func (s *Store) ShopFigures(ctx context.Context, shop string, now time.Time, zone *time.Location, days int) (Figures, error) {
	days = min(max(days, 1), MaxFigureDays)
	now = now.In(zone)
	var f Figures
	index := make(map[string]int, days)
	for d := days - 1; d >= 0; d-- {
		date := time.Date(now.Year(), now.Month(), now.Day()-d, 0, 0, 0, 0, zone)
		index[date.Format(time.DateOnly)] = len(f.Days)
		f.Days = append(f.Days, Day{Date: date})
	}
	var waits []int64
	count := func(day *Day, rung, answered bool, ordered bool) {
		day.Asked++
		if answered {
			day.Answered++
		}
		if rung {
			day.Rung++
			if !answered {
				day.Missed++
			}
		}
		if ordered {
			day.Orders++
		}
	}
	err := s.readOfShop(ctx, shop, func(db bun.IDB) error {
		rows, err := db.NewSelect().TableExpr("inquiries AS i").ColumnExpr("created, rung, answered").
			ColumnExpr("EXISTS (SELECT 1 FROM orders o WHERE o.shop = i.shop AND o.inquiry = i.id"+
				" AND o.state NOT IN ('offered', 'cancelled')) AS ordered").
			Where("i.shop = ? AND i.id >= ?", shop, idAt(f.Days[0].Date)).Rows(ctx)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var created, rung, answered int64
			var ordered bool
			if err := rows.Scan(&created, &rung, &answered, &ordered); err != nil {
				return err
			}
			i, ok := index[Time(created).In(zone).Format(time.DateOnly)]
			if !ok {
				continue
			}
			count(&f.Days[i], rung > 0, answered > 0, ordered)
			count(&f.Sum, rung > 0, answered > 0, ordered)
			if answered > 0 {
				waits = append(waits, answered-created)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return Figures{}, fmt.Errorf("reading a shop's figures: %w", err)
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		f.First = time.Duration(waits[len(waits)/2]) * time.Microsecond
	}
	return f, nil
}
