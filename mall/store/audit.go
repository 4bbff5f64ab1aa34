// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Roles of who is in the audit trail.
const (
	ActorOperator = "operator"
	ActorHost     = "host"
	ActorMember   = "member"
)

// AuditKept is how long the audit trail goes back.
const AuditKept = 2 * 365 * 24 * time.Hour

// Audit is one act on other people's data.
type Audit struct {
	bun.BaseModel `bun:"table:audit"`

	ID    string `bun:",pk"`
	At    int64
	Actor string // login
	Role  string // ActorOperator, ActorHost, ActorMember
	Act   string // such as member.read
	About string // id of the member, shop or order
	Shop  string // empty: the mall
}

// AddAudit writes an act down. What is about to be shown is shown only if that worked.
func (s *Store) AddAudit(ctx context.Context, a Audit) error {
	a.ID, a.At = NewID(), Micros(time.Now())
	if _, err := s.db.NewInsert().Model(&a).Exec(ctx); err != nil {
		return fmt.Errorf("writing the audit trail: %w", err)
	}
	return nil
}

// AuditTrail are the acts of a shop's people, newest first, before an id; of an
// empty shop: of the whole mall.
func (s *Store) AuditTrail(ctx context.Context, shop, before string, limit int) (list []Audit, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		q := db.NewSelect().Model(&list).Order("id DESC").Limit(int64(limit))
		if shop != "" {
			q.Where("shop = ?", shop)
		}
		if before != "" {
			q.Where("id < ?", before)
		}
		return q.Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit trail: %w", err)
	}
	return list, nil
}

// ForgetAudit removes what is older than AuditKept.
func (s *Store) ForgetAudit(ctx context.Context, now time.Time) error {
	if _, err := s.db.NewDelete().Model((*Audit)(nil)).Where("at < ?",
		Micros(now.Add(-AuditKept))).Exec(ctx); err != nil {
		return fmt.Errorf("shortening the audit trail: %w", err)
	}
	return nil
}
