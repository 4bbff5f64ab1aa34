// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/sqldb"
	"github.com/chmail/chmail/internal/testpart"
)

// TestAppendThen: whoever writes is told exactly once, also while the store is
// closed; what was said to be stored is, in its writer's order.
func TestAppendThen(t *testing.T) {
	t.Parallel()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, dsn)
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	const writers = 8
	var wg sync.WaitGroup
	var calls, answers atomic.Int64
	stored := make([]map[string]int64, writers)
	for w := range writers {
		stored[w] = map[string]int64{}
		wg.Go(func() {
			var mu sync.Mutex
			var closed atomic.Bool
			for i := 0; !closed.Load(); i++ {
				id := fmt.Sprint(w, "/", i)
				calls.Add(1)
				s.AppendThen(ctx, "", o.Room, chat.Message{ID: id, Kind: chat.KindNote, Text: id},
					func(m chat.Message, err error) {
						answers.Add(1)
						if err != nil {
							if !errors.Is(err, ErrClosed) {
								t.Errorf("%s: %v", id, err)
							}
							closed.Store(true)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						if stored[w][id] != 0 {
							t.Errorf("%s was answered twice", id)
						}
						stored[w][id] = m.Offset
					})
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	ok(t, s.Close())
	wg.Wait()
	for end := time.Now().Add(5 * time.Second); answers.Load() < calls.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if answers.Load() != calls.Load() {
		t.Fatalf("%d answers to %d calls", answers.Load(), calls.Load())
	}
	after := open(t, dsn)
	there := texts(t, after, o.Room)
	for w := range writers {
		last := int64(0)
		for i := range len(stored[w]) {
			id := fmt.Sprint(w, "/", i)
			offset := stored[w][id]
			if offset <= last || there[offset-2] != id { // the mail is at 1
				t.Fatalf("%s is at %d after %d, where %q is", id, offset, last, there[offset-2])
			}
			last = offset
		}
	}
	t.Logf("%d messages", len(there))
}

// blocked keeps the writer in a commit until goOn is closed.
func blocked(t testing.TB, s *Store, roomID string) (goOn chan struct{}, ended chan error) {
	t.Helper()
	begun := make(chan struct{})
	goOn, ended = make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.share(ctx, roomID, func(context.Context, querier) error {
			close(begun)
			<-goOn
			return nil
		})
	}()
	<-begun
	return goOn, ended
}

// TestAppendWhileOtherCommits: what comes during a slow commit is committed
// after it, though nobody else comes.
func TestAppendWhileOtherCommits(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	goOn, ended := blocked(t, s, o.Room)
	const n = 5
	told := make(chan error, n)
	for i := range n {
		s.AppendThen(ctx, "", o.Room, chat.Message{ID: fmt.Sprint(i), Kind: chat.KindNote, Text: "x"},
			func(_ chat.Message, err error) { told <- err })
	}
	time.Sleep(5 * pause)
	if len(told) > 0 {
		t.Error("committed in the middle of another commit")
	}
	close(goOn)
	ok(t, <-ended)
	for range n {
		select {
		case err := <-told:
			ok(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("left in the queue")
		}
	}
}

// TestCloseWaitsForTelling: when Close has returned nobody is told any more.
func TestCloseWaitsForTelling(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	telling := make(chan bool)
	var told atomic.Bool
	go s.AppendThen(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "x"}, func(chat.Message, error) {
		close(telling)
		time.Sleep(50 * time.Millisecond)
		told.Store(true)
	})
	<-telling
	ok(t, s.Close())
	if !told.Load() {
		t.Error("Close did not wait")
	}
}

// TestThenPanics: a panic of whoever is told ends neither the writer nor the
// process, and the others are told.
func TestThenPanics(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	s.AppendThen(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "x"},
		func(chat.Message, error) { panic("on purpose") })
	if m := must(s.Append(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "y"}))(t); m.Offset != 3 {
		t.Errorf("offset %d, want 3", m.Offset)
	}
}

// TestFailsAlone: an entry that cannot be written fails alone, and is told so
// before the next one is tried, so that its sender can hold back later ones.
func TestFailsAlone(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		good := must(s.OpenFromMail(ctx, hello("1@x")))(t).Room
		bad := must(s.OpenFromMail(ctx, hello("2@x")))(t).Room
		goOn, ended := blocked(t, s, good)
		damaged := errors.New("a damaged page")
		connection, broken := context.WithCancel(ctx)
		defer broken()
		type outcome struct {
			what string
			err  error
		}
		told := make(chan outcome, 4)
		then := func(what string) func(chat.Message, error) {
			return func(_ chat.Message, err error) { told <- outcome{what, err} }
		}
		s.AppendThen(ctx, "", good, chat.Message{Kind: chat.KindNote, Text: "before"}, then("before"))
		ok(t, s.enqueue(&entry{ctx: connection, room: bad, do: func(context.Context, querier) error {
			return damaged
		}, then: func(err error) {
			broken()
			told <- outcome{"failed", err}
		}}))
		s.AppendThen(connection, "", bad, chat.Message{Kind: chat.KindNote, Text: "overtakes"}, then("overtakes"))
		s.AppendThen(ctx, "", good, chat.Message{Kind: chat.KindNote, Text: "after"}, then("after"))
		close(goOn)
		ok(t, <-ended)
		for _, want := range []outcome{{"before", nil}, {"failed", damaged},
			{"overtakes", context.Canceled}, {"after", nil}} {
			if got := <-told; got.what != want.what || !errors.Is(got.err, want.err) {
				t.Errorf("%s is told %v, want %s with %v", got.what, got.err, want.what, want.err)
			}
		}
		if got := texts(t, s, good); !slices.Equal(got, []string{"before", "after"}) {
			t.Errorf("the good room has %q", got)
		}
		if got := texts(t, s, bad); len(got) != 0 {
			t.Errorf("the other room has %q", got)
		}
	})
}

// TestCloseWhileDatabaseHangs: Close ends in time, everybody is told, and what
// was told to be stored is.
func TestCloseWhileDatabaseHangs(t *testing.T) {
	testpart.Slow(t)
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		holder := open(t, dsn)
		lock := must(holder.write.BeginTx(ctx, nil))(t) // another program
		must(lock.Exec("UPDATE rooms SET subject = 'x' WHERE id = $1", o.Room))(t)
		const n = maxBatch + 10
		var told atomic.Int64
		for range n {
			s.AppendThen(ctx, "", o.Room, chat.Message{Kind: chat.KindNote, Text: "x"},
				func(_ chat.Message, err error) {
					if err == nil {
						t.Error("stored while another program holds the room")
					}
					told.Add(1)
				})
		}
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > closeTimeout+sqldb.BusyTimeout {
			t.Errorf("Close took %v", took)
		}
		if told.Load() != n {
			t.Errorf("%d of %d are told", told.Load(), n)
		}
		ok(t, lock.Rollback())
		if got := texts(t, holder, o.Room); len(got) != 0 {
			t.Errorf("%d messages are stored that were said not to be", len(got))
		}
	})
}
