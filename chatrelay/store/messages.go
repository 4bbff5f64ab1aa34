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

// Append stores a message as the newest of its room and returns it with its
// offset and time once it is committed. A message whose room, From and ID
// were stored before is not stored again: the first one comes back. An empty
// ID gets a random one. ErrUnknown: no such room, or From is not in it.
// ErrFull: a text beyond its limit. ErrMoved: home, unless it is empty, is not
// the room's home any more.
func (s *Store) Append(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error) {
	e, err := s.appending(ctx, home, roomID, m)
	if err == nil {
		err = s.hand(e)
	}
	return e.appended(err)
}

// AppendThen is Append that does not wait: then is told, exactly once, when the
// message is committed or is not. Messages of one caller get their offsets in
// the order of the calls, and the calls of then may come in another. It may be
// called before AppendThen returns, and no lock may be held for it. When ctx
// ends before the message's turn it is not stored.
func (s *Store) AppendThen(ctx context.Context, home, roomID string, m chat.Message, then func(chat.Message, error)) {
	e, err := s.appending(ctx, home, roomID, m)
	if err == nil {
		e.then = func(err error) { then(e.appended(err)) }
		err = s.enqueue(e)
	}
	if err != nil {
		then(e.appended(err))
	}
}

func (s *Store) appending(ctx context.Context, home, roomID string, m chat.Message) (*entry, error) {
	m, err := ready(m)
	if err != nil {
		return nil, err
	}
	a := &appending{home: home, m: m}
	return &entry{ctx: ctx, room: roomID, append: a, do: func(ctx context.Context, tx querier) (err error) {
		a.m, a.repeated, err = put(ctx, tx, home, roomID, m)
		return err
	}}, nil
}

// appended is what Append answers after err.
func (e *entry) appended(err error) (chat.Message, error) {
	switch {
	case err == nil && e.append.repeated:
		appendsRepeated.Inc()
	case err == nil:
		appendsStored.Inc()
	case e == nil, errors.Is(err, chat.ErrUnknown), errors.Is(err, chat.ErrMoved):
		appendsRefused.Inc()
	default:
		appendsFailed.Inc()
	}
	if err != nil {
		return chat.Message{}, fmt.Errorf("appending a message: %w", err)
	}
	return e.append.m, nil
}

// ready checks a message before it is queued.
func ready(m chat.Message) (_ chat.Message, err error) {
	if m.ID == "" {
		m.ID = secret(16)
	}
	if m.ID, err = whole("message id", m.ID, chat.MaxMessageID); err != nil {
		return m, err
	}
	if m.Kind, err = whole("kind", m.Kind, maxState); err != nil {
		return m, err
	}
	m.Text, err = whole("text", m.Text, chat.MaxText)
	return m, err
}

// put stores a ready message. Raising the room's next offset locks the room,
// so offsets have no gaps whoever else writes.
func put(ctx context.Context, tx querier, home, roomID string, m chat.Message) (_ chat.Message, repeated bool, err error) {
	var from, offset, at sql.NullInt64
	var kind, text sql.NullString
	err = tx.QueryRowContext(ctx, "SELECT p.id, m.pos, m.kind, m.body, m.at FROM rooms r"+
		" LEFT JOIN participants p ON p.room = r.id AND p.id = $1"+
		" LEFT JOIN messages m ON m.room = r.id AND m.sender = $1 AND m.id = $2"+
		" WHERE r.id = $3", m.From, m.ID, roomID).Scan(&from, &offset, &kind, &text, &at)
	if errors.Is(err, sql.ErrNoRows) || err == nil && m.From != 0 && !from.Valid {
		return m, false, chat.ErrUnknown
	}
	if err != nil {
		return m, false, err
	}
	if offset.Valid {
		m.Offset, m.Kind, m.Text, m.At = offset.Int64, kind.String, text.String, moment(at.Int64)
		return m, true, nil
	}
	now := micros(time.Now())
	m.At = moment(now)
	err = tx.QueryRowContext(ctx, "UPDATE rooms SET next = next + 1, touched = $1 WHERE id = $2 AND $3 IN ('', home) RETURNING next - 1",
		now, roomID, home).Scan(&m.Offset)
	if errors.Is(err, sql.ErrNoRows) {
		return m, false, chat.ErrMoved
	}
	if err != nil {
		return m, false, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO messages (room, pos, id, sender, kind, body, at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		roomID, m.Offset, m.ID, m.From, m.Kind, m.Text, now)
	return m, false, err
}

// Messages returns up to limit messages of a room whose offset is greater
// than after, oldest first; a limit of 0 means 1000, the most one call gives.
func (s *Store) Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error) {
	list, err := collect(ctx, s.talk, scanMessage,
		"SELECT "+messageColumns+" FROM messages m WHERE m.room = $1 AND m.pos > $2 ORDER BY m.pos LIMIT $3", roomID, after, page(limit))
	if err == nil {
		err = s.fold(ctx, roomID, list)
	}
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	return list, nil
}

// Seen notes that a participant has read everything up to offset. The mark
// only rises; an offset the room has not reached is ignored. ErrUnknown: the
// participant is not in the room. A crash may forget the last moment's marks.
func (s *Store) Seen(ctx context.Context, roomID string, participant, offset int64) error {
	note := s.markShared
	if s.redo != nil {
		note = s.redo.mark
	}
	if err := note(ctx, roomID, participant, offset); err != nil {
		return fmt.Errorf("noting what was seen: %w", err)
	}
	return nil
}

func (s *Store) markShared(ctx context.Context, roomID string, participant, offset int64) error {
	return s.share(ctx, roomID, func(ctx context.Context, tx querier) error {
		var next, seen int64
		err := tx.QueryRowContext(ctx, "SELECT r.next, p.seen FROM rooms r JOIN participants p ON p.room = r.id"+
			" WHERE r.id = $1 AND p.id = $2"+s.forUpdate, roomID, participant).Scan(&next, &seen)
		if errors.Is(err, sql.ErrNoRows) {
			return chat.ErrUnknown
		}
		if err != nil || offset <= seen || offset >= next {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE participants SET seen = $1 WHERE id = $2", offset, participant)
		return err
	})
}

// SeenBy returns every participant's seen mark, by participant ID.
func (s *Store) SeenBy(ctx context.Context, roomID string) (map[int64]int64, error) {
	marks, err := collect(ctx, s.talk, func(rows *sql.Rows) (mark [2]int64, err error) {
		err = rows.Scan(&mark[0], &mark[1])
		return mark, err
	}, "SELECT id, seen FROM participants WHERE room = $1", roomID)
	if err != nil {
		return nil, fmt.Errorf("reading what was seen: %w", err)
	}
	seen := make(map[int64]int64, len(marks))
	for _, m := range marks {
		seen[m[0]] = m[1]
	}
	return seen, nil
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}
