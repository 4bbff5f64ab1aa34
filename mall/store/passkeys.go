// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// MaxPasskeys is how many a member may have.
const MaxPasskeys = 20

// Passkey is one by which a member signs in.
type Passkey struct {
	bun.BaseModel `bun:"table:passkeys"`

	ID         string `bun:",pk"` // the credential's
	Member     string
	Credential string // JSON of webauthn.Credential
	Name       string
	Created    int64
}

// AddPasskey stores one. ErrFull; ErrTaken: it is a member's already.
func (s *Store) AddPasskey(ctx context.Context, p Passkey) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		n, err := tx.NewSelect().Model((*Passkey)(nil)).Where("member = ?", p.Member).Count(ctx)
		if err != nil {
			return err
		}
		if n >= MaxPasskeys {
			return ErrFull
		}
		_, err = tx.NewInsert().Model(&p).Exec(ctx)
		return taken(err)
	})
	if err != nil {
		return fmt.Errorf("storing a passkey: %w", err)
	}
	return nil
}

// Passkeys are a member's, the oldest first.
func (s *Store) Passkeys(ctx context.Context, member string) (list []Passkey, err error) {
	if err := s.rd.NewSelect().Model(&list).Where("member = ?", member).Order("created", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("reading passkeys: %w", err)
	}
	return list, nil
}

// UsedPasskey stores a passkey's new state, such as the count of its uses.
func (s *Store) UsedPasskey(ctx context.Context, member, id, credential string) error {
	res, err := s.db.NewUpdate().Table("passkeys").Set("credential = ?", credential).
		Where("member = ? AND id = ?", member, id).Exec(ctx)
	if err := changed(res, err, ErrUnknown); err != nil {
		return fmt.Errorf("storing a passkey's use: %w", err)
	}
	return nil
}

// RemovePasskey ends one. ErrUnknown: the member has no such passkey.
func (s *Store) RemovePasskey(ctx context.Context, member, id string) error {
	res, err := s.db.NewDelete().Model((*Passkey)(nil)).Where("member = ? AND id = ?", member, id).Exec(ctx)
	if err := changed(res, err, ErrUnknown); err != nil {
		return fmt.Errorf("removing a passkey: %w", err)
	}
	return nil
}
