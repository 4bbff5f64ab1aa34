// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/chmail/chmail/chatrelay/chat"
)

const fileColumns = "f.pos, f.id, f.folder, f.name, f.type, f.size, f.octets, f.width, f.height, f.thumb"

func scanFile(rows *sql.Rows) (f chat.File, pos int64, err error) {
	err = rows.Scan(&pos, &f.ID, &f.Folder, &f.Name, &f.Type, &f.Size, &f.Octets, &f.Width, &f.Height, &f.Thumb)
	return f, pos, err
}

func putFile(ctx context.Context, tx querier, roomID string, offset int64, f chat.File) error {
	_, err := tx.ExecContext(ctx,
		"INSERT INTO files (room, pos, id, folder, name, type, size, octets, width, height, thumb)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		roomID, offset, f.ID, f.Folder, f.Name, f.Type, f.Size, f.Octets, f.Width, f.Height, f.Thumb)
	return err
}

// File returns the file of a room that has this ID and came with the message at an
// offset, from since on; at 0 stands for the newest message. The same octets may have
// another name in another message. ErrUnknown: there is none, or it was deleted.
func (s *Store) File(ctx context.Context, roomID, id string, since, at int64) (chat.File, error) {
	return s.file(ctx, "f.id = $2 AND f.pos >= $3 AND CAST($4 AS BIGINT) IN (0, f.pos)", roomID, id, since, at)
}

// fileAt is the file of one message; nil: it has been deleted.
func (s *Store) fileAt(ctx context.Context, roomID string, offset int64) (*chat.File, error) {
	f, err := s.file(ctx, "f.pos = $2", roomID, offset)
	if errors.Is(err, chat.ErrUnknown) {
		return nil, nil
	}
	return &f, err
}

func (s *Store) file(ctx context.Context, where string, args ...any) (chat.File, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (chat.File, error) {
		f, _, err := scanFile(rows)
		return f, err
	}, "SELECT "+fileColumns+" FROM files f WHERE f.room = $1 AND "+where+" ORDER BY f.pos DESC LIMIT 1", args...)
	if err == nil && len(list) == 0 {
		err = chat.ErrUnknown
	}
	if err != nil {
		return chat.File{}, fmt.Errorf("reading a file's name: %w", err)
	}
	return list[0], nil
}

// FileOctets returns how many octets a room's files take.
func (s *Store) FileOctets(ctx context.Context, roomID string) (n int64, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT CAST(COALESCE(SUM(octets), 0) AS BIGINT)"+
		" FROM files WHERE room = $1", roomID).Scan(&n)
	if err != nil {
		err = fmt.Errorf("counting a room's files: %w", err)
	}
	return n, err
}

// HasFile says whether some room has a file that a relay's folder keeps.
func (s *Store) HasFile(ctx context.Context, folder, id string) (has bool, err error) {
	// From the connection that writes: what was recorded just now counts.
	err = s.write.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM files WHERE id = $1 AND folder = $2)",
		id, folder).Scan(&has)
	if err != nil {
		err = fmt.Errorf("looking for whose a file is: %w", err)
	}
	return has, err
}
