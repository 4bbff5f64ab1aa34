// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// takeOldJournal brings in what an older version that was killed has left
// in the journal that it kept beside the database, and removes the journal.
//
// The journal is two halves. Each holds records, one after the other: length
// (4 octets), CRC-32C of what follows (4), number (8), messages. Records up to
// the number in the table journal are in the database already.
func takeOldJournal(ctx context.Context, db *sql.DB, path string) error {
	path += "-redo"
	file, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	records := map[int64][]byte{}
	for _, half := range [][]byte{file[:len(file)/2], file[len(file)/2:]} {
		for len(half) > 16 {
			size := int64(binary.BigEndian.Uint32(half))
			if size == 0 || size > int64(len(half)-16) ||
				binary.BigEndian.Uint32(half[4:]) != crc32.Checksum(half[8:16+size],
					crc32.MakeTable(crc32.Castagnoli)) {
				break
			}
			records[int64(binary.BigEndian.Uint64(half[8:]))] = half[16 : 16+size]
			half = half[16+size:]
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	var last, newest int64
	if len(records) > 0 {
		if err := tx.QueryRowContext(ctx, "SELECT pos FROM journal").Scan(&last); err != nil {
			return fmt.Errorf("%s is the journal of another database than this one; move it away: %w", path, err)
		}
		newest = slices.Max(slices.Collect(maps.Keys(records)))
	}
	for ; last < newest; last++ {
		record := records[last+1]
		if record == nil {
			return fmt.Errorf("%s is the journal of a newer state of the database; move it away, or restore that state",
				path)
		}
		if err := takeOldRecord(ctx, tx, record); err != nil {
			return fmt.Errorf("reading record %d of %s: %w", last+1, path, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return errors.Join(os.Remove(path), syncFolder(filepath.Dir(path)))
}

// takeOldRecord stores the messages of a record. Each is its room, ID, kind and
// text, with their lengths as uvarints, and its offset, sender and time, as
// varints.
func takeOldRecord(ctx context.Context, tx querier, record []byte) error {
	for len(record) > 0 {
		var texts [4]string
		var numbers [3]int64
		for i := range texts {
			size, n := binary.Uvarint(record)
			if n <= 0 || size > uint64(len(record)-n) {
				return errors.New("a text is cut off")
			}
			texts[i], record = string(record[n:n+int(size)]), record[n+int(size):]
		}
		for i := range numbers {
			var n int
			if numbers[i], n = binary.Varint(record); n <= 0 {
				return errors.New("a number is cut off")
			}
			record = record[n:]
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO messages (room, id, kind, body, pos, sender, at)"+
			" SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM rooms WHERE id = $1)"+
			" ON CONFLICT DO NOTHING",
			texts[0], texts[1], texts[2], texts[3], numbers[0], numbers[1], numbers[2])
		if err == nil {
			_, err = tx.ExecContext(ctx, "UPDATE rooms SET next = MAX(next, $1),"+
				" touched = MAX(touched, $2) WHERE id = $3",
				numbers[0]+1, numbers[2], texts[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// syncFolder makes the names in a folder last.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
