// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

const participantColumns = "p.id, p.login, p.addr, p.name, p.guest, p.hidden"

func participantFields(p *chat.Participant) []any {
	return []any{&p.ID, &p.Login, &p.Addr, &p.Name, &p.Guest, &p.Hidden}
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

// ByLogin returns up to limit of a login's conversations, the one with the
// newest message first. To read on, before is the time of the last one's
// newest message; the zero time begins at the newest.
func (s *Store) ByLogin(ctx context.Context, login string, limit int, before time.Time) ([]chat.Summary, error) {
	until := before
	if until.IsZero() {
		until = time.Now().AddDate(1, 0, 0)
	}
	list, err := collect(ctx, s.read, summary,
		"SELECT r.id, r.epoch, r.next, r.subject, r.created, r.owner, p.id, p.muted,"+
			" (SELECT COUNT(*) FROM messages u WHERE u.room = r.id AND u.pos > p.seen AND u.sender <> p.id AND "+
			isLine("u")+" AND NOT u.deleted),"+
			" m.pos, m.id, m.sender, m.kind, m.body, m.at, m.edited, m.deleted, m.via"+
			" FROM participants p JOIN rooms r ON r.id = p.room LEFT JOIN messages m ON m.room = r.id AND m.pos ="+
			" (SELECT l.pos FROM messages l WHERE l.room = r.id AND "+isLine("l")+" ORDER BY l.pos DESC LIMIT 1)"+
			" WHERE p.login = $1 AND p.login <> '' AND NOT p.guest AND r.touched < $2"+
			" ORDER BY r.touched DESC, r.id LIMIT $3",
		fold(login), micros(until), page(limit))
	for i := range list {
		if err == nil {
			list[i].Participants, err = participants(ctx, s.read, list[i].ID)
		}
		if m := list[i].Last; err == nil && m != nil && m.Kind == chat.KindFile {
			m.File, err = s.fileAt(ctx, list[i].ID, m.Offset)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the conversations of a login: %w", err)
	}
	return list, nil
}

// summary scans a row of ByLogin.
func summary(rows *sql.Rows) (c chat.Summary, err error) {
	var created int64
	var offset, from, at, edited sql.NullInt64
	var id, kind, text, via sql.NullString
	var deleted sql.NullBool
	err = rows.Scan(&c.ID, &c.Epoch, &c.Next, &c.Subject, &created, &c.Owner, &c.Me, &c.Muted, &c.Unread,
		&offset, &id, &from, &kind, &text, &at, &edited, &deleted, &via)
	c.Created = moment(created)
	if offset.Valid {
		c.Last = &chat.Message{Offset: offset.Int64, ID: id.String, From: from.Int64, Kind: kind.String,
			Text: text.String, At: moment(at.Int64),
			Edited: moment(edited.Int64), Deleted: deleted.Bool, Via: via.String}
	}
	return c, err
}
