// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// States of a shop.
const (
	ShopApplied = "applied" // for a place in the mall
	ShopOpen    = "open"
	ShopClosed  = "closed"
	ShopRefused = "refused"
)

// Roles of staff: what each may, the ones before may as well.
const (
	RoleOwner   = "owner"   // staff, keys, where money goes
	RoleManager = "manager" // goods, publicity, hours
	RoleAgent   = "agent"   // inquiries and orders
)

// Shop is a shop of the mall.
type Shop struct {
	bun.BaseModel `bun:"table:shops"`

	ID            string `bun:",pk"`
	Slug          string
	Name          string
	Addr          string // the group that its mails and rings go to
	About         string // Markdown
	Postal        string
	Lang          string
	Currency      string
	Hours         string // JSON of Hours
	Transfer      string
	ShowQuestions bool
	Company       bool // it advertises, and has no goods
	State         string
	Why           string // it was refused
	Created       int64  // Micros
}

// Staff is a login that works for a shop.
type Staff struct {
	bun.BaseModel `bun:"table:staff"`

	Shop    string `bun:",pk"`
	Login   string `bun:",pk"`
	Role    string
	Created int64
}

// AddShop stores a new shop and its owner. ErrTaken: its slug or address is.
func (s *Store) AddShop(ctx context.Context, shop Shop, owner string) (Shop, error) {
	shop.ID, shop.Created = NewID(), Micros(time.Now())
	err := s.tx(ctx, func(tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&shop).Exec(ctx); err != nil {
			return taken(err)
		}
		_, err := tx.NewInsert().Model(&Staff{Shop: shop.ID, Login: owner, Role: RoleOwner,
			Created: shop.Created}).Exec(ctx)
		return err
	})
	if err != nil {
		return Shop{}, fmt.Errorf("adding a shop: %w", err)
	}
	return shop, nil
}

// ShopBySlug finds a shop, whatever its state. ErrUnknown.
func (s *Store) ShopBySlug(ctx context.Context, slug string) (shop Shop, err error) {
	if err := s.rd.NewSelect().Model(&shop).Where("slug = ?", slug).Scan(ctx); err != nil {
		return Shop{}, fmt.Errorf("reading the shop %s: %w", slug, known(err))
	}
	return shop, nil
}
