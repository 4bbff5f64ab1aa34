// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// postgres says whether the database is PostgreSQL.
func (s *Store) postgres() bool { return s.db.Dialect().Name() == dialect.PG }

// forUpdate locks the rows of a query until the transaction ends. SQLite has one writer
// at a time.
func (s *Store) forUpdate(q *bun.SelectQuery) *bun.SelectQuery {
	if s.postgres() {
		return q.For("UPDATE")
	}
	return q
}

// OfShop runs do in a transaction of one shop. In PostgreSQL the row policies
// (migrations/postgres) hide the rows of all other shops from it, and refuse to
// write them: a second wall behind the conditions of the queries.
func (s *Store) OfShop(ctx context.Context, shop string, do func(tx bun.Tx) error) error {
	return s.tx(ctx, func(tx bun.Tx) error {
		if err := s.setShop(ctx, tx, shop); err != nil {
			return err
		}
		return do(tx)
	})
}

// readOfShop runs do, which reads, for one shop.
func (s *Store) readOfShop(ctx context.Context, shop string, do func(db bun.IDB) error) error {
	if !s.postgres() {
		return do(s.rd)
	}
	return s.OfShop(ctx, shop, func(tx bun.Tx) error { return do(tx) })
}

// setShop names the shop of a transaction in PostgreSQL, until it ends.
func (s *Store) setShop(ctx context.Context, tx bun.Tx, shop string) error {
	if !s.postgres() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT set_config('mall.shop', ?, TRUE)", shop)
	return err
}
