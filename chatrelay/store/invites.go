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
// are participant IDs of the room, else ErrUnknown. It is for a mail that the server
// writes: whoever presses it reads what the mail is about, the current part of the
// conversation and what the recipient had not seen by now.
func (s *Store) NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error) {
	token := secret(16)
	err := s.tx(ctx, func(tx querier) error {
		for _, id := range []int64{recipient, callee} {
			if err := belongs(ctx, tx, roomID, id); err != nil {
				return err
			}
		}
		err := s.invite(ctx, tx, token, roomID, recipient, callee, tidy.Subject(subject), time.Now())
		if err != nil {
			return err
		}
		before, err := stretch(ctx, tx, roomID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE invites SET since = (SELECT CASE WHEN p.seen < $1 THEN p.seen ELSE $1 END + 1"+
			" FROM participants p WHERE p.id = invites.recipient) WHERE token = $2", before, hash(token))
		return err
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
	i, err := look(ctx, s.read, hash(token))
	if err != nil {
		return i, fmt.Errorf("reading an invite: %w", err)
	}
	return i, nil
}

// look reads an invite by the hash of its token.
func look(ctx context.Context, q querier, link []byte) (i chat.Invite, err error) {
	var mailed, expires int64
	var revoked bool
	fields := []any{&i.Room, &i.Subject, &mailed, &expires, &revoked, &i.Claimed}
	fields = append(append(fields, participantFields(&i.Recipient)...), participantFields(&i.Callee)...)
	err = q.QueryRowContext(ctx, "SELECT i.room, i.subject, i.mailed, i.expires, i.revoked,"+
		" EXISTS (SELECT 1 FROM claims l WHERE l.invite = i.token AND l.participant = i.recipient),"+
		" "+participantColumns+", c.id, c.login, c.addr, c.name, c.guest, c.hidden, c.removed"+
		" FROM invites i JOIN participants p ON p.id = i.recipient JOIN participants c ON c.id = i.callee"+
		" WHERE i.token = $1", link).Scan(fields...)
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
		if i, err = look(ctx, tx, hash(token)); err != nil {
			return err
		}
		return do(tx, i)
	})
	return i, err
}

// OnAccess makes f hear of every room that somebody may have to leave, or whose
// people may read more: a link was taken back or proven, a person put out or
// erased. f must be quick; OnAccess is called before anything of that happens.
func (s *Store) OnAccess(f func(roomID string)) { s.accessChanged = f }

// Revoke takes a link back. ErrUnknown: no such link.
func (s *Store) Revoke(ctx context.Context, token string) error {
	var roomID string
	err := known(s.write.QueryRowContext(ctx, "UPDATE invites SET revoked = TRUE WHERE token = $1 RETURNING room",
		hash(token)).Scan(&roomID))
	if err != nil {
		return fmt.Errorf("taking an invite back: %w", err)
	}
	s.accessChanged(roomID)
	return nil
}

// ringing is the condition that the callee of invite i is a login, the parameter,
// or a group of which it is a member.
func ringing(param string) string {
	return "i.callee IN (SELECT p.id FROM participants p WHERE p.room = i.room AND " + theirs(param) + ")"
}

// RevokeRoom takes back every link into a room that rings login, or one of its
// groups, and returns how many there were; with a participant only theirs.
// ErrUnknown: the login is not in that room.
func (s *Store) RevokeRoom(ctx context.Context, login, roomID string, participant int64) (n int64, err error) {
	err = s.tx(ctx, func(tx querier) error {
		if _, err := member(ctx, tx, login, roomID); err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, "UPDATE invites AS i SET revoked = TRUE WHERE i.room = $1 AND "+ringing("$2")+
			" AND (CAST($3 AS BIGINT) = 0 OR i.recipient = $3) AND NOT i.revoked AND i.expires > $4",
			roomID, fold(login), participant, micros(time.Now()))
		if err == nil {
			n, err = done.RowsAffected()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking a room's invites back: %w", err)
	}
	s.accessChanged(roomID)
	return n, nil
}

// Remove puts a participant out of a room: their links open nothing any more, those
// that ring them neither, and the room is no longer theirs at the desk. What they
// said stays. by is the login that does it; empty: an administrator. ErrUnknown: one
// of them is not in the room. ErrForbidden: neither owns by the room, nor has the
// participant come by a link that rings by.
func (s *Store) Remove(ctx context.Context, by, roomID string, participant int64) error {
	err := s.tx(ctx, func(tx querier) error {
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return err
		}
		var removed bool
		err := known(tx.QueryRowContext(ctx, "SELECT removed FROM participants WHERE id = $1 AND room = $2",
			participant, roomID).Scan(&removed))
		if err == nil && by != "" {
			err = mayRemove(ctx, tx, fold(by), roomID, participant)
		}
		if err != nil || removed {
			return err
		}
		for _, query := range []string{
			"UPDATE participants SET removed = TRUE, login = '' WHERE id = $1",
			"UPDATE invites SET revoked = TRUE WHERE recipient = $1 OR callee = $1",
			"UPDATE attempts SET tell = FALSE WHERE caller = $1",
			"DELETE FROM claims WHERE participant = $1",
			"DELETE FROM transcripts WHERE participant = $1",
			"DELETE FROM unread WHERE participant = $1",
		} {
			if _, err := tx.ExecContext(ctx, query, participant); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("putting somebody out of a room: %w", err)
	}
	s.accessChanged(roomID)
	return nil
}

// mayRemove returns ErrForbidden if a login may not put a participant out.
func mayRemove(ctx context.Context, tx querier, by, roomID string, participant int64) error {
	me, err := member(ctx, tx, by, roomID)
	if err != nil {
		return err
	}
	var may bool
	err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM rooms r JOIN participants p ON p.id = r.owner"+
		" WHERE r.id = $1 AND "+theirs("$2")+") OR EXISTS (SELECT 1 FROM invites i WHERE i.room = $1 AND "+ringing("$2")+
		" AND (i.recipient = $3 OR EXISTS (SELECT 1 FROM claims l WHERE l.invite = i.token AND l.participant = $3)))",
		roomID, by, participant).Scan(&may)
	if err == nil && (!may || me.ID == participant) {
		err = chat.ErrForbidden
	}
	return err
}
