// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/uptrace/bun"
)

// MaxCategories are those of the mall.
const MaxCategories = 200

// Category is a category of goods. Those at the top may have others below them.
type Category struct {
	bun.BaseModel `bun:"table:categories"`

	ID     string `bun:",pk"`
	Parent string // id; empty: at the top
	NameEn string
	NameKo string
	Place  int // among those of the same parent
}

// Name is the category's name in a language.
func (c Category) Name(lang string) string {
	if lang == "ko" {
		return c.NameKo
	}
	return c.NameEn
}

var categoryIDs = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// check says what of a category cannot be stored, as Invalid.
func (c Category) check(ctx context.Context, tx bun.Tx) error {
	if !categoryIDs.MatchString(c.ID) {
		return Invalid{"id", "slug"}
	}
	if err := errors.Join(line("en", c.NameEn, 1, maxName), line("ko", c.NameKo, 1, maxName)); err != nil {
		return first(err)
	}
	if c.Parent == "" {
		return nil
	}
	top, err := tx.NewSelect().Model((*Category)(nil)).Where("id = ? AND id <> ? AND parent = ''", c.Parent,
		c.ID).Count(ctx)
	if err != nil {
		return err
	}
	below, err := tx.NewSelect().Model((*Category)(nil)).Where("parent = ?", c.ID).Count(ctx)
	if err == nil && (top == 0 || below > 0) {
		err = Invalid{"parent", "unknown"}
	}
	return err
}

// AddCategory stores a category. Invalid; ErrTaken; ErrFull.
func (s *Store) AddCategory(ctx context.Context, c Category) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if err := c.check(ctx, tx); err != nil {
			return err
		}
		n, err := tx.NewSelect().Model((*Category)(nil)).Count(ctx)
		if err != nil {
			return err
		}
		if n >= MaxCategories {
			return ErrFull
		}
		_, err = tx.NewInsert().Model(&c).Exec(ctx)
		return taken(err)
	})
	if err != nil {
		return fmt.Errorf("adding a category: %w", err)
	}
	return nil
}

// ChangeCategory gives a category other names, another parent or another place.
// Invalid; ErrUnknown.
func (s *Store) ChangeCategory(ctx context.Context, c Category) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if err := c.check(ctx, tx); err != nil {
			return err
		}
		res, err := tx.NewUpdate().Model(&c).WherePK().Exec(ctx)
		return changed(res, err, ErrUnknown)
	})
	if err != nil {
		return fmt.Errorf("changing a category: %w", err)
	}
	return nil
}

// RemoveCategory takes a category away. Its goods have none then, and the categories
// below it are at the top. ErrUnknown.
func (s *Store) RemoveCategory(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*Category)(nil)).Where("id = ?", id).Exec(ctx)
		if err := changed(res, err, ErrUnknown); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*Category)(nil)).Set("parent = ''").Where("parent = ?", id).Exec(ctx)
		if err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model((*Goods)(nil)).Set("category = ''").Set("changed = ?", Micros(time.Now())).
			Where("category = ?", id).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("removing a category: %w", err)
	}
	return nil
}

// Categories are all of the mall, in their order.
func (s *Store) Categories(ctx context.Context) (all []Category, err error) {
	if err := s.rd.NewSelect().Model(&all).Order("parent", "place", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("reading the categories: %w", err)
	}
	return all, nil
}
