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
	transcriptLease = 10 * time.Minute // a relay that sends a transcript may take so long; then another one may
	maxWish         = 64               // octets of a language or a zone
	stretchLooked   = 1000             // the most messages that stretch reads
)

// SetTranscriptPreference stores whether a participant wants transcripts by mail. The first
// transcript of a participant who asks for them anew begins with the current part
// of the conversation: the messages since the last pause of chat.Silence.
// ErrUnknown: the participant is not in that room. ErrMoved: home, unless it is
// empty, is not the room's home any more.
func (s *Store) SetTranscriptPreference(ctx context.Context, home, roomID string, w chat.TranscriptPreference) error {
	err := s.tx(ctx, func(tx querier) error {
		if err := s.fence(ctx, tx, home, roomID); err != nil {
			return err
		}
		if err := belongs(ctx, tx, roomID, w.Participant); err != nil {
			return err
		}
		sent, err := stretch(ctx, tx, roomID)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO transcripts (participant, room, wish, usual, lang, zone, sent)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7)"+
			" ON CONFLICT (participant) DO UPDATE SET wish = excluded.wish, usual = excluded.usual,"+
			" lang = excluded.lang, zone = excluded.zone,"+
			" sent = CASE WHEN transcripts.wish THEN transcripts.sent"+
			" WHEN transcripts.sent > excluded.sent THEN transcripts.sent ELSE excluded.sent END",
			w.Participant, roomID, w.On, w.Usual, chat.Storable(w.Lang, maxWish), chat.Storable(w.Zone, maxWish), sent)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting a wish for transcripts: %w", err)
	}
	return nil
}

// stretch returns the offset before the current part of the conversation, which
// begins after the last pause of chat.Silence.
func stretch(ctx context.Context, q querier, roomID string) (int64, error) {
	list, err := collect(ctx, q, func(rows *sql.Rows) (m chat.Message, err error) {
		var at int64
		err = rows.Scan(&m.Offset, &at)
		m.At = moment(at)
		return m, err
	}, "SELECT pos, at FROM messages WHERE room = $1 AND kind IN ('text', 'file') ORDER BY pos DESC LIMIT $2",
		roomID, stretchLooked)
	before := time.Now()
	for i, m := range list {
		if before.Sub(m.At) > chat.Silence {
			return m.Offset, err
		}
		before = m.At
		if i == stretchLooked-1 {
			return m.Offset - 1, err
		}
	}
	return 0, err
}

// TranscriptPreferences returns who of a room has said whether they want transcripts.
func (s *Store) TranscriptPreferences(ctx context.Context, roomID string) ([]chat.TranscriptPreference, error) {
	list, err := collect(ctx, s.read, scanWish,
		"SELECT participant, wish, usual, lang, zone, sent FROM transcripts WHERE room = $1"+
			" ORDER BY participant LIMIT $2", roomID, maxPage)
	if err != nil {
		return nil, fmt.Errorf("reading who wants transcripts: %w", err)
	}
	return list, nil
}

func scanWish(rows *sql.Rows) (w chat.TranscriptPreference, err error) {
	err = rows.Scan(&w.Participant, &w.On, &w.Usual, &w.Lang, &w.Zone, &w.Sent)
	return w, err
}

// QuietRooms returns rooms that have had no message since before, and in which a
// participant has yet to get a transcript: at most 100, beginning with the room
// that has been quiet for longest.
func (s *Store) QuietRooms(ctx context.Context, before time.Time) ([]string, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (id string, err error) {
		err = rows.Scan(&id)
		return id, err
	}, "SELECT r.id FROM rooms r WHERE r.touched < $1 AND EXISTS (SELECT 1 FROM transcripts t"+
		" WHERE t.room = r.id AND t.wish AND t.sent < r.next - 1"+
		" AND t.taken < "+s.clock+fmt.Sprintf(" - %d)", transcriptLease.Microseconds())+" ORDER BY r.touched LIMIT 100",
		micros(before))
	if err != nil {
		return nil, fmt.Errorf("looking for transcripts to send: %w", err)
	}
	return list, nil
}

// TakeTranscripts returns the participants of a room who are to get a transcript up
// to offset last, and reserves them: of several relays, one gets each. When
// SentTranscript is not called for a participant, a relay can take them again after
// ten minutes. The list is empty while another living relay is the room's home.
func (s *Store) TakeTranscripts(
	ctx context.Context, relay, roomID string,
) (list []chat.TranscriptPreference, last int64, err error) {
	err = s.tx(ctx, func(tx querier) error {
		var err error
		if last, err = s.newestFor(ctx, tx, relay, roomID); err != nil {
			return err
		}
		list, err = collect(ctx, tx, scanWish, fmt.Sprintf("UPDATE transcripts SET taken = %s"+
			" WHERE room = $1 AND wish AND sent < $2"+
			" AND taken < %s - %d RETURNING participant, wish, usual, lang, zone, sent",
			s.clock, s.clock, transcriptLease.Microseconds()), roomID, last)
		return err
	})
	if errors.Is(err, chat.ErrUnknown) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("taking transcripts to send: %w", err)
	}
	return list, last, nil
}

// newestFor locks a room for a relay and returns the offset of its newest message. ErrUnknown: there is no such
// room, or another relay, which is alive, serves it.
func (s *Store) newestFor(ctx context.Context, tx querier, relay, roomID string) (last int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT r.next - 1 FROM rooms r"+
		" WHERE r.id = $1 AND (r.home IN ('', $2) OR $2 = ''"+
		" OR NOT EXISTS (SELECT 1 FROM relays l WHERE l.name = r.home AND "+s.alive()+"))"+s.forUpdate,
		roomID, relay).Scan(&last)
	if err != nil {
		return 0, known(err)
	}
	return last, nil
}

// SentTranscript notes that a participant has got the messages up to offset.
func (s *Store) SentTranscript(ctx context.Context, participant, offset int64) error {
	_, err := s.write.ExecContext(ctx, "UPDATE transcripts SET sent = $1, taken = 0 WHERE participant = $2",
		offset, participant)
	if err != nil {
		return fmt.Errorf("noting that a transcript was sent: %w", err)
	}
	return nil
}
