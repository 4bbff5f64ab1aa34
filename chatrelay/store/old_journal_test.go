// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/sqldb"
)

// oldRecord is a record of an older version's journal.
func oldRecord(seq int64, room string, offset int64, texts ...string) []byte {
	b := make([]byte, 16)
	for i, text := range texts {
		for _, s := range []string{room, "id-" + text, chat.KindNote, text} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
		for _, n := range []int64{offset + int64(i), 0, 1e15} {
			b = binary.AppendVarint(b, n)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-16))
	binary.BigEndian.PutUint64(b[8:], uint64(seq))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestOldJournal: what an older version has acknowledged, and had not brought
// into the database when it was killed, is in the room after an update.
func TestOldJournal(t *testing.T) {
	t.Parallel()
	// killed makes a database and a journal as an older version leaves them:
	// record 7, of two messages, is in the database, and later ones are not.
	killed := func(t *testing.T, halves func(room string) (first, second []byte)) (path, room string) {
		path = filepath.Join(t.TempDir(), "rooms.db")
		s := open(t, "sqlite:"+path)
		room = must(s.OpenFromMail(ctx, hello("1@x")))(t).Room
		for _, text := range []string{"a", "b"} {
			must(s.Append(ctx, "", room, chat.Message{ID: "id-" + text, Kind: chat.KindNote, Text: text}))(t)
		}
		must(must(migrations(s.write, sqldb.SQLite, "migrations/sqlite"))(t).DownTo(ctx, 5))(t)
		must(s.write.Exec("UPDATE journal SET pos = 7"))(t)
		ok(t, s.Close())
		file := make([]byte, 1<<16)
		first, second := halves(room)
		copy(file, first)
		copy(file[len(file)/2:], second)
		ok(t, os.WriteFile(path+"-redo", file, 0o600))
		return path, room
	}
	for name, test := range map[string]struct {
		halves func(room string) (first, second []byte)
		want   []string // after a, b and the message that the test appends; nil: Open refuses
	}{
		"clean stop": {func(r string) ([]byte, []byte) {
			return oldRecord(7, r, 2, "a", "b"), nil
		}, []string{"a", "b"}},
		"killed": {func(r string) ([]byte, []byte) {
			return slices.Concat(oldRecord(7, r, 2, "a", "b"), oldRecord(8, r, 4, "c"),
				oldRecord(9, r, 5, "d", "e")), nil
		}, []string{"a", "b", "c", "d", "e"}},
		"second half is older": {func(r string) ([]byte, []byte) {
			return slices.Concat(oldRecord(8, r, 4, "c"), oldRecord(9, r, 5, "d")),
				slices.Concat(oldRecord(6, r, 1, "x"), oldRecord(7, r, 2, "a", "b"))
		}, []string{"a", "b", "c", "d"}},
		"torn record": {func(r string) ([]byte, []byte) {
			torn := oldRecord(9, r, 5, "d")
			torn[len(torn)-1] ^= 1
			return slices.Concat(oldRecord(8, r, 4, "c"), torn), nil
		}, []string{"a", "b", "c"}},
		"older database": {func(r string) ([]byte, []byte) { return oldRecord(9, r, 5, "d"), nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, room := killed(t, test.halves)
			if test.want == nil {
				if _, err := Open(ctx, Options{DSN: "sqlite:" + path}); err == nil ||
					!strings.Contains(err.Error(), "newer state") {
					t.Fatalf("opened beside a newer journal: %v", err)
				}
				must(os.Stat(path + "-redo"))(t)
				return
			}
			s := open(t, "sqlite:"+path)
			must(s.Append(ctx, "", room, chat.Message{Kind: chat.KindNote, Text: "new"}))(t)
			if got, want := texts(t, s, room), append(test.want, "new"); !slices.Equal(got, want) {
				t.Fatalf("the room has %q, want %q", got, want)
			}
			if _, err := os.Stat(path + "-redo"); err == nil {
				t.Error("the journal is still there")
			}
		})
	}
}
