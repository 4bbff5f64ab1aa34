// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// maxPrograms is how many computers of a login are listed; beyond, the one seen longest
// ago is left out until it is seen again.
const maxPrograms = 100

// SawProgram notes that the program of a session is here, and from which address.
func (s *Store) SawProgram(ctx context.Context, session chat.Session, addr string) error {
	login := fold(session.Login)
	err := s.tx(ctx, func(tx querier) error {
		// A session that has ended meanwhile does not come back.
		_, err := tx.ExecContext(ctx, "INSERT INTO programs (id, login, name, made, seen, addr)"+
			" SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM ended_sessions WHERE id = $1)"+
			" ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, addr = excluded.addr",
			session.ID, login, session.Device, micros(session.Began), micros(time.Now()), addr)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM programs WHERE login = $1 AND id NOT IN"+
				" (SELECT id FROM programs WHERE login = $1 ORDER BY seen DESC LIMIT $2)", login, maxPrograms)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("noting a program: %w", err)
	}
	return nil
}

// Programs lists the computers of a login, the one seen last first.
func (s *Store) Programs(ctx context.Context, login string) (list []chat.Program, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id, name, made, seen, addr FROM programs WHERE login = $1"+
		" ORDER BY seen DESC", fold(login))
	if err != nil {
		return nil, fmt.Errorf("listing programs: %w", err)
	}
	defer rows.Close()
	list = []chat.Program{}
	for rows.Next() {
		var p chat.Program
		var made, seen int64
		if err := rows.Scan(&p.ID, &p.Name, &made, &seen, &p.Addr); err != nil {
			return nil, fmt.Errorf("listing programs: %w", err)
		}
		p.Made, p.Seen = time.UnixMicro(made).UTC(), time.UnixMicro(seen).UTC()
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing programs: %w", err)
	}
	return list, nil
}

// UseCode uses a code, which would end by itself when it expires; false: it was used before.
func (s *Store) UseCode(ctx context.Context, id string, expires time.Time) (first bool, err error) {
	err = s.tx(ctx, func(tx querier) error {
		done, err := tx.ExecContext(ctx, "INSERT INTO used_codes (id, expires) VALUES ($1, $2) ON CONFLICT DO NOTHING",
			id, micros(expires))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		first = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("using a code: %w", err)
	}
	return first, nil
}

// ReturnCode makes a code good again whose use came to nothing.
func (s *Store) ReturnCode(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx querier) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM used_codes WHERE id = $1", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("giving a code back: %w", err)
	}
	return nil
}
