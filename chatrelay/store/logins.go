// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// maxEnded is how many ended sessions of one login are remembered at once.
const maxEnded = 1000

// SignOut ends the sessions of a login that have begun until now, and forgets
// the browsers that are notified of its rings, and its programs. The login need not be known.
func (s *Store) SignOut(ctx context.Context, login string) error {
	if err := s.tx(ctx, func(tx querier) error { return signOut(ctx, tx, fold(login)) }); err != nil {
		return fmt.Errorf("signing a login out: %w", err)
	}
	return nil
}

func signOut(ctx context.Context, tx querier, login string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO logins (login, settings, signed_out) VALUES ($1, '{}', $2)"+
		" ON CONFLICT (login) DO UPDATE SET signed_out = excluded.signed_out", login, micros(time.Now()))
	for _, table := range []string{"ended_sessions", "subscriptions", "programs"} {
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE login = $1", login)
		}
	}
	return err
}

// EndSession ends one session. It is remembered until expires, when the session
// would have ended by itself. A login of which maxEnded sessions are
// remembered is signed out instead.
func (s *Store) EndSession(ctx context.Context, session chat.Session, expires time.Time) error {
	login := fold(session.Login)
	err := s.tx(ctx, func(tx querier) error {
		var ended int
		err := tx.QueryRowContext(ctx, "SELECT count(*) FROM ended_sessions WHERE login = $1", login).Scan(&ended)
		if err != nil {
			return err
		}
		if ended >= maxEnded {
			return signOut(ctx, tx, login)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO ended_sessions (id, login, expires) VALUES ($1, $2, $3)"+
			" ON CONFLICT DO NOTHING", session.ID, login, micros(expires))
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM programs WHERE id = $1", session.ID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// SignedIn reports whether a session has neither been ended, nor begun before,
// or at, the moment at which its login was last signed out.
func (s *Store) SignedIn(ctx context.Context, session chat.Session) (good bool, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT NOT EXISTS (SELECT 1 FROM logins WHERE login = $1 AND signed_out >= $2)"+
		" AND NOT EXISTS (SELECT 1 FROM ended_sessions WHERE id = $3)",
		fold(session.Login), micros(session.Began), session.ID).Scan(&good)
	if err != nil {
		return false, fmt.Errorf("reading whether a session has ended: %w", err)
	}
	return good, nil
}
