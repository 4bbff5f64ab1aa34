// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestSeenBeforeTheDatabase: what is in the journal only can be seen, also when
// the room's book was forgotten; what was not said cannot.
func TestSeenBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
	me := must(s.Info(ctx, o.Room))(t).Participants[0].ID
	end := stalled(t, s)
	for i := range 3 {
		m := must(s.Append(ctx, "", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "x"}))(t)
		if i == 1 {
			s.redo.books.forget()
		}
		ok(t, s.Seen(ctx, o.Room, me, m.Offset))
		ok(t, s.Seen(ctx, o.Room, me, m.Offset+1))
	}
	is(t, s.Seen(ctx, o.Room, me+1000, 1), chat.ErrUnknown)
	end()
	if seen := must(s.SeenBy(ctx, o.Room))(t); seen[me] != 4 {
		t.Errorf("seen up to %d, want 4", seen[me])
	}
}

// TestBooks: what the journal knows of rooms stays what the database says,
// whatever happens beside it: edits and answers by mail, which are
// transactions, people who come later, homes that change, books that are
// thrown away, rooms with many messages.
func TestBooks(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	type roomState struct {
		id     string
		people []int64
		said   []chat.Message
		home   string
	}
	var rooms []*roomState
	for i := range 4 {
		o := must(s.OpenFromMail(ctx, hello(fmt.Sprintf("%d@x", i))))(t)
		r := &roomState{id: o.Room}
		for _, p := range must(s.Info(ctx, o.Room))(t).Participants {
			r.people = append(r.people, p.ID)
		}
		rooms = append(rooms, r)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 2400 {
		r := rooms[min(rnd.IntN(8), len(rooms)-1)] // the last one becomes longer than maxBookIDs
		from := r.people[rnd.IntN(len(r.people))]
		switch n := rnd.IntN(100); {
		case n < 85:
			m := must(s.Append(ctx, r.home, r.id, chat.Message{ID: fmt.Sprint(i), From: from, Kind: chat.KindText, Text: fmt.Sprint("text ", i)}))(t)
			r.said = append(r.said, m)
		case n < 90 && len(r.said) > 0:
			m := r.said[rnd.IntN(len(r.said))]
			again := must(s.Append(ctx, r.home, r.id, chat.Message{ID: m.ID, From: m.From, Kind: chat.KindText, Text: "again"}))(t)
			if again.Offset != m.Offset || !again.At.Equal(m.At) {
				t.Fatalf("sent again: %+v, was %+v", again, m)
			}
		case n < 93 && len(r.said) > 0:
			m := r.said[len(r.said)-1]
			must(s.Change(ctx, r.home, r.id, chat.Message{ID: fmt.Sprint("edit ", i), From: m.From, Kind: chat.KindEdit, Ref: m.Offset, Text: "edited"}))(t)
		case n < 95:
			must(s.Post(ctx, r.home, r.id, chat.Message{ID: fmt.Sprint("post ", i), From: from, Kind: chat.KindText, Text: "by mail", Via: chat.ViaMail}))(t)
		case n < 97:
			r.home = fmt.Sprint("relay", rnd.IntN(3))
			for _, other := range []string{"relay0", "relay1", "relay2"} {
				ok(t, s.LeaveHome(ctx, r.id, other))
			}
			if home := must(s.ClaimHome(ctx, r.id, r.home))(t); home != r.home {
				t.Fatalf("%s is the home, not %s", home, r.home)
			}
			if _, err := s.Append(ctx, "elsewhere", r.id, chat.Message{From: from, Kind: chat.KindText, Text: "x"}); !errors.Is(err, chat.ErrMoved) {
				t.Fatalf("from another home: %v", err)
			}
		case n < 98:
			if _, err := s.Append(ctx, "", r.id, chat.Message{From: 1 << 40, Kind: chat.KindText, Text: "x"}); !errors.Is(err, chat.ErrUnknown) {
				t.Fatalf("from nobody: %v", err)
			}
		case n < 99:
			<-s.redo.alone
			s.redo.books.forget()
			s.redo.yield()
		default:
			ok(t, s.Seen(ctx, r.id, from, 1+rnd.Int64N(int64(len(r.said)+2))))
		}
	}
	for _, r := range rooms {
		var after int64
		have := map[string]int64{}
		for {
			page := must(s.Messages(ctx, r.id, after, 0))(t)
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				if m.Offset != after+1 {
					t.Fatalf("offset %d after %d", m.Offset, after)
				}
				after = m.Offset
				have[m.ID] = m.Offset
			}
		}
		for _, m := range r.said {
			if have[m.ID] != m.Offset {
				t.Errorf("message %s is at %d, want %d", m.ID, have[m.ID], m.Offset)
			}
		}
	}
	if n := len(rooms[3].said); n <= maxBookIDs {
		t.Errorf("the long room has %d messages", n)
	}
}

// TestBooksBound: beyond their bounds books are read again, and nothing else changes.
func TestBooksBound(t *testing.T) {
	t.Parallel()
	var b books
	for i := range 3 * maxBooks {
		k := &book{room: fmt.Sprint(i), ids: map[uint64]struct{}{}}
		b.mu.Lock()
		b.put(k)
		b.mu.Unlock()
		for j := range 100 {
			b.add(k, 1, fmt.Sprint(j))
		}
		if len(b.now) > maxBooks || len(b.old) > maxBooks || b.ids > maxIDs+100 {
			t.Fatalf("%d and %d books, %d ids", len(b.now), len(b.old), b.ids)
		}
	}
	if b.of("0") != nil || b.of(fmt.Sprint(3*maxBooks-1)) == nil {
		t.Error("not the oldest books were forgotten")
	}
}
