// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
)

// deviceOf is a device of any login.
func (w *world) deviceOf(login, id string) *client {
	w.t.Helper()
	d := w.socket("/device/" + id + "?login=" + login)
	d.send(frame.Frame{T: frame.THello})
	d.typ(frame.TWelcome)
	return d
}

func (w *world) set(change func(*chat.Settings)) {
	w.t.Helper()
	if _, err := w.relay.ChangeSettings(w.t.Context(), w.host, func(s *chat.Settings) error {
		change(s)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (c *client) status(state string) *frame.Frame {
	c.t.Helper()
	return c.until("status "+state, func(f *frame.Frame) bool {
		return f.T == frame.TStatus && f.Status.State == state
	})
}

// never says whether a frame of a type came so far.
func (c *client) had(typ string) bool {
	for _, f := range c.seen {
		if f.T == typ {
			return true
		}
	}
	return false
}

// settle makes sure that everything sent to a device so far has come.
func (c *client) settle() *client {
	c.t.Helper()
	n := time.Now().UnixNano()
	c.send(frame.Frame{T: frame.TPing, N: n})
	c.until("a pong", func(f *frame.Frame) bool { return f.T == frame.TPong && f.N == n })
	return c
}

func TestDoNotDisturb(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	desk.status(frame.Available)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	w.set(func(s *chat.Settings) { s.Availability, s.Back = chat.DoNotDisturb, 90 })
	desk.typ(frame.TSettings)
	desk.status(frame.DND)
	if f := kim.status(frame.DND); f.Status.Back != 90 {
		t.Fatalf("status %+v", f.Status)
	}
	card, err := w.relay.Card(t.Context(), w.token)
	if err != nil || card.Status.State != frame.DND {
		t.Fatalf("card %+v, %v", card.Status, err)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Alarmed); f.Attempt.Why != frame.DND || !f.Attempt.On ||
		f.Attempt.Ring != 0 || f.Attempt.Mailed == nil {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	if desk.settle().had(frame.TRing) {
		t.Fatal("it rang")
	}
	// Another try adds no note; when the callee can be disturbed again, it rings.
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	w.set(func(s *chat.Settings) { s.Availability = chat.Available })
	kim.status(frame.Available)
	if f := kim.state(attempt.Ringing); f.Attempt.Why != "" || f.Attempt.Ring != 1 {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	ring := desk.typ(frame.TRing).Ring
	// And stops at once when they have enough of it.
	w.set(func(s *chat.Settings) { s.Availability = chat.DoNotDisturb })
	if f := desk.typ(frame.TRingEnd); f.AttemptID != ring.Attempt || f.Code != frame.EndUnanswered {
		t.Fatalf("%+v", f)
	}
	if f := kim.state(attempt.Alarmed); f.Attempt.Why != frame.DND {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	if n := len(w.mail.all()); n != 1 {
		t.Errorf("%d alarm mails", n)
	}
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	alarms := 0
	for _, m := range list {
		if m.Text == attempt.Alarmed {
			alarms++
		}
	}
	if alarms != 1 {
		t.Errorf("%d notes of an alarm", alarms)
	}
}

// Do not disturb that ends by itself, as quiet hours do, is followed at once
// by whoever waits.
func TestAvailabilityTurnsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	until := time.Now().Add(1500 * time.Millisecond)
	w.set(func(s *chat.Settings) { s.Availability, s.Until = chat.DoNotDisturb, &until })
	if f := kim.status(frame.DND); f.Status.Until == nil || !f.Status.Until.Equal(until) {
		t.Fatalf("status %+v", f.Status)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Unanswered)
	kim.status(frame.Available)
	if late := time.Since(until); late > 3*time.Second {
		t.Errorf("%v late", late)
	}
	kim.state(attempt.Ringing)
	desk.typ(frame.TRing)
	// Quiet hours that have no end.
	w.set(func(s *chat.Settings) { s.Quiet = &chat.Quiet{From: "00:00", To: "00:00"} })
	kim.status(frame.Quiet)
	if f := kim.state(attempt.Unanswered); f.Attempt.Why != frame.Quiet {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	w.set(func(s *chat.Settings) { s.Quiet, s.Availability = nil, chat.Away })
	kim.status(frame.Away)
	kim.state(attempt.Ringing) // away is no reason not to ring
}

// second opens a conversation with somebody else.
func (w *world) second() *client {
	w.t.Helper()
	o, err := w.rooms.OpenFromMail(w.t.Context(), chat.Mail{MessageID: "s1@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host, Name: "Host"},
		Recipients: []chat.Person{{Addr: "pat@far.example", Name: "Pat"}}, Subject: "Order 8", Date: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	pat := w.in(w.chat(o.Invites["pat@far.example"], 8), frame.Frame{})
	pat.typ(frame.TWelcome)
	return pat
}

func TestBusyInAnotherChat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.Busy {
		t.Fatal("busy with Kim, to Kim")
	}
	eventually(t, "the chat is known", func() bool { return w.relay.busy(w.host, "") })
	pat := w.second()
	if f := pat.seen[len(pat.seen)-1]; !f.Status.Busy || f.Status.State != frame.Available {
		t.Fatalf("status %+v", f.Status)
	}
	// Any number of chats: it rings, and both sides know.
	pat.send(frame.Frame{T: frame.TAttempt})
	if f := pat.state(attempt.Ringing); !f.Attempt.Busy {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	if f := desk.typ(frame.TRing); !f.Ring.Busy {
		t.Fatalf("ring %+v", f.Ring)
	}
	pat.send(frame.Frame{T: frame.TCancel})
	pat.state(attempt.Cancelled)
	// One at a time: Pat waits, may leave a message, and it rings when Kim has gone.
	w.set(func(s *chat.Settings) { s.Chats = 1 })
	pat.send(frame.Frame{T: frame.TAttempt})
	if f := pat.state(attempt.Busy); f.Attempt.Why != attempt.Busy || f.Attempt.Ring != 0 {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	desk.seen = nil
	if desk.settle().had(frame.TRing) {
		t.Fatal("it rang")
	}
	pat.send(frame.Frame{T: frame.TSay, ID: "m", Text: "no hurry"})
	pat.typ(frame.TAck)
	kim.send(frame.Frame{T: frame.TLeave})
	if f := pat.state(attempt.Ringing); f.Attempt.Busy {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	desk.typ(frame.TRing)
	if len(w.mail.all()) != 0 {
		t.Error("an alarm, though it rings")
	}
	// Who stops waiting is missed, and known.
	pat.send(frame.Frame{T: frame.TCancel})
	pat.state(attempt.Cancelled)
	kim = w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	pat.until("busy again", func(f *frame.Frame) bool { return f.T == frame.TStatus && f.Status.Busy })
	pat.send(frame.Frame{T: frame.TAttempt})
	pat.state(attempt.Busy)
	desk.send(frame.Frame{T: frame.TLeave})
	if f := pat.state(attempt.Alarmed); f.Attempt.Why != frame.Off {
		t.Fatalf("attempt %+v", f.Attempt)
	}
}

func TestDeclineKeepsTheWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.send(frame.Frame{T: frame.TDecline, AttemptID: desk.typ(frame.TRing).Ring.Attempt, Text: "in a\u202e meeting"})
	if f := kim.state(attempt.Declined); f.Attempt.Words != "in a meeting" {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	kim.text("declined\nin a meeting")
	// Who comes later sees how it ended as well.
	kim.send(frame.Frame{T: frame.TLeave})
	eventually(t, "the room ends", func() bool {
		h := w.relay.use(w.room, nil)
		if h != nil {
			h.leave()
		}
		return h == nil
	})
	again := w.in(w.chat(w.token, 1), frame.Frame{})
	if f := again.typ(frame.TWelcome); f.Attempt == nil || f.Attempt.State != attempt.Declined ||
		f.Attempt.Words != "in a meeting" {
		t.Fatalf("welcome %+v", f.Attempt)
	}
}

// Somebody who is blocked sees what everybody sees, and reaches nobody.
func TestBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	desk := w.device("desk")
	e := w.chat(w.token, 1)
	kim := w.in(e, frame.Frame{})
	kim.typ(frame.TWelcome)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	if err := w.relay.Block(t.Context(), w.host, w.room, e.Me, true); err != nil {
		t.Fatal(err)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	for i := 1; i <= 3; i++ {
		kim.until("ring", func(f *frame.Frame) bool {
			return f.T == frame.TState && f.Attempt.State == attempt.Ringing &&
				f.Attempt.Ring == i && len(f.Attempt.Devices) == 1
		})
	}
	kim.state(attempt.Unanswered)
	if f := kim.state(attempt.Alarmed); f.Attempt.Mailed == nil {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	kim.send(frame.Frame{T: frame.TTyping})
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "hello?"})
	if f := kim.typ(frame.TAck); f.ID != "a" || f.Offset == 0 || f.At == nil {
		t.Fatalf("ack %+v", f)
	}
	lee.send(frame.Frame{T: frame.TSay, ID: "b", Text: "it is quiet here"})
	kim.text("it is quiet here")
	lee.typ(frame.TAck)
	if lee.had(frame.TTyping) || len(w.mail.all()) != 0 || desk.settle().had(frame.TRing) {
		t.Errorf("Lee saw %v, %d mails, the desk saw %v", lee.types(), len(w.mail.all()), desk.types())
	}
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
	if err != nil || len(list) != 2 {
		t.Fatalf("messages %+v, %v", list, err)
	}
	if second := w.device("second"); second.settle().had(frame.TRing) {
		t.Error("a ring waited")
	}
	// Lee is not blocked, and rings; then is, and sees no difference.
	lee.send(frame.Frame{T: frame.TAttempt})
	id := desk.typ(frame.TRing).Ring.Attempt
	if err := w.relay.Block(t.Context(), w.host, w.room, lee.seen[0].Me, true); err != nil {
		t.Fatal(err)
	}
	desk.until("the end", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.AttemptID == id })
	lee.state(attempt.Alarmed)
	if len(w.mail.all()) != 0 {
		t.Error("a mail")
	}
	// Taken back, it counts at once.
	for _, who := range []string{"kim@far.example", "lee@far.example"} {
		if err := w.relay.Unblock(t.Context(), w.host, who); err != nil {
			t.Fatal(err)
		}
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "c", Text: "and now?"})
	lee.text("and now?")
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.until("a ring of Kim's", func(f *frame.Frame) bool { return f.T == frame.TRing && f.Ring.From.Name == "Kim" })
}

func TestMutedRoomRingsSilently(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	if err := w.relay.Mute(t.Context(), w.host, w.room, true); err != nil {
		t.Fatal(err)
	}
	if err := w.relay.Mute(t.Context(), w.host, "elsewhere", true); !errors.Is(err, chat.ErrUnknown) {
		t.Fatal(err)
	}
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := desk.typ(frame.TRing); !f.Ring.Muted {
		t.Fatalf("ring %+v", f.Ring)
	}
}

func TestUsuallyBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	info, err := w.rooms.Info(t.Context(), w.room)
	if err != nil {
		t.Fatal(err)
	}
	for i, took := range []time.Duration{9, 12, 14, 40} {
		began := time.Now().Add(-time.Duration(i+2) * time.Hour)
		if err := w.rooms.PutAttempt(t.Context(), "", chat.Attempt{ID: fmt.Sprint(i), Room: w.room,
			Caller: info.Participants[1].ID, Callee: info.Owner,
			State: attempt.Answered, Started: began, Ended: began.Add(took * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.relay.Status(t.Context(), w.host); s.State != frame.Off || s.Back != 60 {
		t.Fatalf("status %+v", s)
	}
	w.set(func(s *chat.Settings) { s.Back = 5 })
	if s := w.relay.Status(t.Context(), w.host); s.Back != 5 {
		t.Fatalf("status %+v", s)
	}
	w.device("desk")
	if s := w.relay.Status(t.Context(), w.host); s.State != frame.Available || s.Back != 0 {
		t.Fatalf("status %+v", s)
	}
}

// A computer that vanishes without a word is known to be off within 10 s.
func TestOffIsKnownSoon(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.typ(frame.TRing)
	desk.settle() // its last sign of life
	last := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	go kim.alive(ctx) // Kim's page lives
	for off, over := false, false; !off || !over; {
		b, err := kim.c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f, err := frame.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		off = off || f.T == frame.TStatus && f.Status.State == frame.Off
		over = over || f.T == frame.TState && f.Attempt.Why == frame.Off
	}
	if took := time.Since(last); took > 10*time.Second {
		t.Errorf("known after %v", took)
	}
}

// alive keeps a page's connection from looking dead.
func (c *client) alive(ctx context.Context) {
	tick := time.NewTicker(frame.PingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.c.Write(ctx, frame.Encode(&frame.Frame{T: frame.TPing}))
		case <-ctx.Done():
			return
		}
	}
}

// Who waits for somebody busy and then vanishes has called in vain, and the
// callee learns of it.
func TestBusyCallerVanishes(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	desk := w.device("desk")
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	for _, c := range []*client{desk, host, kim} {
		go c.alive(ctx)
	}
	w.set(func(s *chat.Settings) { s.Chats = 1 })
	eventually(t, "the chat is known", func() bool { return w.relay.busy(w.host, "") })
	pat := w.second()
	pat.send(frame.Frame{T: frame.TAttempt})
	pat.state(attempt.Busy)
	pat.c.Close("gone")
	eventually(t, "an alarm", func() bool { return len(w.mail.all()) == 1 })
	if m := w.mail.all()[0]; m.To.Addr != w.host || m.Subject != "Pat tried to reach you: Order 8" {
		t.Errorf("mail %+v", m)
	}
}
