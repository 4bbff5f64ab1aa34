// SPDX-License-Identifier: GPL-3.0-or-later

package room

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
				s.AppendThen(ctx, "", o.Room, Message{ID: id, Kind: KindNote, Text: id}, func(m Message, err error) {
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
