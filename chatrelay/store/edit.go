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

const messageColumns = "m.pos, m.id, m.sender, m.kind, m.body, m.at, m.ref, m.edited, m.deleted, m.via"

func scanMessage(rows *sql.Rows) (m chat.Message, err error) {
	var at, edited int64
	err = rows.Scan(&m.Offset, &m.ID, &m.From, &m.Kind, &m.Text, &at, &m.Ref, &edited, &m.Deleted, &m.Via)
	m.At, m.Edited = moment(at), moment(edited)
	return m, err
}

// isLine is the condition that a message is a line of the conversation, and
// not a change of one.
func isLine(table string) string { return table + ".kind NOT IN ('edit', 'delete')" }

// fold completes messages that were read in the order of their offsets: an
// edit says what its message says now, a file has its name.
func (s *Store) fold(ctx context.Context, roomID string, list []chat.Message) error {
	var edits, files bool
	at := make(map[int64]*chat.Message, len(list))
	for i := range list {
		edits = edits || list[i].Kind == chat.KindEdit
		files = files || list[i].Kind == chat.KindFile && !list[i].Deleted
		at[list[i].Offset] = &list[i]
	}
	if !edits && !files {
		return nil
	}
	first, last := list[0].Offset, list[len(list)-1].Offset
	if edits {
		_, err := collect(ctx, s.read, func(rows *sql.Rows) (none struct{}, err error) {
			var pos int64
			var text string
			var deleted bool
			err = rows.Scan(&pos, &text, &deleted)
			if m := at[pos]; m != nil {
				m.Text, m.Deleted = text, deleted
			}
			return none, err
		}, "SELECT e.pos, m.body, m.deleted FROM messages e JOIN messages m ON m.room = e.room AND m.pos = e.ref"+
			" WHERE e.room = $1 AND e.pos BETWEEN $2 AND $3 AND e.kind = 'edit'", roomID, first, last)
		if err != nil {
			return err
		}
	}
	if !files {
		return nil
	}
	_, err := collect(ctx, s.read, func(rows *sql.Rows) (f chat.File, err error) {
		var pos int64
		f, pos, err = scanFile(rows)
		if m := at[pos]; m != nil {
			m.File = &f
		}
		return f, err
	}, "SELECT "+fileColumns+" FROM files f WHERE f.room = $1 AND f.pos BETWEEN $2 AND $3", roomID, first, last)
	return err
}

// Change stores an edit or a delete, m.Kind says which, of the message at
// m.Ref, and returns it once it is committed. With ViaLink only what was said via
// link from the offset since on can be changed. Sent again with the same ID it
// changes nothing. ErrForbidden: the message is not m.From's, is none that can
// be changed so, or has been deleted. ErrLate: it is too old to be edited.
// ErrUnknown, ErrFull and ErrMoved are as of Append.
func (s *Store) Change(
	ctx context.Context, home, roomID string, m chat.Message, since int64,
) (chat.Message, error) {
	m, err := ready(m)
	var refused error
	if err == nil {
		err = s.share(ctx, roomID, func(ctx context.Context, tx querier) (err error) {
			m.Offset, m.At, refused, err = s.alter(ctx, tx, home, roomID, m, since)
			return err
		})
	}
	if err == nil {
		err = refused
	}
	if err == nil && m.At.IsZero() { // it was stored before
		m, err = s.at(ctx, roomID, m.Offset)
	}
	if err != nil {
		return chat.Message{}, fmt.Errorf("changing a message: %w", err)
	}
	return m, nil
}

// alter does the work of Change in a transaction. What it refuses it has not
// begun, so that others' writes of the same commit stay.
func (s *Store) alter(
	ctx context.Context, tx querier, home, roomID string, m chat.Message, since int64,
) (offset int64, at time.Time, refused, err error) {
	var here bool
	err = tx.QueryRowContext(ctx, "SELECT $1 IN ('', home) FROM rooms WHERE id = $2"+
		s.forUpdate, home, roomID).Scan(&here)
	if err != nil {
		return 0, at, nil, known(err)
	}
	err = tx.QueryRowContext(ctx, "SELECT pos FROM messages WHERE room = $1 AND sender = $2 AND id = $3",
		roomID, m.From, m.ID).Scan(&offset)
	if !errors.Is(err, sql.ErrNoRows) {
		return offset, at, nil, err
	}
	if !here {
		return 0, at, nil, chat.ErrMoved
	}
	var sender, said int64
	var kind, via string
	var deleted bool
	err = tx.QueryRowContext(ctx, "SELECT sender, kind, deleted, at, via FROM messages"+
		" WHERE room = $1 AND pos = $2", roomID, m.Ref).
		Scan(&sender, &kind, &deleted, &said, &via)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, at, nil, err
	}
	now := time.Now()
	switch {
	case err != nil, sender != m.From, sender == 0, deleted,
		m.Via == chat.ViaLink && (via != m.Via || m.Ref < since),
		kind != chat.KindText && (kind != chat.KindFile || m.Kind != chat.KindDelete):
		return 0, at, chat.ErrForbidden, nil
	case m.Kind == chat.KindEdit && now.Sub(moment(said)) > chat.EditFor:
		return 0, at, chat.ErrLate, nil
	}
	err = tx.QueryRowContext(ctx, "UPDATE rooms SET next = next + 1 WHERE id = $1 RETURNING next - 1",
		roomID).Scan(&offset)
	if err == nil {
		_, err = tx.ExecContext(ctx, "INSERT INTO messages (room, pos, id, sender, kind, body, at, ref, via)"+
			" VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8)",
			roomID, offset, m.ID, m.From, m.Kind, micros(now), m.Ref, m.Via)
	}
	if err == nil && m.Kind == chat.KindEdit {
		_, err = tx.ExecContext(ctx, "UPDATE messages SET body = $1, edited = $2 WHERE room = $3 AND pos = $4",
			m.Text, micros(now), roomID, m.Ref)
	} else if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE messages SET body = '', edited = 0, deleted = TRUE"+
			" WHERE room = $1 AND pos = $2", roomID, m.Ref)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM files WHERE room = $1 AND pos = $2", roomID, m.Ref)
		}
	}
	return offset, moment(micros(now)), nil, err
}

// Post stores a message that may have a File, as Append stores others.
func (s *Store) Post(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error) {
	m, err := ready(m)
	var stored chat.Message
	var repeated bool
	if err == nil {
		err = s.share(ctx, roomID, func(ctx context.Context, tx querier) (err error) {
			stored, repeated, err = s.put(ctx, tx, home, roomID, m)
			if err != nil || repeated {
				return err
			}
			if m.File != nil {
				err = putFile(ctx, tx, roomID, stored.Offset, *m.File)
			}
			if err == nil && m.Via != chat.ViaLink {
				err = takeFor(ctx, tx, roomID, m.From)
			}
			return err
		})
	}
	if err == nil && repeated {
		stored, err = s.at(ctx, roomID, stored.Offset)
	}
	if err != nil {
		return chat.Message{}, fmt.Errorf("storing a message: %w", err)
	}
	return stored, nil
}

// at reads one message.
func (s *Store) at(ctx context.Context, roomID string, offset int64) (chat.Message, error) {
	list, err := s.Messages(ctx, roomID, offset-1, 1)
	if err == nil && len(list) == 0 {
		err = chat.ErrUnknown
	}
	if err != nil {
		return chat.Message{}, err
	}
	return list[0], nil
}
