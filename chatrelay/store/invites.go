// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

const insertInvite = "INSERT INTO invites (token, room, recipient, callee, subject, mailed, expires)" +
	" VALUES ($1, $2, $3, $4, $5, $6, $7)"

// invite stores a new invite.
func (s *Store) invite(
	ctx context.Context, tx querier, token, roomID string, recipient, callee int64, subject string, mailed time.Time,
) error {
	_, err := tx.ExecContext(ctx, insertInvite,
		hash(token), roomID, recipient, callee, subject, micros(mailed), micros(time.Now().Add(s.opts.InviteTTL)))
	return err
}

// NewInvite makes a link for recipient that rings callee, dated now; both
// are participant IDs of the room, else ErrUnknown.
func (s *Store) NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error) {
	token := secret(16)
	err := s.tx(ctx, func(tx querier) error {
		for _, id := range []int64{recipient, callee} {
			if err := belongs(ctx, tx, roomID, id); err != nil {
				return err
			}
		}
		return s.invite(ctx, tx, token, roomID, recipient, callee, tidy.Subject(subject), time.Now())
	})
	if err != nil {
		return "", fmt.Errorf("making an invite: %w", err)
	}
	return token, nil
}

// belongs returns ErrUnknown if a participant is not in a room.
func belongs(ctx context.Context, tx querier, roomID string, participant int64) error {
	var id int64
	return known(tx.QueryRowContext(ctx, "SELECT id FROM participants WHERE id = $1 AND room = $2",
		participant, roomID).Scan(&id))
}

// Invite returns what a link stands for and changes nothing. With ErrExpired
// and ErrRevoked the invite is returned too. ErrUnknown: no such link.
func (s *Store) Invite(ctx context.Context, token string) (chat.Invite, error) {
	i, err := look(ctx, s.read, token)
	if err != nil {
		return i, fmt.Errorf("reading an invite: %w", err)
	}
	return i, nil
}

// look reads an invite.
func look(ctx context.Context, q querier, token string) (i chat.Invite, err error) {
	var mailed, expires int64
	var revoked bool
	fields := []any{&i.Room, &i.Subject, &mailed, &expires, &revoked, &i.Claimed}
	fields = append(append(fields, participantFields(&i.Recipient)...), participantFields(&i.Callee)...)
	err = q.QueryRowContext(ctx, "SELECT i.room, i.subject, i.mailed, i.expires, i.revoked,"+
		" EXISTS (SELECT 1 FROM claims l WHERE l.invite = i.token AND l.participant = i.recipient),"+
		" p.id, p.login, p.addr, p.name, p.guest, p.hidden, c.id, c.login, c.addr, c.name, c.guest, c.hidden"+
		" FROM invites i JOIN participants p ON p.id = i.recipient JOIN participants c ON c.id = i.callee"+
		" WHERE i.token = $1", hash(token)).Scan(fields...)
	if err != nil {
		return chat.Invite{}, known(err)
	}
	i.Date, i.Expires = moment(mailed), moment(expires)
	switch {
	case revoked:
		return i, chat.ErrRevoked
	case !time.Now().Before(i.Expires):
		return i, chat.ErrExpired
	}
	return i, nil
}

// change runs do in a transaction that holds an invite which is in force.
// The lock is a statement of its own: PostgreSQL shows a statement that
// waited for a row the other tables as they were before the wait.
func (s *Store) change(
	ctx context.Context, token string, do func(tx querier, i chat.Invite) error,
) (i chat.Invite, err error) {
	err = s.tx(ctx, func(tx querier) error {
		var roomID string
		err := tx.QueryRowContext(ctx, "SELECT room FROM invites WHERE token = $1"+
			s.forUpdate, hash(token)).Scan(&roomID)
		if err != nil {
			return known(err)
		}
		if i, err = look(ctx, tx, token); err != nil {
			return err
		}
		return do(tx, i)
	})
	return i, err
}

// Revoke takes a link back. ErrUnknown: no such link.
func (s *Store) Revoke(ctx context.Context, token string) error {
	done, err := s.write.ExecContext(ctx, "UPDATE invites SET revoked = TRUE WHERE token = $1", hash(token))
	if err == nil {
		var n int64
		if n, err = done.RowsAffected(); err == nil && n == 0 {
			err = chat.ErrUnknown
		}
	}
	if err != nil {
		return fmt.Errorf("taking an invite back: %w", err)
	}
	return nil
}

// RevokeRoom takes back every link into a room that rings login. ErrUnknown:
// the login is not in that room.
func (s *Store) RevokeRoom(ctx context.Context, login, roomID string) error {
	err := s.tx(ctx, func(tx querier) error {
		me, err := member(ctx, tx, login, roomID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE invites SET revoked = TRUE WHERE room = $1 AND callee = $2", roomID, me.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("taking a room's invites back: %w", err)
	}
	return nil
}
