// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// UseKept and MaxUses are how long, and how many of a member, uses are kept.
const (
	UseKept = 180 * 24 * time.Hour
	MaxUses = 1000
)

// What members do that is recorded of those who agreed.
const (
	UseGoods  = "goods"
	UseSearch = "search"
	UseShop   = "shop"
)

// Use is something that a member, who agreed to have it recorded, looked at.
type Use struct {
	bun.BaseModel `bun:"table:uses"`

	Member string `bun:",pk"`
	At     int64  `bun:",pk"`
	What   string `bun:",pk"` // UseGoods, UseSearch, UseShop
	About  string // the goods, what was searched for, the shop
}

// AddUses records uses of the members who agree to that now, and forgets the oldest of
// those who have too many.
func (s *Store) AddUses(ctx context.Context, list []Use) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, u := range list {
			_, err := tx.NewRaw("INSERT INTO uses (member, at, what, about) SELECT id, CAST(? AS BIGINT), ?, ? FROM members"+
				" WHERE id = ? AND state = 'active' AND record ON CONFLICT DO NOTHING", u.At, u.What, u.About,
				u.Member).Exec(ctx)
			if err == nil {
				_, err = tx.NewRaw("DELETE FROM uses WHERE member = ?0 AND at < (SELECT at FROM uses WHERE member = ?0"+
					" ORDER BY at DESC LIMIT 1 OFFSET ?1)", u.Member, MaxUses-1).Exec(ctx)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording what members look at: %w", err)
	}
	return nil
}

// Uses are the newest of a member.
func (s *Store) Uses(ctx context.Context, member string, limit int) (list []Use, err error) {
	err = s.rd.NewSelect().Model(&list).Where("member = ?", member).Order("at DESC").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading what a member looked at: %w", err)
	}
	return list, nil
}

// ForgetUses removes what is older than UseKept.
func (s *Store) ForgetUses(ctx context.Context, now time.Time) error {
	if _, err := s.db.NewDelete().Model((*Use)(nil)).Where("at < ?", Micros(now.Add(-UseKept))).Exec(ctx); err != nil {
		return fmt.Errorf("forgetting what members looked at: %w", err)
	}
	return nil
}
