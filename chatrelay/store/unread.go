// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

const (
	unreadLease = 10 * time.Minute   // a relay that mails unread words may take so long; then another one may
	unreadFor   = 7 * 24 * time.Hour // older words are left to the desk and the link
	unreadPause = 12                 // so many times longer is the wait after a mail whose words are unread still
	unreadPage  = 100                // participants found at a time
)

// waitsUnread is the condition that participant p of room r has been in the room, or is who its links ring, and may be
// mailed what they have not read. u is their row of unread, t that of transcripts.
const waitsUnread = "NOT p.guest AND NOT p.removed AND p.addr LIKE '%@%' AND NOT COALESCE(u.stop, FALSE)" +
	" AND (u.participant IS NOT NULL OR p.login <> '' AND (p.id = r.owner" +
	" OR EXISTS (SELECT 1 FROM invites i WHERE i.room = r.id AND i.callee = p.id)))"

// unreadBy is the condition that participant p has not got message m, neither on a page nor by mail.
const unreadBy = "m.room = r.id AND m.pos > p.seen AND m.pos > COALESCE(u.sent, 0)" +
	" AND m.pos > COALESCE(t.sent, 0) AND m.sender <> p.id AND m.sender <> 0 AND m.kind IN ('text', 'file')" +
	" AND NOT m.deleted"

const unreadJoins = " JOIN rooms r ON r.id = p.room LEFT JOIN unread u ON u.participant = p.id" +
	" LEFT JOIN transcripts t ON t.participant = p.id AND t.wish"

// CameIn notes that a participant has been in their room, and has what it says up to offset, of which only the first
// time counts; and whether they have proven who they are. It returns whether they ever have in this room.
// ErrUnknown: there is no such participant.
func (s *Store) CameIn(ctx context.Context, participant, offset int64, proven bool) (ever bool, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT proven FROM unread WHERE participant = $1", participant).Scan(&ever)
	if errors.Is(err, sql.ErrNoRows) || err == nil && proven && !ever {
		_, err = s.write.ExecContext(ctx, "INSERT INTO unread (sent, proven, participant)"+
			" SELECT CAST($1 AS BIGINT), CAST($2 AS BOOLEAN), id FROM participants WHERE id = $3"+
			" ON CONFLICT (participant) DO UPDATE SET proven = unread.proven OR excluded.proven",
			offset, proven, participant)
		ever = proven
	}
	if err != nil {
		return false, fmt.Errorf("noting who came in: %w", err)
	}
	return ever, nil
}

// Unread returns who has not read words that are older than wait, at most 100, in the order of their participant IDs,
// beginning after one. Whoever was mailed such words, and has read nothing since, waits twelve times as long for the
// next mail.
func (s *Store) Unread(ctx context.Context, wait time.Duration, after int64) ([]chat.Unread, error) {
	now := time.Now()
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (u chat.Unread, err error) {
		err = rows.Scan(&u.Room, &u.Participant)
		return u, err
	}, "SELECT p.room, p.id FROM participants p"+unreadJoins+
		" WHERE r.talked > $1 AND p.id > $2 AND p.seen < r.next - 1 AND "+waitsUnread+
		" AND EXISTS (SELECT 1 FROM messages m WHERE "+unreadBy+" AND m.at > $1 AND m.at < $3)"+
		" AND COALESCE(u.taken, 0) < "+s.clock+fmt.Sprintf(" - %d", unreadLease.Microseconds())+
		" AND COALESCE(u.mailed, 0) < CASE WHEN p.seen >= COALESCE(u.sent, 0) THEN CAST($3 AS BIGINT)"+
		" ELSE CAST($4 AS BIGINT) END"+
		" ORDER BY p.id LIMIT $5",
		micros(now.Add(-unreadFor)), after, micros(now.Add(-wait)), micros(now.Add(-unreadPause*wait)), unreadPage)
	if err != nil {
		return nil, fmt.Errorf("looking for unread words: %w", err)
	}
	return list, nil
}

// TakeUnread reserves the mail of a participant's unread words for the caller: of several relays, one gets it. The words
// are those after one offset, up to another. When SentUnread is not called, a relay can take it again after ten
// minutes. false: another relay sends it, or serves the room, or there is nothing any more.
func (s *Store) TakeUnread(ctx context.Context, relay string, u chat.Unread) (after, last int64, taken bool, err error) {
	err = s.tx(ctx, func(tx querier) error {
		taken = false
		var err error
		if last, err = s.newestFor(ctx, tx, relay, u.Room); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO unread (participant, sent) SELECT id, CAST(0 AS BIGINT)"+
			" FROM participants WHERE id = $1 ON CONFLICT DO NOTHING", u.Participant); err != nil {
			return err
		}
		var seen, sent, transcript int64
		err = tx.QueryRowContext(ctx, "SELECT p.seen, u.sent, COALESCE(t.sent, 0) FROM participants p"+unreadJoins+
			" WHERE p.id = $1 AND "+waitsUnread+" AND EXISTS (SELECT 1 FROM messages m WHERE "+unreadBy+")",
			u.Participant).Scan(&seen, &sent, &transcript)
		if err != nil {
			return known(err)
		}
		after = max(seen, sent, transcript)
		done, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE unread SET taken = %s WHERE participant = $1 AND taken < %s - %d",
			s.clock, s.clock, unreadLease.Microseconds()), u.Participant)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		taken = n == 1
		return err
	})
	if errors.Is(err, chat.ErrUnknown) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("taking unread words to mail: %w", err)
	}
	return after, last, taken, nil
}

// SentUnread notes that a participant has got the words up to offset; mailed: by a mail, and not because there were none
// that they should get.
func (s *Store) SentUnread(ctx context.Context, participant, offset int64, mailed bool) error {
	at := int64(0)
	if mailed {
		at = micros(time.Now())
	}
	_, err := s.write.ExecContext(ctx, "UPDATE unread SET sent = $1, taken = 0,"+
		" mailed = CASE WHEN CAST($2 AS BIGINT) > 0 THEN $2 ELSE mailed END WHERE participant = $3",
		offset, at, participant)
	if err != nil {
		return fmt.Errorf("noting that unread words were mailed: %w", err)
	}
	return nil
}

// StopUnread ends the mails of unread words to the recipient of an invite, or lets them go on. An invite that has
// expired does as well. ErrUnknown: there is no such invite.
func (s *Store) StopUnread(ctx context.Context, token string, stop bool) error {
	i, err := look(ctx, s.read, hash(token))
	if errors.Is(err, chat.ErrExpired) || errors.Is(err, chat.ErrRevoked) {
		err = nil
	}
	if err == nil {
		_, err = s.write.ExecContext(ctx, "INSERT INTO unread (sent, stop, participant) SELECT CAST(0 AS BIGINT),"+
			" CAST($1 AS BOOLEAN), id FROM participants WHERE id = $2"+
			" ON CONFLICT (participant) DO UPDATE SET stop = excluded.stop", stop, i.Recipient.ID)
	}
	if err != nil {
		return fmt.Errorf("stopping mails of unread words: %w", err)
	}
	return nil
}
