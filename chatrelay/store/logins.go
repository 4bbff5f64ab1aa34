// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// SignOut ends the sessions of a login that have begun until now: SignedOut
// returns this moment from now on. The login need not be known.
func (s *Store) SignOut(ctx context.Context, login string) error {
	_, err := s.write.ExecContext(ctx, "INSERT INTO logins (login, settings, signed_out) VALUES ($1, '{}', $2)"+
		" ON CONFLICT (login) DO UPDATE SET signed_out = excluded.signed_out", fold(login), micros(time.Now()))
	if err != nil {
		return fmt.Errorf("signing a login out: %w", err)
	}
	return nil
}

// SignedOut returns when SignOut was last called for a login; the zero time:
// never. Sessions that began before, or at, this moment are no longer good.
func (s *Store) SignedOut(ctx context.Context, login string) (time.Time, error) {
	var at int64
	err := s.read.QueryRowContext(ctx, "SELECT signed_out FROM logins WHERE login = $1", fold(login)).Scan(&at)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, fmt.Errorf("reading when a login was signed out: %w", err)
	}
	return moment(at), nil
}
