// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/testpart"
)

func TestTalkOverBothCarriers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	card, err := w.relay.Card(t.Context(), w.token)
	if err != nil || card.Invite.Claimed || card.Status.State != frame.Off {
		t.Fatalf("card %+v, %v", card, err)
	}
	e := w.chat(w.token, 1)
	kim := w.webTransport(e)
	kim.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	if f := kim.typ(frame.TWelcome); f.Carrier != carrier.WebTransport ||
		f.Port != e.Endpoints[0].Port || f.Me != e.Me {
		t.Fatalf("welcome %+v", f)
	}
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.until("Lee", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 2 })
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "hello"})
	ack := kim.typ(frame.TAck)
	if m := lee.text("hello"); m.Msg.Offset != ack.Offset || m.Msg.From != e.Me {
		t.Fatalf("message %+v, ack %+v", m.Msg, ack)
	}
	lee.send(frame.Frame{T: frame.TSay, ID: "b", Text: "hi"})
	kim.text("hi")
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "hello"}) // sent again
	if again := kim.typ(frame.TAck); again.Offset != ack.Offset {
		t.Fatalf("ack %+v of what was sent again", again)
	}
	lee.send(frame.Frame{T: frame.TSeen, Offset: ack.Offset})
	kim.typ(frame.TSeen)
	if g, err := w.dir.GrantOf(t.Context(), w.host); err != nil || g.Port != e.Endpoints[0].Port {
		t.Fatalf("grant %+v, %v", g, err)
	}
}

func TestResumeExactlyOnceInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim := w.in(e, frame.Frame{})
	epoch := kim.typ(frame.TWelcome).Epoch
	const n = 120
	go func() {
		for i := range n {
			time.Sleep(25 * time.Millisecond)
			m := chat.Message{ID: fmt.Sprint(i), From: e.Me + 1, Kind: chat.KindText, Text: fmt.Sprint(i)}
			if i%3 == 0 { // by another process
				w.rooms.Append(context.Background(), "", w.room, m)
				continue
			}
			lee.c.Write(context.Background(), frame.Encode(&frame.Frame{T: frame.TSay, ID: m.ID, Text: m.Text}))
		}
	}()
	var last int64
	total := map[string]bool{}
	for cut := 0; len(total) < n; {
		f := kim.until("a message", func(f *frame.Frame) bool { return f.T == frame.TMsg || f.T == frame.TReset })
		if f.T == frame.TReset || f.Msg.Offset != last+1 {
			t.Fatalf("%+v after offset %d", f.Msg, last)
		}
		last = f.Msg.Offset
		if f.Msg.Kind == chat.KindText {
			total[f.Msg.Text] = true
		}
		if cut++; cut%17 == 0 {
			kim.c.Close("cut")
			again, err := w.relay.Ticket(t.Context(), w.token, claimOf(1))
			if err != nil {
				t.Fatal(err)
			}
			kim = w.in(again, frame.Frame{Epoch: epoch, After: last})
		}
	}
	kim.c.Close("cut")
	again := w.in(w.chat(w.token, 1), frame.Frame{Epoch: "another", After: last})
	again.typ(frame.TReset)
	again.typ(frame.TWelcome)
	again.until("everything", func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Offset == last })
}

func TestRingAnswerElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	one, two := w.device("one"), w.device("two")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.State != frame.Available {
		t.Fatalf("status %+v", f.Status)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Ringing); !f.Attempt.On || f.Attempt.Ring != 1 || len(f.Attempt.Devices) != 2 {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	ring := one.typ(frame.TRing).Ring
	if two.typ(frame.TRing); ring.From.Name != "Kim" || ring.Room != w.room || ring.Subject != "Order 7" {
		t.Fatalf("ring %+v", ring)
	}
	one.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	if f := one.typ(frame.TRingEnd); f.Code != frame.EndAnswered {
		t.Fatalf("%+v", f)
	}
	if f := two.typ(frame.TRingEnd); f.Code != frame.EndElsewhere {
		t.Fatalf("%+v", f)
	}
	kim.state(attempt.Answered)
	kim.text("answered")
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	host.send(frame.Frame{T: frame.TSay, ID: "h", Text: "how can I help?"})
	kim.text("how can I help?")
	if len(w.mail.all()) != 0 {
		t.Fatal("an alarm for an answered attempt")
	}
}

func TestDeclineAndCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	d := w.device("one")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	d.send(frame.Frame{T: frame.TDecline, AttemptID: d.typ(frame.TRing).Ring.Attempt, Text: "in a meeting"})
	if f := kim.state(attempt.Declined); f.Attempt.Words != "in a meeting" {
		t.Fatalf("%+v", f.Attempt)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Ringing)
	kim.send(frame.Frame{T: frame.TCancel})
	kim.state(attempt.Cancelled)
	d.until("cancelled", func(f *frame.Frame) bool { return f.T == frame.TRingEnd && f.Code == frame.EndCancelled })
}

func TestThreeRingsThenOneAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.device("one")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	for range 2 { // the second collapses into the first
		kim.send(frame.Frame{T: frame.TAttempt})
		for i := 1; i <= 3; i++ {
			d.until("ring", func(f *frame.Frame) bool { return f.T == frame.TRing && f.Ring.Ring == i })
		}
		kim.state(attempt.Unanswered)
		if f := kim.state(attempt.Alarmed); f.Attempt.Mailed == nil {
			t.Fatalf("%+v", f.Attempt)
		}
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "well"})
	kim.typ(frame.TAck)
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	notes := ""
	for _, m := range list {
		notes += m.Text + " "
	}
	if want := "Order 7 unanswered alarmed unanswered well "; notes != want {
		t.Fatalf("messages %q, want %q", notes, want)
	}
	mails := w.mail.all()
	if len(mails) != 1 || mails[0].To.Addr != w.host || mails[0].Subject != "Kim tried to reach you: Order 7" {
		t.Fatalf("mails %+v", mails)
	}
	// The link in it opens the room, and answers.
	_, token, _ := strings.Cut(mails[0].Text, "/c/")
	token, _, _ = strings.Cut(token, "\n")
	e := w.chat(token, 9)
	if e.Room != w.room || e.Endpoints[0].Carrier != carrier.WebTransport {
		t.Fatalf("entry %+v", e)
	}
	host := w.in(e, frame.Frame{})
	host.text("alarmed")
	kim.state(attempt.Answered)
}

func TestOffAlarmsAtOnceAndRingsAtSignOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Alarmed); f.Attempt.On || f.Attempt.Ring != 0 || len(w.mail.all()) != 1 {
		t.Fatalf("%+v, %d mails", f.Attempt, len(w.mail.all()))
	}
	d := w.device("one") // while Kim still waits
	if f := d.typ(frame.TRing); f.Ring.Waiting {
		t.Fatalf("%+v", f.Ring)
	}
	kim.state(attempt.Ringing)
	kim.send(frame.Frame{T: frame.TCancel})
	kim.state(attempt.Cancelled)
	d.c.Close("off")
	kim.until("off", func(f *frame.Frame) bool { return f.T == frame.TStatus && f.Status.State == frame.Off })
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	kim.send(frame.Frame{T: frame.TTell, On: true})
	kim.until("tell", func(f *frame.Frame) bool { return f.T == frame.TState && f.Attempt.Tell })
	kim.send(frame.Frame{T: frame.TLeave})
	deadline := time.Now().Add(patience)
	for w.relay.use(w.room, nil) != nil { // until Kim's room has ended
		h := w.relay.rooms[w.room]
		h.leave()
		if time.Now().After(deadline) {
			t.Fatal("the room does not end")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if f := w.device("two").typ(frame.TRing); !f.Ring.Waiting {
		t.Fatalf("%+v", f.Ring)
	}
	for len(w.mail.all()) < 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if m := w.mail.all(); len(m) != 2 || m[1].To.Addr != "kim@far.example" || m[1].Subject != "Host is back: Order 7" {
		t.Fatalf("mails %+v", m)
	}
}

func TestBadFramesHarmNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	tests := map[string]struct {
		raw  string
		code string
	}{
		"no json":      {"{", frame.ErrBadFrame},
		"unknown type": {`{"t":"dance"}`, frame.ErrBadFrame},
		"too large": {`{"t":"say","id":"x","text":"` + strings.Repeat("x", frame.MaxFrame) + `"}`,
			frame.ErrTooLarge},
		"other room": {`{"t":"say","room":"other","id":"x","text":"x"}`, frame.ErrRoom},
	}
	for name, test := range tests {
		kim := w.in(w.chat(w.token, 1), frame.Frame{})
		kim.typ(frame.TWelcome)
		if err := kim.c.Write(t.Context(), []byte(test.raw)); err != nil {
			t.Fatal(name, err)
		}
		kim.fault(test.code)
	}
	e := w.chat(w.token, 1)
	wt := w.webTransport(e)
	wt.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	wt.typ(frame.TWelcome)
	go wt.c.Write(t.Context(), bytes.Repeat([]byte("x"), frame.MaxFrame+1)) // it ends with the connection
	wt.fault(frame.ErrTooLarge)
	fast := w.in(w.chat(w.token, 1), frame.Frame{}) // it is slowed down, and everything answered
	for i := range sayBurst + sayRate {
		fast.send(frame.Frame{T: frame.TPing, N: int64(i + 1)})
	}
	began := time.Now()
	fast.until("the last pong", func(f *frame.Frame) bool { return f.T == frame.TPong && f.N == sayBurst+sayRate })
	if took := time.Since(began); took < time.Second/2 {
		t.Errorf("all frames were taken within %v", took)
	}
	forged := w.chat(w.token, 1)
	seal := []byte(forged.Ticket)
	seal[0] ^= 1 // another letter of base64url, or none
	forged.Ticket = string(seal)
	w.in(forged, frame.Frame{}).fault(frame.ErrTicket)
	lee.send(frame.Frame{T: frame.TSay, ID: "l", Text: "still here"})
	lee.typ(frame.TAck)
}

func TestPortOfAnotherProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.PortIdle = 300 * time.Millisecond })
	g, err := w.dir.Grant(t.Context(), w.host)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", g.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := w.chat(w.token, 1)
	if e.Endpoints[0].Port == g.Port || e.Endpoints[0].Port == 0 {
		t.Fatalf("endpoints %+v beside the taken port %d", e.Endpoints, g.Port)
	}
	deadline := time.Now().Add(patience)
	for { // nobody comes: it closes
		again, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", e.Endpoints[0].Port))
		if err == nil {
			again.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an idle port stays open")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTicket(t *testing.T) {
	t.Parallel()
	key, now := bytes.Repeat([]byte{1}, 32), time.Now()
	s := ticket{Room: "r", Me: 1, Expires: now.Add(ticketLife).Unix()}.sealed(key)
	if got, err := openTicket(key, s, now); err != nil || got.Room != "r" {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := openTicket(key, s, now.Add(ticketLife+2*time.Second)); !errors.Is(err, errTicket) {
		t.Errorf("an old ticket: %v", err)
	}
	if _, err := openTicket(bytes.Repeat([]byte{2}, 32), s, now); !errors.Is(err, errTicket) {
		t.Errorf("another relay's ticket: %v", err)
	}
}

func TestAttemptOfTheProcessBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.chat(w.token, 1)
	info, err := w.rooms.Info(t.Context(), w.room)
	if err != nil {
		t.Fatal(err)
	}
	a := chat.Attempt{ID: "before", Room: w.room, Caller: kim.Me, Callee: info.Owner,
		State: attempt.Ringing, Rings: 1, Started: time.Now()}
	if err := w.rooms.PutAttempt(t.Context(), "", a); err != nil {
		t.Fatal(err)
	}
	w.relay.takeUp()
	c := w.in(kim, frame.Frame{})
	c.text("alarmed")
	if len(w.mail.all()) != 1 {
		t.Fatalf("%d alarm mails", len(w.mail.all()))
	}
}

// A ring of the process before, whose caller does not come back, is unanswered,
// and its alarm is raised, once.
func TestAttemptWithoutItsCaller(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	w := newWorld(t, nil)
	desk := w.device("desk")
	kim := w.chat(w.token, 1)
	info, err := w.rooms.Info(t.Context(), w.room)
	if err != nil {
		t.Fatal(err)
	}
	a := chat.Attempt{ID: "before", Room: w.room, Caller: kim.Me, Callee: info.Owner,
		State: attempt.Ringing, Rings: 1, Started: time.Now()}
	if err := w.rooms.PutAttempt(t.Context(), "", a); err != nil {
		t.Fatal(err)
	}
	w.relay.opt.Interval = time.Minute // it does not run out by itself
	w.relay.takeUp()
	desk.typ(frame.TRing)
	eventually(t, "the alarm", func() bool {
		past, err := w.rooms.Attempts(t.Context(), w.room, 10)
		return err == nil && len(past) == 1 && past[0].State == attempt.Alarmed
	})
	if n := len(w.mail.all()); n != 1 {
		t.Errorf("%d alarm mails", n)
	}
}

// A message of the store that cannot be read in time is passed on a moment
// later, not only with the next one.
func TestCatchUpAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.settle() // the history was read
	w.store.failReads(1)
	if _, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		References: []string{"m1@mall.example"},
		Sender:     chat.Person{Login: w.host, Addr: w.host},
		Recipients: []chat.Person{{Addr: "kim@far.example"}, {Addr: "lee@far.example"}},
		Subject:    "Order 7 again"}); err != nil {
		t.Fatal(err)
	}
	kim.text("Order 7 again")
}

// When a message cannot be stored, those sent after it are not stored either:
// the connection ends, and the client sends all of them again in their order.
func TestOrderAroundAStoreError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	e := w.chat(w.token, 1)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim := w.in(e, frame.Frame{})
	kim.typ(frame.TWelcome)
	w.store.failAppend("2")
	texts := []string{"one", "two", "three", "four"}
	say := func(c *client) {
		for i, text := range texts {
			say := &frame.Frame{T: frame.TSay, ID: fmt.Sprint(i + 1), Text: text}
			if c.c.Write(c.ctx, frame.Encode(say)) != nil {
				return // the connection has ended
			}
		}
	}
	say(kim)
	if f := kim.until("the end", func(f *frame.Frame) bool { return f.T == frame.TError }); f.Code != frame.ErrStore ||
		!f.Fatal {
		t.Fatalf("%+v", f)
	}
	again := w.in(w.chat(w.token, 1), frame.Frame{})
	again.typ(frame.TWelcome)
	say(again)
	for _, want := range texts {
		lee.text(want)
	}
	all, err := w.rooms.Messages(t.Context(), w.room, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range all {
		if m.Kind == chat.KindText {
			got = append(got, m.Text)
		}
	}
	if !slices.Equal(got, texts) {
		t.Errorf("the room has %q, want %q", got, texts)
	}
}

// Settings that cannot be read ring nobody: they may not want to be disturbed.
func TestUnreadableSettingsRingNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.device("desk")
	if now := w.relay.reachOf(t.Context(), w.host, w.room, nil); len(now.ring) != 1 {
		t.Fatalf("before: %+v", now)
	}
	w.store.failReads(1000)
	if now := w.relay.reachOf(t.Context(), w.host, w.room, nil); len(now.ring) != 0 ||
		len(now.push) != 0 || now.why == "" {
		t.Errorf("with unreadable settings: %+v", now)
	}
}

// Who calls too often is told, and stands in nobody else's way.
func TestAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.relay.limiters.callMe = limit.NewBuckets(limit.Rate{Every: 0.1, Burst: 1}, 10)
	kim, lee := w.in(w.chat(w.token, 1), frame.Frame{}), w.in(w.chat(w.cc, 2), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.typ(frame.TError); f.Code != frame.ErrTooFast || f.Fatal || f.Wait < 1 || f.Wait > 10 {
		t.Fatalf("%+v", f)
	}
	lee.state(attempt.Alarmed)
	lee.send(frame.Frame{T: frame.TAttempt})
	lee.until("an attempt of Lee's", func(f *frame.Frame) bool {
		return f.T == frame.TState && f.Attempt.Caller == lee.seen[0].Me && f.Attempt.State == attempt.Alarmed
	})
}
