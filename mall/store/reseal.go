// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// sealedColumns are where sealed texts are: each of a row whose ID, after a prefix, is
// what the text is about.
var sealedColumns = []struct{ table, id, text string }{
	{"members", "id", "sealed"}, {"orders", "id", "deliver"}, {"registrations", "hash", "sealed"},
}

// Reseal has do make a new text of each sealed one, and puts it in its place; one that do
// returns unchanged stays. A text that somebody changes meanwhile is theirs. It returns
// how many were changed.
func (s *Store) Reseal(ctx context.Context, do func(table, id, sealed string) (string, error)) (n int, err error) {
	const batch = 500
	for _, c := range sealedColumns {
		table, id, text := bun.Ident(c.table), bun.Ident(c.id), bun.Ident(c.text)
		for after := ""; ; {
			var rows []struct{ ID, Sealed string }
			err := s.rd.NewRaw("SELECT ? AS id, ? AS sealed FROM ? WHERE ? > ? AND ? <> '' ORDER BY ? LIMIT ?",
				id, text, table, id, after, text, id, batch).Scan(ctx, &rows)
			if err != nil {
				return n, fmt.Errorf("reading sealed texts: %w", err)
			}
			for _, row := range rows {
				after = row.ID
				fresh, err := do(c.table, row.ID, row.Sealed)
				if err == nil && fresh != row.Sealed {
					n++
					_, err = s.db.NewRaw("UPDATE ? SET ? = ? WHERE ? = ? AND ? = ?", table, text, fresh, id, row.ID,
						text,
						row.Sealed).Exec(ctx)
				}
				if err != nil {
					return n, fmt.Errorf("sealing anew: %w", err)
				}
			}
			if len(rows) < batch {
				break
			}
		}
	}
	return n, nil
}
