// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

func noteSays(text string) func(*frame.Frame) bool {
	return func(f *frame.Frame) bool {
		return f.T == frame.TMsg && f.Msg.Kind == chat.KindNote && f.Msg.Text == text
	}
}

// A page of the host shows the room, and nobody sits before it: who comes back rings every device.
func TestUnattendedPage(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(w *world, page *client){
		"the page says so": func(_ *world, page *client) { page.send(frame.Frame{T: frame.TAway, On: true}) },
		"nothing was pressed for a while": func(w *world, page *client) {
			page.send(frame.Frame{T: frame.TAway})
			time.Sleep(w.relay.attendedFor + 50*time.Millisecond)
		},
		"nor while the caller waits": func(*world, *client) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
			w.relay.attendedFor = 300 * time.Millisecond
			office, home := w.device("office"), w.device("home")
			page := w.in(w.desk(), frame.Frame{})
			page.typ(frame.TWelcome)
			away(w, page)
			page.send(frame.Frame{T: frame.TPing, N: 1})
			page.typ(frame.TPong)

			kim := w.in(w.chat(w.token, 1), frame.Frame{})
			kim.typ(frame.TWelcome)
			kim.send(frame.Frame{T: frame.TAttempt})
			office.typ(frame.TRing)
			home.typ(frame.TRing)
			kim.state(attempt.Ringing)
			// A page that comes back by itself answers nothing, what its person says does.
			again := w.in(w.desk(), frame.Frame{Epoch: kim.seen[0].Epoch, After: 1})
			again.typ(frame.TState)
			page.send(frame.Frame{T: frame.TSeen, Offset: 1})
			page.send(frame.Frame{T: frame.TSay, ID: "1", Text: "here I am"})
			if f := kim.until("an answer", func(f *frame.Frame) bool {
				return f.T == frame.TState && f.Attempt.State != attempt.Ringing
			}); f.Attempt.State != attempt.Answered {
				t.Errorf("%+v", f.Attempt)
			}
			office.typ(frame.TRingEnd)
			home.typ(frame.TRingEnd)
		})
	}
}

// Who presses and types before the room is not rung there, nor anywhere else.
func TestAttendedPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.relay.attendedFor = 500 * time.Millisecond
	office := w.device("office")
	page := w.in(w.desk(), frame.Frame{})
	page.typ(frame.TWelcome)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	for range 6 {
		time.Sleep(w.relay.attendedFor / 4)
		page.send(frame.Frame{T: frame.TAway})
	}
	office.send(frame.Frame{T: frame.TPing})
	office.typ(frame.TPong)
	if slices.Contains(office.types(), frame.TRing) {
		t.Error("it rang")
	}
}

// An answer to a ring that waits reaches the caller also from a page that is in the room already.
func TestMissedRingAnsweredInTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval, o.Rings = 20*time.Millisecond, 1 })
	office := w.device("office")
	page := w.in(w.desk(), frame.Frame{})
	page.send(frame.Frame{T: frame.TAway, On: true})
	page.typ(frame.TWelcome)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	ring := office.typ(frame.TRing).Ring
	kim.state(attempt.Alarmed)
	office.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	kim.state(attempt.Answered)
	if left, err := w.rooms.WaitingFor(t.Context(), w.host); err != nil || len(left) > 0 {
		t.Errorf("waiting: %+v, %v", left, err)
	}
}

// Who is away from every device of theirs is away.
func TestIdleDesk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	office := w.device("office")
	state := func() string { return w.relay.Status(t.Context(), w.host).State }
	for _, on := range []bool{true, true, false} {
		office.send(frame.Frame{T: frame.TAway, On: on})
		office.send(frame.Frame{T: frame.TPing})
		office.typ(frame.TPong)
		if away := state() == frame.Away; away != on {
			t.Errorf("away %t: %s", on, state())
		}
	}
}

// A ring stops soon after the caller's page has gone, and whoever answers meanwhile learns it.
func TestCallerGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	first := desk.typ(frame.TRing).Ring
	kim.c.Close("the tab is closed")
	began := time.Now()
	desk.until("cancelled", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.Code == frame.EndCancelled })
	if took := time.Since(began); took > callerGrace+2*time.Second {
		t.Errorf("it rang on for %v", took)
	}

	again := w.in(w.chat(w.token, 1), frame.Frame{})
	again.send(frame.Frame{T: frame.TAttempt})
	ring := desk.until("another ring", func(f *frame.Frame) bool {
		return f.T == frame.TRing && f.Ring.Attempt != first.Attempt
	}).Ring
	again.c.Close("the tab is closed")
	desk.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	page := w.in(w.desk(), frame.Frame{})
	page.until("the note of who had gone", noteSays(noteGone))
}

// Who leaves after a talk was not too late for it.
func TestCallerLeavesAfterATalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.send(frame.Frame{T: frame.TAnswer, AttemptID: desk.typ(frame.TRing).Ring.Attempt})
	page := w.in(w.desk(), frame.Frame{})
	page.send(frame.Frame{T: frame.TSay, ID: "hello", Text: "hello"})
	kim.until("a word", func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Text == "hello" })
	page.send(frame.Frame{T: frame.TLeave})
	kim.send(frame.Frame{T: frame.TLeave})
	// Nobody else can say when nothing will be said: the time of grace is real.
	time.Sleep(callerGrace + time.Second)
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Text == noteGone {
			t.Errorf("messages %+v", list)
		}
	}
}

// A desk that signs on is not rung for a caller who has not been heard of.
func TestSignOnAfterTheCallerHasGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	time.Sleep(2*frame.PingEvery + 100*time.Millisecond) // the page has vanished without a word
	desk := w.device("desk")
	if r := desk.typ(frame.TRing).Ring; !r.Waiting {
		t.Errorf("it rings for nobody: %+v", r)
	}
	kim.send(frame.Frame{T: frame.TPing}) // it has not
	desk.until("the ring", func(f *frame.Frame) bool { return f.T == frame.TRing && !f.Ring.Waiting })
}

// The card of an alarm's link says who waits in the room.
func TestCardSaysWhoWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	waiting := func() []chat.Participant {
		card, err := w.relay.Card(t.Context(), w.cc)
		if err != nil {
			t.Fatal(err)
		}
		return card.Waiting
	}
	if got := waiting(); len(got) > 0 {
		t.Errorf("%+v before anybody came", got)
	}
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TPeople)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TPeople)
	if got := waiting(); len(got) != 1 || got[0].Name != "Kim" {
		t.Errorf("%+v, want Kim alone", got)
	}
}
