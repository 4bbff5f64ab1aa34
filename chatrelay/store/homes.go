// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// relayKept is how long a relay is known after its last heartbeat: the pages it
// has served come to the others.
const relayKept = 24 * time.Hour

// Shared says whether several relays may use the database at once, as they
// may PostgreSQL. Then each must claim a room before it serves it.
func (s *Store) Shared() bool { return s.forUpdate != "" }

// alive is the condition that the relay l has sent a heartbeat of late. Times
// are the database's, so that no relay's clock counts.
func (s *Store) alive() string {
	return fmt.Sprintf("l.beat > %s - %d", s.clock, chat.RelayTTL.Microseconds())
}

// Beat records a relay's heartbeat, with its name and addresses.
func (s *Store) Beat(ctx context.Context, r chat.Relay) error {
	_, err := s.write.ExecContext(ctx, "INSERT INTO relays (name, origin, socket, drains, beat)"+
		" VALUES ($1, $2, $3, $4, "+s.clock+")"+
		" ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, socket = excluded.socket,"+
		" drains = excluded.drains, beat = excluded.beat",
		r.Name, r.Origin, r.Socket, r.Drains)
	if err != nil {
		return fmt.Errorf("sending a relay's heartbeat: %w", err)
	}
	return nil
}

// Quit ends a relay's heartbeats: its rooms are free at once.
func (s *Store) Quit(ctx context.Context, relay string) error {
	_, err := s.write.ExecContext(ctx, fmt.Sprintf("UPDATE relays SET beat = %s - %d WHERE name = $1",
		s.clock, chat.RelayTTL.Microseconds()), relay)
	if err != nil {
		return fmt.Errorf("signing a relay off: %w", err)
	}
	return nil
}

// Relays returns the relays that are alive, or were within a day, by name.
func (s *Store) Relays(ctx context.Context) ([]chat.Relay, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (r chat.Relay, err error) {
		err = rows.Scan(&r.Name, &r.Origin, &r.Socket, &r.Drains, &r.Alive)
		return r, err
	}, fmt.Sprintf("SELECT l.name, l.origin, l.socket, l.drains, %s FROM relays l"+
		" WHERE l.beat > %s - %d ORDER BY l.name LIMIT $1",
		s.alive(), s.clock, relayKept.Microseconds()), maxPage)
	if err != nil {
		return nil, fmt.Errorf("reading the relays: %w", err)
	}
	return list, nil
}

// Home returns the name of the living relay that serves a room; empty: none
// does. ErrUnknown: no such room.
func (s *Store) Home(ctx context.Context, roomID string) (home string, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT COALESCE(l.name, '') FROM rooms r"+
		" LEFT JOIN relays l ON l.name = r.home AND "+s.alive()+
		" WHERE r.id = $1", roomID).Scan(&home)
	if err != nil {
		return "", fmt.Errorf("reading a room's home: %w", known(err))
	}
	return home, nil
}

// ClaimHome makes a relay the home of a room, unless a living one is, and
// returns the name of the one that is now. ErrUnknown: no such room.
func (s *Store) ClaimHome(ctx context.Context, roomID, relay string) (home string, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT home FROM rooms WHERE id = $1", roomID).Scan(&home)
	if err != nil || home == relay {
		return home, s.claiming(err)
	}
	done, err := s.write.ExecContext(ctx, "UPDATE rooms SET home = $1 WHERE id = $2 AND (home IN ('', $1) OR"+
		" NOT EXISTS (SELECT 1 FROM relays l WHERE l.name = rooms.home AND "+s.alive()+"))", relay, roomID)
	if err != nil {
		return "", s.claiming(err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return relay, s.claiming(err)
	}
	err = s.write.QueryRowContext(ctx, "SELECT home FROM rooms WHERE id = $1", roomID).Scan(&home)
	return home, s.claiming(err)
}

func (s *Store) claiming(err error) error {
	if err != nil {
		return fmt.Errorf("claiming a room: %w", known(err))
	}
	return nil
}

// fence returns ErrMoved if home, unless it is empty, is not the room's home
// any more, and keeps the room's home as it is until the end of tx. Whatever
// a relay writes as the home of a room is fenced: one that was stopped, and
// continues when another has taken its rooms, writes nothing.
func (s *Store) fence(ctx context.Context, tx querier, home, roomID string) error {
	var here bool
	err := tx.QueryRowContext(ctx, "SELECT $1 IN ('', home) FROM rooms WHERE id = $2"+
		s.forUpdate, home, roomID).Scan(&here)
	if err == nil && !here {
		err = chat.ErrMoved
	}
	return known(err)
}

// LeaveHome ends a relay's being the home of a room.
func (s *Store) LeaveHome(ctx context.Context, roomID, relay string) error {
	if _, err := s.write.ExecContext(ctx, "UPDATE rooms SET home = '' WHERE id = $1 AND home = $2",
		roomID, relay); err != nil {
		return fmt.Errorf("leaving a room: %w", err)
	}
	return nil
}
