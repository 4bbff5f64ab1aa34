// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

const attemptColumns = "a.id, a.room, a.caller, a.callee, a.state, a.rings, a.started, a.ended, a.tell," +
	" a.why, a.words, a.taker, a.mailed, a.pushed, a.unproven"

func scanAttempt(rows *sql.Rows) (a chat.Attempt, err error) {
	var started, ended, mailed, pushed int64
	err = rows.Scan(&a.ID, &a.Room, &a.Caller, &a.Callee, &a.State, &a.Rings, &started, &ended, &a.Tell,
		&a.Why, &a.Words, &a.Taker, &mailed, &pushed, &a.Unproven)
	a.Started, a.Ended, a.Mailed, a.Pushed = moment(started), moment(ended), moment(mailed), moment(pushed)
	return a, err
}

// PutAttempt stores an attempt or its newer state. ErrUnknown: caller or
// callee is not in the room. ErrFull: its ID or state is too long. ErrMoved:
// home, unless it is empty, is not the room's home any more.
func (s *Store) PutAttempt(ctx context.Context, home string, a chat.Attempt) error {
	if err := s.putAttempt(ctx, home, a); err != nil {
		return fmt.Errorf("storing an attempt: %w", err)
	}
	return nil
}

func (s *Store) putAttempt(ctx context.Context, home string, a chat.Attempt) (err error) {
	if a.ID, err = whole("attempt id", a.ID, chat.MaxMessageID); err != nil {
		return err
	}
	if a.State, err = whole("state", a.State, maxState); err != nil {
		return err
	}
	a.Why, a.Words = chat.Storable(a.Why, maxState), chat.Storable(a.Words, maxDecline)
	return s.tx(ctx, func(tx querier) error {
		if err := s.fence(ctx, tx, home, a.Room); err != nil {
			return err
		}
		for _, id := range []int64{a.Caller, a.Callee} {
			if err := belongs(ctx, tx, a.Room, id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO attempts (id, room, caller, callee, state, rings, started, ended,"+
			" tell, acked, why, words, taker, mailed, pushed, unproven)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (id) DO UPDATE SET"+
			" state = excluded.state, rings = excluded.rings, ended = excluded.ended,"+
			" tell = excluded.tell, why = excluded.why,"+
			" words = excluded.words, taker = excluded.taker, mailed = excluded.mailed, pushed = excluded.pushed",
			a.ID, a.Room, a.Caller, a.Callee, a.State, a.Rings, micros(a.Started), micros(a.Ended), a.Tell, a.Silent,
			a.Why, a.Words, a.Taker, micros(a.Mailed), micros(a.Pushed), a.Unproven)
		if err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE rooms SET talked = $1 WHERE id = $2 AND talked < $1",
				micros(a.Started), a.Room)
		}
		return err
	})
}

// attempts reads the attempts that a condition chooses.
func (s *Store) attempts(ctx context.Context, where string, args ...any) ([]chat.Attempt, error) {
	list, err := collect(ctx, s.read, scanAttempt, "SELECT "+attemptColumns+" FROM attempts a "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading attempts: %w", err)
	}
	return list, nil
}

// Attempts returns up to limit attempts of a room, newest first.
func (s *Store) Attempts(ctx context.Context, roomID string, limit int) ([]chat.Attempt, error) {
	return s.attempts(ctx, "WHERE a.room = $1 ORDER BY a.started DESC, a.id LIMIT $2", roomID, page(limit))
}

// OpenAttempts returns the attempts that have not ended and whose room has no
// living home other than relay, oldest first. They were under way when relay, or
// another host, stopped. An attempt whose room cannot be read is logged and left out.
func (s *Store) OpenAttempts(ctx context.Context, relay string) ([]chat.Attempt, error) {
	list, err := s.attempts(ctx, "WHERE a.ended = 0 ORDER BY a.started, a.id LIMIT $1", maxPage)
	return slices.DeleteFunc(list, func(a chat.Attempt) bool {
		var free bool
		err := s.read.QueryRowContext(ctx, "SELECT r.home IN ('', $1) OR NOT EXISTS (SELECT 1 FROM relays l"+
			" WHERE l.name = r.home AND "+s.alive()+")"+
			" FROM rooms r WHERE r.id = $2", relay, a.Room).Scan(&free)
		if err != nil {
			s.opts.Log.Error("reading the room of an attempt", "attempt", a.ID, "room", a.Room, "err", err)
		}
		return !free
	}), err
}

// WaitingFor returns the rings waiting for a login's next sign-on, or for a
// group's of which it is a member, oldest first: attempts that ended alarmed or
// unanswered, that AckWaiting has not acknowledged and the login not dismissed.
func (s *Store) WaitingFor(ctx context.Context, login string) ([]chat.Attempt, error) {
	return s.attempts(ctx, "JOIN participants p ON p.id = a.callee WHERE "+theirs("$1")+
		" AND a.ended <> 0 AND NOT a.acked AND a.state IN ('alarmed', 'unanswered') AND "+undismissed("$1")+
		" ORDER BY a.started, a.id LIMIT $2",
		fold(login), maxPage)
}

// AckWaiting acknowledges the rings that wait for a login in a room, or for a
// group of which it is a member. ErrUnknown: the login is not in that room.
func (s *Store) AckWaiting(ctx context.Context, login, roomID string) error {
	err := s.tx(ctx, func(tx querier) error {
		if _, err := member(ctx, tx, login, roomID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE attempts SET acked = TRUE WHERE room = $1 AND ended <> 0 AND callee IN"+
			" (SELECT p.id FROM participants p WHERE p.room = $1 AND "+theirs("$2")+")", roomID, fold(login))
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledging waiting rings: %w", err)
	}
	return nil
}

// Tells returns the attempts whose callers want a mail when calleeLogin, or a
// group of which it is a member, is back, oldest first.
func (s *Store) Tells(ctx context.Context, calleeLogin string) ([]chat.Attempt, error) {
	return s.attempts(ctx, "JOIN participants p ON p.id = a.callee WHERE "+theirs("$1")+
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

// Missed returns the logins, groups among them, of whose return some caller
// wants to be told.
func (s *Store) Missed(ctx context.Context) ([]string, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (login string, err error) {
		err = rows.Scan(&login)
		return login, err
	}, "SELECT DISTINCT p.login FROM attempts a JOIN participants p ON p.id = a.callee"+
		" WHERE a.tell AND p.login <> '' AND NOT p.guest LIMIT $1", maxPage)
	if err != nil {
		return nil, fmt.Errorf("reading who is missed: %w", err)
	}
	return list, nil
}

// NotePushed notes that a notification of an attempt was taken, unless it is
// known; an unknown attempt is no error.
func (s *Store) NotePushed(ctx context.Context, attemptID string, at time.Time) error {
	if _, err := s.write.ExecContext(ctx, "UPDATE attempts SET pushed = $1 WHERE id = $2 AND pushed = 0",
		micros(at), attemptID); err != nil {
		return fmt.Errorf("noting a notification: %w", err)
	}
	return nil
}

// Returns returns how long it took until a login answered an attempt that it had
// missed at first: the newest 20 at most, of the last 90 days.
func (s *Store) Returns(ctx context.Context, login string) ([]time.Duration, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (d time.Duration, err error) {
		err = rows.Scan(&d)
		return d * time.Microsecond, err
	}, "SELECT a.ended - a.started FROM attempts a JOIN participants p ON p.id = a.callee"+
		" WHERE p.login = $1 AND p.login <> '' AND NOT p.guest"+
		" AND a.state = 'answered' AND a.ended - a.started > $2 AND a.started > $3 ORDER BY a.started DESC LIMIT 20",
		fold(login), time.Minute.Microseconds(), micros(time.Now().AddDate(0, 0, -90)))
	if err != nil {
		return nil, fmt.Errorf("reading past answers: %w", err)
	}
	return list, nil
}
