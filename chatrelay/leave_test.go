// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
)

// Nobody learns of a recipient in Bcc before that person comes in.
func TestBccIsUnknownUntilTheyComeIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host},
		Recipients: []chat.Person{{Addr: "kim@far.example"}, {Addr: "secret@far.example", Hidden: true}},
		Subject:    "Bcc", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	names := func(people []chat.Participant) string {
		var list []string
		for _, p := range people {
			list = append(list, p.Addr)
		}
		return strings.Join(list, " ")
	}
	kim := w.in(w.chat(o.Invites["kim@far.example"], 1), frame.Frame{})
	if got := names(kim.typ(frame.TWelcome).People); strings.Contains(got, "secret") {
		t.Errorf("the recipient sees %s", got)
	}
	list, err := w.relay.Rooms(t.Context(), w.host, chat.RoomQuery{List: chat.ListMails})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if strings.Contains(names(r.Participants), "secret") {
			t.Errorf("the desk lists %s", names(r.Participants))
		}
	}
	secret := w.in(w.chat(o.Invites["secret@far.example"], 2), frame.Frame{})
	if got := names(secret.typ(frame.TWelcome).People); !strings.Contains(got, "secret") {
		t.Errorf("they do not see themselves: %s", got)
	}
	kim.until("the one from Bcc", func(f *frame.Frame) bool { return strings.Contains(names(f.People), "secret") })
	again := w.in(w.chat(o.Invites["kim@far.example"], 1), frame.Frame{})
	if got := names(again.typ(frame.TWelcome).People); !strings.Contains(got, "secret") {
		t.Errorf("after they came in: %s", got)
	}
}

// Leaving while it rings is giving up: nobody answers to an empty room.
func TestLeaveStopsTheRing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	d := w.device("one")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	d.typ(frame.TRing)
	kim.send(frame.Frame{T: frame.TLeave})
	d.until("cancelled", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.Code == frame.EndCancelled })
	if len(w.mail.all()) != 0 {
		t.Error("an alarm went out")
	}
}

// A desk that is loaded again while it rings raises no alarm, and rings on.
func TestReloadWhileRinging(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	d := w.device("one")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	d.typ(frame.TRing)
	d.c.Close("reload")
	again := w.device("two")
	ring := again.typ(frame.TRing)
	time.Sleep(signOffGrace + 200*time.Millisecond)
	again.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Ring.Attempt})
	kim.state(attempt.Answered)
	if n := len(w.mail.all()); n != 0 {
		t.Errorf("%d alarms went out", n)
	}
}

// A callee's page can vanish without a word. Who asks for the callee before
// that is noticed is not left without a ring or an alarm.
func TestAttemptAtAGhost(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	w := newWorld(t, nil)
	ghost := w.in(w.desk(), frame.Frame{})
	ghost.typ(frame.TWelcome)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	for range 5 { // the ghost is silent for frame.IdleWait
		time.Sleep(frame.IdleWait / 4)
		kim.send(frame.Frame{T: frame.TPing})
	}
	if f := kim.state(attempt.Alarmed); f.Attempt.On {
		t.Errorf("%+v", f.Attempt)
	}
}

// Chat now rings before the caller has come in; the same attempt goes on when
// they have, and ends when they never do.
func TestRingOnTheWay(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("d1")
	way := func(token string, n byte) Entry {
		e, err := w.relay.Chat(t.Context(), token, claimOf(n), Claim{Ring: true})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := way(w.token, 1)
	if r := desk.typ(frame.TRing).Ring; e.Attempt == "" || r.Attempt != e.Attempt || r.From.Name != "Kim" {
		t.Fatalf("ring %+v, entry %+v", r, e)
	}
	kim := w.in(e, frame.Frame{})
	if a := kim.typ(frame.TWelcome).Attempt; a == nil || a.ID != e.Attempt || a.State != attempt.Ringing {
		t.Fatalf("welcomed with the attempt %+v", a)
	}
	if again := way(w.token, 1); again.Attempt != "" {
		t.Errorf("a second attempt %s began beside the first", again.Attempt)
	}
	desk.send(frame.Frame{T: frame.TAnswer, AttemptID: e.Attempt})
	kim.state(attempt.Answered)
	kim.send(frame.Frame{T: frame.TLeave})

	lost := way(w.cc, 2) // and is never seen
	if r := desk.typ(frame.TRing).Ring; r.Attempt != lost.Attempt || r.From.Name != "Lee" {
		t.Fatalf("ring %+v", r)
	}
	for range 4 { // a device that is silent counts as gone
		time.Sleep(comeWait / 5)
		desk.send(frame.Frame{T: frame.TPing})
	}
	for range 4 {
		desk.typ(frame.TPong) // it rang on
	}
	if slices.Contains(desk.types(), frame.TRingEnd+frame.EndCancelled) {
		t.Errorf("the caller had too little time to come in: %s", desk.types())
	}
	desk.until("the end", func(f *frame.Frame) bool {
		return f.T == frame.TRingEnd && f.AttemptID == lost.Attempt && f.Code == frame.EndCancelled
	})
}
