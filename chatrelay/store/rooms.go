// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/chmail/chmail/chatrelay/chat"
)

const participantColumns = "p.id, p.login, p.addr, p.name, p.guest, p.hidden, p.removed"

func participantFields(p *chat.Participant) []any {
	return []any{&p.ID, &p.Login, &p.Addr, &p.Name, &p.Guest, &p.Hidden, &p.Removed}
}

// participants returns a room's participants in the order they came.
func participants(ctx context.Context, q querier, roomID string) ([]chat.Participant, error) {
	return collect(ctx, q, func(rows *sql.Rows) (p chat.Participant, err error) {
		err = rows.Scan(participantFields(&p)...)
		return p, err
	}, "SELECT "+participantColumns+" FROM participants p WHERE p.room = $1 ORDER BY p.id", roomID)
}

// Reveal makes a hidden participant known to the others. ErrMoved: home,
// unless it is empty, is not the room's home any more.
func (s *Store) Reveal(ctx context.Context, home, roomID string, participant int64) error {
	err := s.tx(ctx, func(tx querier) error {
		if err := s.fence(ctx, tx, home, roomID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE participants SET hidden = FALSE WHERE id = $1 AND room = $2",
			participant, roomID)
		return err
	})
	if err != nil {
		return fmt.Errorf("revealing a participant: %w", err)
	}
	return nil
}

// Info returns a room without its messages. ErrUnknown: no such room.
func (s *Store) Info(ctx context.Context, roomID string) (chat.Info, error) {
	var i chat.Info
	var created int64
	err := s.read.QueryRowContext(ctx, "SELECT id, epoch, next, subject, created, owner"+
		" FROM rooms WHERE id = $1", roomID).
		Scan(&i.ID, &i.Epoch, &i.Next, &i.Subject, &created, &i.Owner)
	if err == nil {
		i.Created = moment(created)
		i.Participants, err = participants(ctx, s.read, roomID)
	}
	if err != nil {
		return chat.Info{}, fmt.Errorf("reading a room: %w", known(err))
	}
	return i, nil
}

// Member returns the participant a login is in a room. ErrUnknown: it is not
// in that room.
func (s *Store) Member(ctx context.Context, login, roomID string) (chat.Participant, error) {
	p, err := member(ctx, s.read, login, roomID)
	if err != nil {
		return chat.Participant{}, fmt.Errorf("reading a participant: %w", err)
	}
	return p, nil
}

func member(ctx context.Context, q querier, login, roomID string) (p chat.Participant, err error) {
	err = q.QueryRowContext(ctx, "SELECT "+participantColumns+" FROM participants p"+
		" WHERE p.login = $1 AND p.login <> '' AND p.room = $2 AND NOT p.guest",
		fold(login), roomID).Scan(participantFields(&p)...)
	return p, known(err)
}
