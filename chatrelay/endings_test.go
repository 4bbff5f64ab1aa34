// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/words"
)

var update = flag.Bool("update", false, "write the table of endings into docs/attempt.md")

// ending is a way in which a call ends, and what each end gets.
type ending struct {
	how    string
	off    bool                                   // no device of the callee is connected
	play   func(w *world, caller, callee *client) // what the two do, once Chat now was pressed
	states string                                 // of the attempt, as the caller is told them
	rings  int                                    // that the callee's desk gets
	code   string                                 // with which the ring ends there; empty: it did not ring
	notes  string                                 // that stay in the conversation
	mails  int                                    // to the callee
	missed bool                                   // the desk lists a missed call

	// Of the table in the documentation: keys of the words that the pages say.
	caller, callee []string
	note           []string
}

var endings = []ending{
	{how: "The call is answered, and the callee leaves later.",
		play: func(w *world, caller, callee *client) {
			callee.send(frame.Frame{T: frame.TAnswer, AttemptID: callee.typ(frame.TRing).Ring.Attempt})
			page := w.in(w.desk(), frame.Frame{})
			caller.until("the callee here", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 2 })
			page.send(frame.Frame{T: frame.TLeave})
			caller.until("the callee gone", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 1 })
		},
		states: "ringing answered", rings: 1, code: frame.EndAnswered, notes: "answered",
		caller: []string{"status.ringing", "status.connected", "status.calleeLeft", "outcome.left"},
		callee: []string{"ring.title", "status.connected", "status.left"}, note: []string{"note.answered"}},
	{how: "The callee declines.",
		play: func(w *world, caller, callee *client) {
			callee.send(frame.Frame{T: frame.TDecline, AttemptID: callee.typ(frame.TRing).Ring.Attempt,
				Text: "in a meeting"})
		},
		states: "ringing declined", rings: 1, code: frame.EndDeclined, notes: "declined\nin a meeting",
		caller: []string{"status.ringing", "status.declined"},
		callee: []string{"ring.title"}, note: []string{"note.declined"}},
	{how: "The callee is on, and does nothing.",
		play:   func(*world, *client, *client) {},
		states: "ringing unanswered alarmed", rings: 3, code: frame.EndUnanswered, notes: "unanswered alarmed",
		mails: 1, missed: true,
		caller: []string{"status.ringing", "outcome.rang", "status.alerted", "raised.mail"},
		callee: []string{"ring.title", "missed.what"}, note: []string{"note.unanswered", "note.alarmed"}},
	{how: "The callee is off.", off: true,
		play:   func(*world, *client, *client) {},
		states: "unanswered alarmed", notes: "alarmed", mails: 1, missed: true,
		caller: []string{"outcome.off", "status.alerted", "raised.mail"},
		callee: []string{"missed.what"}, note: []string{"note.alarmed"}},
	{how: "The caller cancels.",
		play: func(w *world, caller, callee *client) {
			callee.typ(frame.TRing)
			caller.send(frame.Frame{T: frame.TCancel})
		},
		states: "ringing cancelled", rings: 1, code: frame.EndCancelled, notes: "cancelled", missed: true,
		caller: []string{"status.ringing", "status.cancelled"},
		callee: []string{"ring.title", "toast.cancelled", "missed.what"}, note: []string{"note.cancelled"}},
	{how: "The caller’s connection is lost for longer than 4 s.",
		play: func(w *world, caller, callee *client) {
			callee.typ(frame.TRing)
			caller.state(attempt.Ringing)
			caller.c.Close("the network is gone")
		},
		states: "ringing cancelled", rings: 1, code: frame.EndCancelled, notes: "cancelled", missed: true,
		caller: []string{"status.ringing", "status.reconnecting", "status.wasGone"},
		callee: []string{"ring.title", "toast.cancelled", "missed.what"}, note: []string{"note.cancelled"}},
}

// TestEndings: what each end gets in the six ways in which a call can end. The table of docs/attempt.md has the words.
func TestEndings(t *testing.T) {
	t.Parallel()
	for _, e := range endings {
		t.Run(strings.ReplaceAll(e.how, " ", "_"), func(t *testing.T) {
			t.Parallel()
			e.check(t)
		})
	}
}

func (e ending) check(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		if e.rings <= 1 {
			o.Interval = time.Minute // what the two do comes first
		}
	})
	var callee *client
	if !e.off {
		callee = w.device("desk")
	}
	entry := w.chat(w.token, 1)
	caller := w.in(entry, frame.Frame{})
	epoch := caller.typ(frame.TWelcome).Epoch
	caller.send(frame.Frame{T: frame.TAttempt})
	e.play(w, caller, callee)
	if e.code != "" {
		if end := callee.typ(frame.TRingEnd); end.Code != e.code {
			t.Errorf("at the callee the ring ends with %s", end.Code)
		}
		rings := 0
		for _, f := range callee.seen {
			if f.T == frame.TRing {
				rings++
			}
		}
		if rings != e.rings {
			t.Errorf("it rings %d times", rings)
		}
	}
	states := caller.states()
	last := e.states[strings.LastIndexByte(e.states, ' ')+1:]
	if !strings.HasSuffix(states, last) {
		if strings.Contains(e.how, "lost") { // the page comes back, and asks for what it missed
			back := w.in(Entry{Ticket: caller.pass()}, frame.Frame{Epoch: epoch})
			if a := back.state(last).Attempt; a.Why != attempt.Gone {
				t.Errorf("the caller, who comes back, reads %+v", a)
			}
			states += " " + last
		} else {
			caller.state(last)
			states = caller.states()
		}
	}
	if states != e.states {
		t.Errorf("the caller is told %s", states)
	}
	eventually(t, "the missed calls", func() bool {
		list, err := w.relay.Rooms(t.Context(), w.host, chat.RoomQuery{List: chat.ListMissed, Limit: 10})
		return err == nil && len(list) > 0 == e.missed
	})
	eventually(t, "the notes, and the mails", func() bool {
		var notes []string
		list, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
		for _, m := range list {
			if m.Kind == chat.KindNote {
				notes = append(notes, m.Text)
			}
		}
		mails := 0
		for _, m := range w.mail.all() {
			if m.To.Addr == w.host {
				mails++
			}
		}
		return err == nil && strings.Join(notes, " ") == e.notes && mails == e.mails
	})
}

// states are those of the attempt that a client was told, each once.
func (c *client) states() string {
	var list []string
	for _, f := range c.seen {
		if f.T == frame.TState && (len(list) == 0 || list[len(list)-1] != f.Attempt.State) {
			list = append(list, f.Attempt.State)
		}
	}
	return strings.Join(list, " ")
}

// pass is the newest ticket for coming back that a client got.
func (c *client) pass() (ticket string) {
	for _, f := range c.seen {
		if f.Ticket != "" {
			ticket = f.Ticket
		}
	}
	return ticket
}

// endingsTable is the table of the documentation.
func endingsTable() string {
	say := func(keys []string) string {
		var list []string
		for _, key := range keys {
			name := "Mina" // who is called
			if strings.HasPrefix(key, "toast.") || strings.HasPrefix(key, "ring.") ||
				strings.HasPrefix(key, "missed.") ||
				key == "note.cancelled" {
				name = "Kim"
			}
			list = append(list, "“"+words.In("en").Say(key, "name", name, "names", "Mina", "time", "14:05")+"”")
		}
		return strings.Join(list, ", ")
	}
	var b strings.Builder
	b.WriteString("| how the call ends | Kim, who calls, reads | Mina, who is called, reads | stays in the conversation" +
		" | rings | alarm mail | missed call |\n|---|---|---|---|---|---|---|\n")
	mark := map[bool]string{true: "yes", false: "no"}
	for _, e := range endings {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %s | %s |\n", strings.TrimSuffix(e.how, "."), say(e.caller),
			say(e.callee),
			say(e.note), e.rings, mark[e.mails > 0], mark[e.missed])
	}
	return b.String()
}

// The table of docs/attempt.md is the one that is tested, and its words are those of the pages.
func TestEndingsInDocs(t *testing.T) {
	t.Parallel()
	const path = "../docs/attempt.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`(?m)^\| how the call ends \|.*\n(\|.*\n)+`)
	if *update {
		b = place.ReplaceAll(b, []byte(endingsTable()))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(place.Find(b)); got != endingsTable() {
		t.Errorf("docs/attempt.md differs; go test ./chatrelay -run EndingsInDocs -update writes it.\n%s",
			endingsTable())
	}
}
