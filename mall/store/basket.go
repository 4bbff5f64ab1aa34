// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// BasketLine is one thing in a member's basket.
type BasketLine struct {
	bun.BaseModel `bun:"table:basket"`

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
