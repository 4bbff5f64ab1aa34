// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/testpart"
)

// crashEnv, set to an address, makes the test binary a writer that gets killed.
const crashEnv = "CHMAIL_ROOM_TEST_CRASH"

// crashHelper appends as fast as it can and prints the room, then every
// message that was acknowledged, until it is killed.
func crashHelper(dsn string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	s, err := Open(ctx, Options{DSN: dsn})
	fail(err)
	o, err := s.OpenFromMail(ctx, hello("1@x"))
	fail(err)
	fmt.Println(o.Room, 0)
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d.%d", w, n)
				m, err := s.Append(ctx, "", o.Room, chat.Message{ID: id, Kind: chat.KindNote, Text: id})
				fail(err)
				fmt.Println(id, m.Offset) // one write(2) a line
			}
		}()
	}
	time.Sleep(time.Minute)
	fail(context.DeadlineExceeded)
}

func TestKilled(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		self, err := os.Executable()
		ok(t, err)
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), crashEnv+"="+dsn)
		cmd.Stderr = os.Stderr
		out := must(cmd.StdoutPipe())(t)
		ok(t, cmd.Start())
		var roomID string
		acknowledged := map[string]int64{}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			id, offset, found := strings.Cut(lines.Text(), " ")
			n, err := strconv.ParseInt(offset, 10, 64)
			if !found || err != nil {
				break // cut off by the kill
			}
			if n == 0 {
				roomID = id
				continue
			}
			if acknowledged[id] = n; len(acknowledged) == 200 {
				ok(t, cmd.Process.Kill())
			}
		}
		cmd.Wait() // it was killed
		if len(acknowledged) < 200 {
			t.Fatalf("only %d acknowledged", len(acknowledged))
		}
		s := open(t, dsn)
		stored := map[string]int64{}
		for after, list := int64(0), []chat.Message(nil); ; after = list[len(list)-1].Offset {
			if list = must(s.Messages(ctx, roomID, after, 0))(t); len(list) == 0 {
				break
			}
			for n, m := range list {
				if m.Offset != after+int64(n)+1 {
					t.Fatalf("offset %d after %d", m.Offset, after+int64(n))
				}
				stored[m.ID] = m.Offset
			}
		}
		for id, offset := range acknowledged {
			if stored[id] != offset {
				t.Errorf("message %s was acknowledged at %d and is at %d", id, offset, stored[id])
			}
		}
		must(s.Append(ctx, "", roomID, chat.Message{Kind: chat.KindNote}))(t)
	})
}

// TestRecovers: a batch whose connection is lost is written again.
func TestRecovers(t *testing.T) {
	t.Parallel()
	dsn := testpart.Postgres(t)
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	stop, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			s.read.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity" +
				" WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}
	}()
	var stored, failed int
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if _, err := s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote}); err != nil {
			failed++
			continue
		}
		stored++
	}
	close(stop)
	<-killed
	t.Logf("%d stored, %d failed", stored, failed)
	for try := 0; ; try++ { // the last victim may still lie in the pool
		_, err := s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote})
		if err == nil {
			break
		}
		if try == 2*pgConns {
			t.Fatal(err)
		}
	}
	if next := must(s.Info(ctx, o.Room))(t).Next; next < int64(stored)+3 {
		t.Fatalf("%d acknowledged, next offset %d", stored, next)
	}
}
