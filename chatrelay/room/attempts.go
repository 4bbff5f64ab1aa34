// SPDX-License-Identifier: GPL-3.0-or-later

package room

import (
	"context"
	"database/sql"
	"fmt"
)

const attemptColumns = "a.id, a.room, a.caller, a.callee, a.state, a.rings, a.started, a.ended, a.tell"

func scanAttempt(rows *sql.Rows) (a Attempt, err error) {
	var started, ended int64
	err = rows.Scan(&a.ID, &a.Room, &a.Caller, &a.Callee, &a.State, &a.Rings, &started, &ended, &a.Tell)
	a.Started, a.Ended = moment(started), moment(ended)
	return a, err
}

// PutAttempt stores an attempt or its newer state. ErrUnknown: caller or
// callee is not in the room. ErrFull: its ID or state is too long.
func (s *Store) PutAttempt(ctx context.Context, a Attempt) error {
	if err := s.putAttempt(ctx, a); err != nil {
		return fmt.Errorf("storing an attempt: %w", err)
	}
	return nil
}

func (s *Store) putAttempt(ctx context.Context, a Attempt) (err error) {
	if a.ID, err = whole("attempt id", a.ID, MaxMessageID); err != nil {
		return err
	}
	if a.State, err = whole("state", a.State, maxState); err != nil {
		return err
	}
	return s.tx(ctx, func(tx querier) error {
		for _, id := range []int64{a.Caller, a.Callee} {
			if err := belongs(ctx, tx, a.Room, id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO attempts (id, room, caller, callee, state, rings, started, ended, tell)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET"+
			" state = excluded.state, rings = excluded.rings, ended = excluded.ended, tell = excluded.tell",
			a.ID, a.Room, a.Caller, a.Callee, a.State, a.Rings, micros(a.Started), micros(a.Ended), a.Tell)
		return err
	})
}

// attempts reads the attempts that a condition chooses.
func (s *Store) attempts(ctx context.Context, where string, args ...any) ([]Attempt, error) {
	list, err := collect(ctx, s.read, scanAttempt, "SELECT "+attemptColumns+" FROM attempts a "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	return list, nil
}

// Attempts returns up to limit attempts of a room, newest first.
func (s *Store) Attempts(ctx context.Context, roomID string, limit int) ([]Attempt, error) {
	return s.attempts(ctx, "WHERE a.room = $1 ORDER BY a.started DESC, a.id LIMIT $2", roomID, page(limit))
}

// OpenAttempts returns all attempts that have not ended, oldest first: what
// was under way when the server stopped.
func (s *Store) OpenAttempts(ctx context.Context) ([]Attempt, error) {
	return s.attempts(ctx, "WHERE a.ended = 0 ORDER BY a.started, a.id")
}

// WaitingFor returns the rings waiting for a login's next sign-on, oldest
// first: attempts that ended alarmed or unanswered and that AckWaiting has
// not acknowledged.
func (s *Store) WaitingFor(ctx context.Context, login string) ([]Attempt, error) {
	return s.attempts(ctx, "JOIN participants p ON p.id = a.callee WHERE p.login = $1 AND p.login <> '' AND NOT p.guest"+
		" AND a.ended <> 0 AND NOT a.acked AND a.state IN ('alarmed', 'unanswered') ORDER BY a.started, a.id LIMIT $2",
		fold(login), maxPage)
}

// AckWaiting acknowledges the rings that wait for a login in a room.
// ErrUnknown: the login is not in that room.
func (s *Store) AckWaiting(ctx context.Context, login, roomID string) error {
	err := s.tx(ctx, func(tx querier) error {
		me, err := member(ctx, tx, login, roomID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE attempts SET acked = TRUE WHERE room = $1 AND callee = $2 AND ended <> 0", roomID, me.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledging waiting rings: %w", err)
	}
	return nil
}

// Tells returns the attempts whose callers want a mail when calleeLogin is
// back, oldest first.
func (s *Store) Tells(ctx context.Context, calleeLogin string) ([]Attempt, error) {
	return s.attempts(ctx, "JOIN participants p ON p.id = a.callee WHERE p.login = $1 AND p.login <> '' AND NOT p.guest"+
		" AND a.tell ORDER BY a.started, a.id LIMIT $2", fold(calleeLogin), maxPage)
}

// ClearTell notes that an attempt's caller has been told, or that nobody
// need be; an unknown attempt is no error.
func (s *Store) ClearTell(ctx context.Context, attemptID string) error {
	if _, err := s.write.ExecContext(ctx, "UPDATE attempts SET tell = FALSE WHERE id = $1", attemptID); err != nil {
		return fmt.Errorf("clearing a caller's wish: %w", err)
	}
	return nil
}
