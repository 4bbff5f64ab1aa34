// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Memberships returns where a login or an address takes part, the oldest room
// first.
func (s *Store) Memberships(ctx context.Context, who string) ([]chat.Membership, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (m chat.Membership, err error) {
		err = rows.Scan(append([]any{&m.Room}, participantFields(&m.Participant)...)...)
		return m, err
	}, "SELECT p.room, "+participantColumns+" FROM participants p JOIN rooms r ON r.id = p.room"+
		" WHERE $1 <> '' AND (p.login = $1 OR p.addr = $1) ORDER BY r.created, r.id, p.id", fold(who))
	if err != nil {
		return nil, fmt.Errorf("reading a person's rooms: %w", err)
	}
	return list, nil
}

// Erase takes a person, by login or address, out of all conversations: their
// words become empty, their files belong to nobody, their name and address become
// ErasedName, and their links, settings and browsers are forgotten. The store still
// knows that the login was signed out. The messages of others stay. Each room gets
// a new epoch, so that clients that come back forget their copies; a room that is
// live meanwhile shows the others the old messages until they have left. A file goes from
// the relay's folder within two hours.
func (s *Store) Erase(ctx context.Context, who string) (e chat.Erased, err error) {
	list, err := s.Memberships(ctx, who)
	for _, m := range list {
		if err == nil {
			err = s.tx(ctx, func(tx querier) error { return s.eraseFrom(ctx, tx, m, &e) })
		}
		if err == nil {
			s.accessChanged(m.Room)
		}
	}
	if err == nil {
		err = s.tx(ctx, func(tx querier) error {
			for _, query := range []string{
				"UPDATE logins SET settings = '{}' WHERE login = $1",
				"DELETE FROM logins WHERE login = $1 AND signed_out = 0",
				"DELETE FROM subscriptions WHERE login = $1",
				"DELETE FROM blocks WHERE login = $1 OR who = $1", "DELETE FROM members WHERE login = $1",
				"DELETE FROM team_notes WHERE login = $1", "DELETE FROM labels WHERE owner = $1",
				"DELETE FROM dismissals WHERE login = $1",
				"UPDATE participants SET assignee = '' WHERE assignee = $1"} {
				if _, err := tx.ExecContext(ctx, query, fold(who)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return e, fmt.Errorf("erasing a person: %w", err)
	}
	return e, nil
}

func (s *Store) eraseFrom(ctx context.Context, tx querier, m chat.Membership, e *chat.Erased) error {
	if err := s.lockRoom(ctx, tx, m.Room); err != nil {
		return err
	}
	var done chat.Erased
	do := func(count *int64, query string, args ...any) error {
		result, err := tx.ExecContext(ctx, query, args...)
		if err == nil && count != nil {
			*count, err = result.RowsAffected()
		}
		return err
	}
	for _, step := range []struct {
		count *int64
		query string
		args  []any
	}{
		{&done.Files, "DELETE FROM files WHERE room = $1 AND pos IN (SELECT m.pos FROM messages m" +
			" WHERE m.room = $1 AND m.sender = $2)", []any{m.Room, m.ID}},
		{&done.Messages, "UPDATE messages SET body = '', edited = 0, deleted = TRUE WHERE room = $1 AND sender = $2" +
			" AND kind IN ('text', 'file') AND NOT deleted", []any{m.Room, m.ID}},
		{nil, "UPDATE messages SET body = '' WHERE room = $1 AND sender = $2 AND kind = 'mail'", []any{m.Room, m.ID}},
		// With a declined call come the words of who declined it.
		{nil, "UPDATE messages SET body = 'declined' WHERE room = $1 AND sender = $2 AND kind = 'note'" +
			" AND body LIKE $3", []any{m.Room, m.ID, "declined\n%"}},
		{nil, "UPDATE attempts SET words = '' WHERE room = $1 AND callee = $2", []any{m.Room, m.ID}},
		{nil, "UPDATE attempts SET tell = FALSE WHERE room = $1 AND caller = $2", []any{m.Room, m.ID}},
		{nil, "DELETE FROM invites WHERE room = $1 AND recipient = $2", []any{m.Room, m.ID}},
		{nil, "UPDATE invites SET subject = '', revoked = TRUE WHERE room = $1 AND callee = $2", []any{m.Room, m.ID}},
		{nil, "DELETE FROM claims WHERE participant = $1", []any{m.ID}},
		{nil, "DELETE FROM transcripts WHERE participant = $1", []any{m.ID}},
		{nil, "DELETE FROM unread WHERE participant = $1", []any{m.ID}},
		{nil, "DELETE FROM blocks WHERE who = $1", []any{fmt.Sprintf("#%d", m.ID)}},
		{nil, "UPDATE rooms SET subject = CASE WHEN owner = $1 THEN '' ELSE subject END, epoch = $2 WHERE id = $3",
			[]any{m.ID, secret(8), m.Room}},
		{nil, "UPDATE participants SET login = '', addr = $1, name = $1 WHERE id = $2", []any{chat.ErasedName, m.ID}},
	} {
		if err := do(step.count, step.query, step.args...); err != nil {
			return err
		}
	}
	e.Rooms++
	e.Messages += done.Messages
	e.Files += done.Files
	return nil
}
