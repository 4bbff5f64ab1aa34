// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/uptrace/bun"
)

// MaxPayKeys are the payment providers of a shop.
const MaxPayKeys = 10

// PayKey says that a shop takes notices of a payment provider. The key follows from
// the row: package mall derives it.
type PayKey struct {
	bun.BaseModel `bun:"table:pay_keys"`

	Shop     string `bun:",pk"`
	Provider string `bun:",pk"` // as it stands in the address that it tells
	ID       string // another one with every key
	Created  int64
}

var providers = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// SetPayKey gives a payment provider of a shop a key, a new one if it has one. Invalid;
// ErrFull.
func (s *Store) SetPayKey(ctx context.Context, shop, provider string) (PayKey, error) {
	if !providers.MatchString(provider) {
		return PayKey{}, Invalid{"provider", "provider"}
	}
	k := PayKey{Shop: shop, Provider: provider, ID: NewID(), Created: Micros(time.Now())}
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		others, err := tx.NewSelect().Model((*PayKey)(nil)).Where("shop = ? AND provider <> ?", shop,
			provider).Count(ctx)
		if err != nil {
			return err
		}
		if others >= MaxPayKeys {
			return ErrFull
		}
		_, err = tx.NewInsert().Model(&k).On("CONFLICT (shop, provider) DO UPDATE").Set("id = EXCLUDED.id").
			Set("created = EXCLUDED.created").Exec(ctx)
		return err
	})
	if err != nil {
		return PayKey{}, fmt.Errorf("storing the key of a payment provider: %w", err)
	}
	return k, nil
}

// PayKeyOf is that of a payment provider of a shop. ErrUnknown: it has none.
func (s *Store) PayKeyOf(ctx context.Context, shop, provider string) (k PayKey, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&k).Where("shop = ? AND provider = ?", shop, provider).Scan(ctx)
	})
	if err != nil {
		return PayKey{}, fmt.Errorf("reading the key of a payment provider: %w", known(err))
	}
	return k, nil
}

// PayKeys are those of a shop, by provider.
func (s *Store) PayKeys(ctx context.Context, shop string) (list []PayKey, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&list).Where("shop = ?", shop).Order("provider").Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the keys of payment providers: %w", err)
	}
	return list, nil
}

// RemovePayKey ends it: what the provider tells is not taken any more. ErrUnknown.
func (s *Store) RemovePayKey(ctx context.Context, shop, provider string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*PayKey)(nil)).Where("shop = ? AND provider = ?", shop, provider).Exec(ctx)
		return changed(res, err, ErrUnknown)
	})
	if err != nil {
		return fmt.Errorf("removing the key of a payment provider: %w", err)
	}
	return nil
}
