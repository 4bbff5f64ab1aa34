// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// texts are what a room's people have said.
func texts(t testing.TB, s *Store, roomID string) (list []string) {
	t.Helper()
	var after int64 = 1 // the mail
	for {
		page := must(s.Messages(ctx, roomID, after, 0))(t)
		if len(page) == 0 {
			return list
		}
		for _, m := range page {
			if m.Offset != after+1 {
				t.Fatalf("offset %d after %d", m.Offset, after)
			}
			list, after = append(list, m.Text), m.Offset
		}
	}
}

// crashed returns a copy of a store's files as they are now, which is what a
// kill would leave. Nothing may write meanwhile.
func crashed(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"rooms.db", "rooms.db-wal", "rooms.db" + JournalSuffix} {
		ok(t, os.WriteFile(filepath.Join(to, name), must(os.ReadFile(filepath.Join(dir, name)))(t), 0o600))
	}
	return to
}

// stalled keeps the journal from being brought into the database.
func stalled(t testing.TB, s *Store) (end func()) {
	s.redo.applying.Lock()
	return sync.OnceFunc(s.redo.applying.Unlock)
}

func say(t testing.TB, s *Store, roomID string, n int) (said []string) {
	t.Helper()
	for i := range n {
		text := fmt.Sprintf("%d %s", i, secret(3))
		must(s.Append(ctx, "", roomID, chat.Message{Kind: chat.KindNote, Text: text}))(t)
		said = append(said, text)
	}
	return said
}

// TestJournalAfterCrash: what was acknowledged is there, whether or not it had
// come into the database; a record that was cut off is not.
func TestJournalAfterCrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "sqlite:"+filepath.Join(dir, "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	said := say(t, s, o.Room, 20)
	if got := texts(t, s, o.Room); !slices.Equal(got, said) { // brings them in
		t.Fatalf("%d messages, want %d", len(got), len(said))
	}
	end := stalled(t, s)
	defer end()
	said = append(said, say(t, s, o.Room, 5)...) // over the oldest records
	twice := must(s.Append(ctx, "", o.Room, chat.Message{ID: "twice", Kind: chat.KindNote, Text: "twice"}))(t)
	if again := must(s.Append(ctx, "", o.Room, chat.Message{ID: "twice", Kind: chat.KindNote, Text: "thrice"}))(t); again != twice {
		t.Fatalf("sent again: %+v, want %+v", again, twice)
	}
	said = append(said, "twice")

	copied := crashed(t, dir)
	whole := must(os.ReadFile(filepath.Join(copied, "rooms.db"+JournalSuffix)))(t)
	after := open(t, "sqlite:"+filepath.Join(copied, "rooms.db"))
	if got := texts(t, after, o.Room); !slices.Equal(got, said) {
		t.Fatalf("after a kill: %q, want %q", got, said)
	}
	if again := must(after.Append(ctx, "", o.Room, chat.Message{ID: "twice", Kind: chat.KindNote}))(t); again != twice {
		t.Fatalf("sent again after a kill: %+v, want %+v", again, twice)
	}
	said2 := append(slices.Clone(said), say(t, after, o.Room, 3)...)
	if got := texts(t, after, o.Room); !slices.Equal(got, said2) {
		t.Fatalf("afterwards: %q, want %q", got, said2)
	}

	for name, damage := range map[string]func(record []byte){
		"cut":   func(r []byte) { clear(r[len(r)-1:]) },
		"empty": func(r []byte) { clear(r) },
		"bit":   func(r []byte) { r[len(r)/2] ^= 1 },
	} {
		// The newest record begins with the room's id.
		start := bytes.LastIndex(whole[:bytes.LastIndex(whole, []byte("twice"))], []byte(o.Room)) - 1 - recordHead
		stop := start + recordHead + int(binary.BigEndian.Uint32(whole[start:]))
		torn := crashed(t, dir)
		text := slices.Clone(whole)
		damage(text[start:stop])
		ok(t, os.WriteFile(filepath.Join(torn, "rooms.db"+JournalSuffix), text, 0o600))
		s := open(t, "sqlite:"+filepath.Join(torn, "rooms.db"))
		if got := texts(t, s, o.Room); !slices.Equal(got, said[:len(said)-1]) {
			t.Errorf("%s: %q, want %q", name, got, said[:len(said)-1])
		}
	}
}

// TestJournalAfterStops: starts at which nothing is to be brought in do not
// make the journal forget where it is.
func TestJournalAfterStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dsn := "sqlite:" + filepath.Join(dir, "rooms.db")
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	said := say(t, s, o.Room, 5)
	for starts := range 3 {
		ok(t, s.Close())
		s = open(t, dsn)
		end := stalled(t, s)
		said = append(said, say(t, s, o.Room, 2)...)
		copied := crashed(t, dir)
		end()
		after := open(t, "sqlite:"+filepath.Join(copied, "rooms.db"))
		if got := texts(t, after, o.Room); !slices.Equal(got, said) {
			t.Fatalf("killed after %d starts: %q, want %q", starts+1, got, said)
		}
		if _, err := os.Stat(filepath.Join(copied, "rooms.db"+JournalSuffix+".old")); err == nil {
			t.Error("the journal was taken for another database's")
		}
		ok(t, after.Close())
	}
}

// TestJournalOfNewerDatabase: an old database in the place of a newer one does
// not get messages that do not follow its own.
func TestJournalOfNewerDatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "sqlite:"+filepath.Join(dir, "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	said := say(t, s, o.Room, 3)
	ok(t, s.talk.settle())
	old := crashed(t, dir)
	for range 3 {
		say(t, s, o.Room, 3)
		ok(t, s.redo.apply(true)) // the journal begins again
	}
	say(t, s, o.Room, 1)
	ok(t, s.Close())
	ok(t, os.WriteFile(filepath.Join(old, "rooms.db"+JournalSuffix), must(os.ReadFile(filepath.Join(dir, "rooms.db"+JournalSuffix)))(t), 0o600))
	after := open(t, "sqlite:"+filepath.Join(old, "rooms.db"))
	if got := texts(t, after, o.Room); !slices.Equal(got, said) {
		t.Fatalf("%q, want %q", got, said)
	}
	must(os.Stat(filepath.Join(old, "rooms.db"+JournalSuffix+".old")))(t)
	said = append(said, say(t, after, o.Room, 2)...)
	ok(t, after.Close())
	after = open(t, "sqlite:"+filepath.Join(old, "rooms.db"))
	if got := texts(t, after, o.Room); !slices.Equal(got, said) {
		t.Fatalf("%q, want %q", got, said)
	}
}

// TestJournalPowerCut: the database as it was when it was synced last, and the
// journal as it is now, hold everything, however often the journal's halves
// have been written over.
func TestJournalPowerCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "sqlite:"+filepath.Join(dir, "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	var said []string
	synced, syncs := int64(-1), 0
	durable := map[string][]byte{} // the database's files
	check := func() {
		end := stalled(t, s)
		defer end()
		if now := s.redo.durable(); now != synced {
			synced = now
			syncs++
			for _, name := range []string{"rooms.db", "rooms.db-wal"} {
				durable[name] = must(os.ReadFile(filepath.Join(dir, name)))(t)
			}
		}
	}
	long := strings.Repeat("x", chat.MaxText)
	checked := 0
	for i := range 1200 {
		check()
		text := fmt.Sprint(i, " ", long)[:1+i*131%chat.MaxText]
		if i%300 == 299 { // a transaction between them
			must(s.OpenFromMail(ctx, hello(fmt.Sprint(i, "@y"))))(t)
		}
		must(s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: text}))(t)
		said = append(said, text)
		if i%171 != 170 {
			continue
		}
		check()
		copied := crashed(t, dir)
		for name, content := range durable {
			ok(t, os.WriteFile(filepath.Join(copied, name), content, 0o600))
		}
		after := open(t, "sqlite:"+filepath.Join(copied, "rooms.db"))
		if got := texts(t, after, o.Room); !slices.Equal(got, said) {
			t.Fatalf("after %d messages, of which %d were synced: %d are there", len(said), synced, len(got))
		}
		checked++
		ok(t, after.Close())
	}
	if syncs < 3 || checked < 6 { // one sync may serve for nearly two halves
		t.Errorf("%d syncs, %d checks", syncs, checked)
	}
}

// TestJournalHeld: a second process may look, and does not write messages.
func TestJournalHeld(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	said := say(t, s, o.Room, 1)
	ok(t, s.talk.settle())
	other := open(t, dsn)
	if got := texts(t, other, o.Room); !slices.Equal(got, said) {
		t.Fatalf("the second reads %q, want %q", got, said)
	}
	_, err := other.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote})
	is(t, err, errJournalHeld)
	_, err = other.OpenFromMail(ctx, hello("2@x"))
	is(t, err, errJournalHeld)
	must(other.Erase(ctx, bob.Addr))(t)
	ok(t, other.Close())
	ok(t, s.Close())
	say(t, open(t, dsn), o.Room, 1)
}

// TestJournalWhileLocked: a backup that holds the database's lock does not
// hold up who talks, until the journal is full; then they wait, and nothing is
// lost.
func TestJournalWhileLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, "sqlite:"+path)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	lock := must(sql.Open("sqlite3", path))(t)
	defer lock.Close()
	lock.SetMaxOpenConns(1)
	must(lock.Exec("BEGIN IMMEDIATE"))(t)
	long := strings.Repeat("x", chat.MaxText)
	const fits = halfJournal / (chat.MaxText + 200) * 2
	var said []string
	append1 := func(n int) error {
		text := fmt.Sprint(n, long)[:chat.MaxText]
		said = append(said, text)
		_, err := s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: text})
		return err
	}
	for n := range fits {
		ok(t, append1(n))
	}
	rest := make(chan error)
	go func() {
		for n := range 10 {
			if err := append1(fits + n); err != nil {
				rest <- err
				return
			}
		}
		rest <- nil
	}()
	select {
	case err := <-rest:
		t.Fatalf("the journal took more than it has room for: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	must(lock.Exec("ROLLBACK"))(t)
	ok(t, <-rest)
	if got := texts(t, s, o.Room); !slices.Equal(got, said) {
		t.Fatalf("%d messages, want %d", len(got), len(said))
	}
}

// TestJournalFails: when the journal's disk fails, messages go right into the
// database, and the next start finds all of them once.
func TestJournalFails(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	end := stalled(t, s)
	said := say(t, s, o.Room, 3)
	good := s.redo.journal.file
	s.redo.journal.file = must(os.Open(os.DevNull))(t) // cannot be written
	end()
	said = append(said, say(t, s, o.Room, 3)...)
	s.redo.journal.file.Close()
	s.redo.journal.file = good
	said = append(said, say(t, s, o.Room, 1)...) // once broken it is left alone
	for range 2 {
		if got := texts(t, s, o.Room); !slices.Equal(got, said) {
			t.Fatalf("%q, want %q", got, said)
		}
		ok(t, s.Close())
		s = open(t, dsn)
	}
	say(t, s, o.Room, 1)
	if s.redo.broken {
		t.Error("the journal is not used after a new start")
	}
}

// TestSeenSurvivesStop: marks that wait get into the database at the end.
func TestSeenSurvivesStop(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	me := must(s.Info(ctx, o.Room))(t).Participants[0].ID
	say(t, s, o.Room, 2)
	ok(t, s.Seen(ctx, o.Room, me, 3))
	ok(t, s.Close())
	if seen := must(open(t, dsn).SeenBy(ctx, o.Room))(t); seen[me] != 3 {
		t.Fatalf("seen %v", seen)
	}
}

// FuzzJournal: whatever a file holds, reading it neither fails badly nor makes
// up messages, and it can be written afterwards.
func FuzzJournal(f *testing.F) {
	record := func(seq int64, list ...logged) []byte {
		path := filepath.Join(f.TempDir(), "j")
		j := must(openJournal(path))(f)
		defer j.close()
		j.seq = seq - 1
		ok(f, j.write(list, 0))
		return must(os.ReadFile(path))(f)[:j.end]
	}
	one, two := record(7, logged{Room: "r", Offset: 1, ID: "a", Kind: "text", Text: "한글"}), record(8, logged{Room: "r", Offset: 2, ID: "b", Kind: "text"})
	f.Add(one)
	f.Add(slices.Concat(one, two))
	f.Add(slices.Concat(one, one))
	f.Add(slices.Concat(one, two[:len(two)-1]))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 64<<10 {
			return
		}
		path := filepath.Join(t.TempDir(), "j")
		file := must(os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600))(t)
		ok(t, file.Truncate(journalSize)) // sparse, which is quicker
		must(file.WriteAt(content, 0))(t)
		ok(t, file.Close())
		j := must(openJournal(path))(t)
		var last int64
		err := j.replay(func(seq int64, list []logged) error {
			if last != 0 && seq != last+1 {
				t.Fatalf("record %d after %d", seq, last)
			}
			last = seq
			return nil
		})
		if err != nil { // a record with a good sum that this program did not write
			j.close()
			return
		}
		ok(t, j.write([]logged{{Room: "r", Offset: 1, ID: "z"}}, 0))
		want := j.seq
		ok(t, j.close())
		j = must(openJournal(path))(t)
		defer j.close()
		var found bool
		ok(t, j.replay(func(seq int64, list []logged) error {
			found = seq == want && len(list) == 1 && list[0].ID == "z"
			return nil
		}))
		if !found {
			t.Fatalf("the new record %d is not the last", want)
		}
	})
}

// BenchmarkApply brings 500 messages of 200 rooms into the database at a time.
func BenchmarkApply(b *testing.B) {
	s := open(b, "sqlite:"+filepath.Join(b.TempDir(), "rooms.db"))
	const rooms, batch = 200, 500
	ids, next := make([]string, rooms), make([]int64, rooms)
	from := make([]int64, rooms)
	for i := range ids {
		o := must(s.OpenFromMail(ctx, hello(fmt.Sprint(i, "@x"))))(b)
		ids[i], next[i], from[i] = o.Room, 2, must(s.Info(ctx, o.Room))(b).Participants[0].ID
	}
	n := 0
	for b.Loop() {
		list := make([]logged, batch)
		for i := range list {
			r := n % rooms
			list[i] = logged{Room: ids[r], Offset: next[r], ID: secret(8), From: from[r], Kind: chat.KindText, Text: strings.Repeat("x", 128), At: int64(n)}
			next[r]++
			n++
		}
		ok(b, s.redo.bring(list, int64(n), nil))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/message")
}
