// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestBackup: a backup holds what was acknowledged, nobody waits for it, and
// each restore of it begins new epochs, once.
func TestBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, "sqlite:"+filepath.Join(dir, "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	must(s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "before"}))(t)
	// The write lock is held by somebody else for all of the backup.
	lock := must(s.write.BeginTx(ctx, nil))(t)
	to := t.TempDir()
	if name := must(s.BackupTo(ctx, to))(t); name != "rooms.db" {
		t.Fatalf("the copy is called %q", name)
	}
	ok(t, lock.Rollback())
	must(s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "after"}))(t)
	epoch := must(s.Info(ctx, o.Room))(t).Epoch
	if files := must(os.ReadDir(to))(t); len(files) != 1 {
		t.Errorf("the folder has %v", files)
	}
	copied := must(os.ReadFile(filepath.Join(to, "rooms.db")))(t)
	epochs := map[string]bool{epoch: true}
	for range 2 {
		path := filepath.Join(t.TempDir(), "rooms.db")
		ok(t, os.WriteFile(path, copied, 0o600))
		restored := open(t, "sqlite:"+path)
		if got := texts(t, restored, o.Room); !slices.Equal(got, []string{"before"}) {
			t.Errorf("restored %q", got)
		}
		first := must(restored.Info(ctx, o.Room))(t).Epoch
		if epochs[first] || first == "" {
			t.Errorf("a restored room has the epoch %q, which was there before", first)
		}
		epochs[first] = true
		ok(t, restored.Close())
		if again := must(open(t, "sqlite:"+path).Info(ctx, o.Room))(t).Epoch; again != first {
			t.Errorf("the next start begins another epoch, %q after %q", again, first)
		}
	}
	if now := must(s.Info(ctx, o.Room))(t).Epoch; now != epoch {
		t.Error("the backup changed the epoch of the server's room")
	}
}

// TestRestoredPostgres: the mark that is set by hand works once.
func TestRestoredPostgres(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		epoch := must(s.Info(ctx, o.Room))(t).Epoch
		must(s.write.Exec("INSERT INTO settings VALUES ('backup', '')"))(t)
		first := must(open(t, dsn).Info(ctx, o.Room))(t).Epoch
		if first == epoch || first == "" {
			t.Errorf("the epoch is %q, and was %q", first, epoch)
		}
		if again := must(open(t, dsn).Info(ctx, o.Room))(t).Epoch; again != first {
			t.Errorf("the next start begins another epoch, %q after %q", again, first)
		}
	})
}

// TestDamagedPage: a damaged page of the database is found by Check, and is
// felt by the rooms on it alone: others are written and read.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, "sqlite:"+path)
	var rooms []string
	for range 40 {
		o := must(s.OpenFromMail(ctx, hello(secret(4))))(t)
		rooms = append(rooms, o.Room)
		people := must(s.Info(ctx, o.Room))(t).Participants
		must(s.Append(ctx, "", o.Room,
			chat.Message{Kind: chat.KindNote, Text: "in " + o.Room + strings.Repeat("x", 3000)}))(t)
		ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: o.Room, Room: o.Room, Caller: people[1].ID, Callee: people[0].ID,
			State: "ringing", Started: time.Now()}))
	}
	ok(t, s.Check(ctx))
	ok(t, s.Close())
	file := must(os.ReadFile(path))(t)
	at := bytes.Index(file, []byte("in "+rooms[20]))
	if at < 0 {
		t.Fatal("the message is not in the file")
	}
	clear(file[at&^4095:][:4096])
	ok(t, os.WriteFile(path, file, 0o600))

	s = open(t, "sqlite:"+path)
	if err := s.Check(ctx); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the check finds %v", err)
	}
	if got := must(s.OpenAttempts(ctx, ""))(t); len(got) != len(rooms) {
		t.Errorf("%d of %d attempts are found", len(got), len(rooms))
	}
	// All are in one batch.
	goOn, ended := blocked(t, s, rooms[0])
	told := make(chan error, len(rooms))
	for _, room := range rooms {
		s.AppendThen(ctx, "", room, chat.Message{Kind: chat.KindNote, Text: strings.Repeat("y", 2000)},
			func(_ chat.Message, err error) { told <- err })
	}
	close(goOn)
	ok(t, <-ended)
	var stored, readable int
	for range rooms {
		if err := <-told; err == nil {
			stored++
		} else {
			t.Log(err)
		}
	}
	for _, room := range rooms {
		if list, err := s.Messages(context.Background(), room, 0, 0); err == nil && len(list) >= 2 {
			readable++
		}
	}
	t.Logf("of %d rooms %d are written, %d read", len(rooms), stored, readable)
	if stored < len(rooms)-5 || readable < len(rooms)-5 || readable == len(rooms) {
		t.Errorf("of %d rooms %d are written, %d read", len(rooms), stored, readable)
	}
}
