// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
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
				s.AppendThen(ctx, "", o.Room, chat.Message{ID: id, Kind: chat.KindNote, Text: id}, func(m chat.Message, err error) {
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

// TestAppendWhileOtherCommits: what comes during a slow commit is committed
// after it, though nobody else comes.
func TestAppendWhileOtherCommits(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	begun, goOn, ended := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		ended <- s.share(ctx, o.Room, func(context.Context, querier) error {
			close(begun)
			<-goOn
			return nil
		})
	}()
	<-begun
	const n = 5
	told := make(chan error, n)
	for i := range n {
		s.AppendThen(ctx, "", o.Room, chat.Message{ID: fmt.Sprint(i), Kind: chat.KindNote, Text: "x"}, func(_ chat.Message, err error) { told <- err })
	}
	time.Sleep(2 * (pause + linger)) // the alarm waits as well
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
