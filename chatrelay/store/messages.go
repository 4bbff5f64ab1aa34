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
// A time in At that is not in the future is kept. ErrFull: a text beyond its limit.
// ErrMoved: home, unless it is empty, is not the room's home any more.
func (s *Store) Append(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error) {
	type outcome struct {
		m   chat.Message
		err error
	}
	done := make(chan outcome, 1)
	s.AppendThen(ctx, home, roomID, m, func(m chat.Message, err error) { done <- outcome{m, err} })
	select {
	case o := <-done:
		return o.m, o.err
	case <-ctx.Done():
		return chat.Message{}, fmt.Errorf("appending a message: %w", ctx.Err())
	}
}

// AppendThen is Append that does not wait for the commit: then is called
// exactly once, with what Append would return. The store's writer calls it, so
// it must be quick, and must not wait for anything, the store least of all; it
// is called before AppendThen returns when the message cannot be queued.
// Messages of one caller are committed, and told, in the order of the calls.
// A message whose ctx ends before the writer comes to it is not stored. A caller
// that is told of a failed message ends the ctx of the later ones, so that none of
// them is stored before it.
func (s *Store) AppendThen(ctx context.Context, home, roomID string, m chat.Message, then func(chat.Message, error)) {
	ready, err := ready(m)
	if err != nil {
		then(appended(chat.Message{}, false, err))
		return
	}
	var stored chat.Message
	var repeated bool
	err = s.enqueue(&entry{
		ctx:  ctx,
		room: roomID,
		do: func(ctx context.Context, tx querier) (err error) {
			stored, repeated, err = s.put(ctx, tx, home, roomID, ready)
			return err
		},
		then: func(err error) { then(appended(stored, repeated, err)) },
	})
	if err != nil {
		then(appended(chat.Message{}, false, err))
	}
}

// appended counts the outcome of an append and returns it.
func appended(m chat.Message, repeated bool, err error) (chat.Message, error) {
	switch {
	case err == nil && repeated:
		appendsRepeated.Inc()
	case err == nil:
		appendsStored.Inc()
	case errors.Is(err, chat.ErrUnknown), errors.Is(err, chat.ErrMoved), errors.Is(err, chat.ErrFull):
		appendsRefused.Inc()
	default:
		appendsFailed.Inc()
	}
	if err != nil {
		return chat.Message{}, fmt.Errorf("appending a message: %w", err)
	}
	return m, nil
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

// Statements of put. The first finds nothing when the message is refused or was
// stored before. It locks the room, so that offsets have no gaps whoever else
// writes. UPDATE … RETURNING does the same as the first two, and takes SQLite
// more time.
const (
	nextOffset = "SELECT r.next FROM rooms r WHERE r.id = $1 AND $2 IN ('', r.home)" +
		" AND (CAST($3 AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM participants p WHERE p.id = $3 AND p.room = $1))" +
		" AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.room = $1 AND m.sender = $3 AND m.id = $4)"
	raiseOffset   = "UPDATE rooms SET next = $1, touched = $2 WHERE id = $3"
	raiseTalked   = "UPDATE rooms SET next = $1, touched = $2, talked = $2 WHERE id = $3"
	insertMessage = "INSERT INTO messages (room, pos, id, sender, kind, body, at, via, ref)" +
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)

// put stores a ready message.
func (s *Store) put(
	ctx context.Context, tx querier, home, roomID string, m chat.Message,
) (_ chat.Message, repeated bool, err error) {
	now := micros(time.Now())
	at := now
	if !m.At.IsZero() {
		at = min(at, micros(m.At))
	}
	m.At = moment(at)
	err = tx.QueryRowContext(ctx, nextOffset+s.forUpdate, roomID, home, m.From, m.ID).Scan(&m.Offset)
	if errors.Is(err, sql.ErrNoRows) {
		return stored(ctx, tx, roomID, m)
	}
	if err != nil {
		return m, false, err
	}
	raise := raiseOffset
	if m.Kind == chat.KindText || m.Kind == chat.KindFile {
		raise = raiseTalked
	}
	if _, err = tx.ExecContext(ctx, raise, m.Offset+1, now, roomID); err != nil {
		return m, false, err
	}
	if m.Ref != 0 {
		if m.Ref, err = answered(ctx, tx, roomID, m.Ref); err != nil {
			return m, false, err
		}
	}
	_, err = tx.ExecContext(ctx, insertMessage, roomID, m.Offset, m.ID, m.From, m.Kind, m.Text, at, m.Via, m.Ref)
	return m, false, err
}

// answered returns the offset of a message that another one answers; 0: there is
// none that can be answered.
func answered(ctx context.Context, tx querier, roomID string, ref int64) (int64, error) {
	err := tx.QueryRowContext(ctx, "SELECT m.pos FROM messages m WHERE m.room = $1 AND m.pos = $2"+
		" AND m.kind IN ('text', 'file')", roomID, ref).Scan(&ref)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return ref, err
}

// stored returns the message that was stored before, of the room, From and ID
// of m, or why m cannot be stored: ErrUnknown, or else ErrMoved.
func stored(ctx context.Context, tx querier, roomID string, m chat.Message) (_ chat.Message, repeated bool, err error) {
	var from, offset, at, ref sql.NullInt64
	var kind, text sql.NullString
	err = tx.QueryRowContext(ctx, "SELECT p.id, m.pos, m.kind, m.body, m.at, m.ref FROM rooms r"+
		" LEFT JOIN participants p ON p.room = r.id AND p.id = $1"+
		" LEFT JOIN messages m ON m.room = r.id AND m.sender = $1 AND m.id = $2"+
		" WHERE r.id = $3", m.From, m.ID, roomID).Scan(&from, &offset, &kind, &text, &at, &ref)
	switch {
	case err != nil:
		return m, false, known(err)
	case m.From != 0 && !from.Valid:
		return m, false, chat.ErrUnknown
	case !offset.Valid:
		return m, false, chat.ErrMoved
	}
	m.Offset, m.Kind, m.Text, m.At, m.Ref = offset.Int64, kind.String, text.String, moment(at.Int64), ref.Int64
	return m, true, nil
}

// Messages returns up to limit messages of a room whose offset is greater
// than after, oldest first; a limit of 0 means 1000, the most one call gives.
func (s *Store) Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error) {
	list, err := collect(ctx, s.read, scanMessage,
		"SELECT "+messageColumns+" FROM messages m WHERE m.room = $1 AND m.pos > $2 ORDER BY m.pos LIMIT $3",
		roomID, after, page(limit))
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
// participant is not in the room. ErrMoved is as of Append.
func (s *Store) Seen(ctx context.Context, home, roomID string, participant, offset int64) error {
	err := s.share(ctx, roomID, func(ctx context.Context, tx querier) error {
		var next, seen int64
		var here bool
		err := tx.QueryRowContext(ctx, "SELECT r.next, p.seen, $1 IN ('', r.home) FROM rooms r"+
			" JOIN participants p ON p.room = r.id"+
			" WHERE r.id = $2 AND p.id = $3"+s.forUpdate, home, roomID, participant).Scan(&next, &seen, &here)
		switch {
		case err != nil:
			return known(err)
		case !here:
			return chat.ErrMoved
		case offset <= seen || offset >= next:
			return nil
		}
		_, err = tx.ExecContext(ctx, "UPDATE participants SET seen = $1 WHERE id = $2", offset, participant)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting what was seen: %w", err)
	}
	return nil
}

// SeenBy returns every participant's seen mark, by participant ID.
func (s *Store) SeenBy(ctx context.Context, roomID string) (map[int64]int64, error) {
	marks, err := collect(ctx, s.read, func(rows *sql.Rows) (mark [2]int64, err error) {
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
func collect[T any](
	ctx context.Context, q querier, scan func(*sql.Rows) (T, error), query string, args ...any,
) ([]T, error) {
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
