// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// events are those that a relay has told of.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (e *events) add(one Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, one)
}

// await waits until one of the events is as wanted.
func (e *events) await(t *testing.T, what string, is func(Event) bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		e.mu.Lock()
		for _, one := range e.list {
			if is(one) {
				e.mu.Unlock()
				return
			}
		}
		e.mu.Unlock()
	}
	t.Fatalf("%s was not told of: %+v", what, e.list)
}

// TestTalk: a page opens a conversation with a group that was made while the relay
// runs; the member who asked rings it, the answer is told of, and the room is the
// same when they ask again, from the link of whichever side.
func TestTalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	var told events
	w.relay.OnEvent(told.add)
	const lamps, kim = "lamps@mall.example", "kim@mall.example"
	if err := w.relay.SetGroups(t.Context(), "mall", map[string][]string{lamps: {mina, joon}}); err != nil {
		t.Fatal(err)
	}
	about := chat.Mail{MessageID: "lamp.kim@mall.example", Sender: chat.Person{Login: lamps, Addr: lamps, Name: "Lamps"},
		Recipients: []chat.Person{{Login: kim, Addr: kim, Name: "Kim"}}, Subject: "A lamp"}
	room, token, err := w.relay.Talk(t.Context(), about)
	if err != nil {
		t.Fatal(err)
	}
	if again, other, err := w.relay.Talk(t.Context(), about); err != nil || again != room || other == token {
		t.Fatalf("asked again: %s, %s, %v", again, other, err)
	}
	messages, err := w.rooms.Messages(t.Context(), room, 0, 10)
	if err != nil || len(messages) != 1 || messages[0].Kind != chat.KindNote || messages[0].Text != "about\nA lamp" {
		t.Fatalf("the room begins with %+v, %v", messages, err)
	}

	desk := w.deviceOf(mina, "desk")
	entry, err := w.relay.Chat(t.Context(), token, claimOf(1), Claim{Login: kim, Ring: true})
	if err != nil {
		t.Fatal(err)
	}
	customer := w.in(entry, frame.Frame{})
	ring := desk.typ(frame.TRing).Ring
	if ring.Room != room || !ring.Proven || ring.Group != "Lamps" || ring.From.Login != kim {
		t.Fatalf("ring %+v", ring)
	}
	told.await(t, "the ring", func(e Event) bool {
		return e.Room == room && e.Attempt != nil && e.Attempt.State == attempt.Ringing && e.By.Login == kim &&
			e.Callee.Login == lamps
	})
	desk.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	customer.state(attempt.Answered)
	told.await(t, "the answer", func(e Event) bool {
		return e.Attempt != nil && e.Attempt.ID == ring.Attempt && e.Attempt.State == attempt.Answered
	})
	customer.send(frame.Frame{T: frame.TSay, ID: "1", Text: "Hello"})
	told.await(t, "a message", func(e Event) bool {
		return e.Room == room && e.Message != nil && e.Message.Text == "Hello" && e.By.Login == kim
	})

	// Mina has joined for the group; Kim's link rings the group all the same.
	link, err := w.relay.LinkInto(t.Context(), kim, room)
	if err != nil {
		t.Fatal(err)
	}
	i, err := w.rooms.Invite(t.Context(), link)
	if err != nil || i.Callee.Login != lamps || i.Recipient.Login != kim {
		t.Errorf("the link into the room is %+v, %v", i, err)
	}
	if _, err := w.relay.LinkInto(t.Context(), "lee@mall.example", room); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("a link for somebody else: %v", err)
	}

	// A mail of Kim's: whom Kim rings is the group, although Mina is in the room too.
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "2@mall.example",
		Sender: chat.Person{Login: kim, Addr: kim}, Recipients: []chat.Person{{Addr: lamps}}, Subject: "A chair"})
	if err != nil {
		t.Fatal(err)
	}
	told.await(t, "the mail", func(e Event) bool {
		return e.Room == o.Room && e.Message != nil && e.Message.Kind == chat.KindMail && e.By.Login == kim
	})
	if _, err := w.rooms.Join(t.Context(), mina, o.Room); err != nil {
		t.Fatal(err)
	}
	if link, err = w.relay.LinkInto(t.Context(), kim, o.Room); err != nil {
		t.Fatal(err)
	}
	if i, err := w.rooms.Invite(t.Context(), link); err != nil || i.Callee.Login != lamps {
		t.Errorf("the link into the room of a mail is %+v, %v", i, err)
	}

	// The configuration's groups are apart from the mall's.
	if err := w.relay.SetGroups(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	if got := w.relay.members(lamps); len(got) != 2 {
		t.Errorf("the mall's group has %v", got)
	}
	if err := w.relay.SetGroups(t.Context(), "mall", nil); err != nil {
		t.Fatal(err)
	}
	if got := w.relay.groupsOf(mina); len(got) != 1 {
		t.Errorf("Mina is still of %v", got)
	}
}
