// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// proven says whether a participant is here and has proven who they are.
func proven(f *frame.Frame, id int64) bool {
	for _, p := range f.People {
		if p.ID == id {
			return p.Proven
		}
	}
	return false
}

// everything reads until a text and returns what was said up to it.
func (c *client) everything(last string) (texts string) {
	c.t.Helper()
	from := len(c.seen)
	c.text(last)
	for _, f := range c.seen[from:] {
		if f.T == frame.TMsg {
			texts += fmt.Sprintf("%d%s:%s ", f.Msg.Offset, f.Msg.Kind[:1], f.Msg.Text)
		}
	}
	return texts
}

// Whoever presses a link reads what is said from then on, by whatever way it asks;
// with the proof it reads everything.
func TestUnprovenReadsFromItsFirstEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Files = t.TempDir() })
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	host.send(frame.Frame{T: frame.TSay, ID: "1", Text: "for Kim's eyes"})
	old := host.typ(frame.TAck).Offset
	kimsFile, err := w.upload(Visitor{Login: w.host, Room: w.room}, "f", "plan.txt", []byte("the plan"))
	if err != nil {
		t.Fatal(err)
	}
	host.text("")

	e := w.chat(w.token, 1)
	kim := w.in(e, frame.Frame{})
	welcome := kim.typ(frame.TWelcome)
	if proven(welcome, e.Me) {
		t.Error("she has proven nothing")
	}
	host.send(frame.Frame{T: frame.TEdit, ID: "2", Offset: old, Text: "still for Kim's eyes"})
	host.send(frame.Frame{T: frame.TSay, ID: "3", Text: "hello Kim"})
	if got := kim.everything("hello Kim"); got != "4e: 5t:hello Kim " {
		t.Errorf("she reads %s", got)
	}
	v := Visitor{Token: w.token, Claim: claimOf(1)}
	if _, err := w.get(v, kimsFile.File.ID, false); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("a file from before: %v", err)
	}
	// Resuming is no way around it, whatever the client says it has.
	for _, hello := range []frame.Frame{{}, {Epoch: welcome.Epoch, After: 0}, {Epoch: "x", After: 1},
		{Epoch: strings.Split(welcome.Epoch, "~")[0], After: 0}} {
		again := w.in(w.chat(w.token, 1), hello)
		if got := again.everything("hello Kim"); got != "4e: 5t:hello Kim " {
			t.Errorf("with %+v she reads %s", hello, got)
		}
		again.c.Close("test")
	}
	kim.send(frame.Frame{T: frame.TEdit, ID: "4", Offset: old, Text: "not mine"})
	if f := kim.typ(frame.TError); f.Code != frame.ErrForbidden {
		t.Errorf("%+v", f)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "5", Text: "hi"})
	if m := host.text("hi").Msg; m.Via != chat.ViaLink {
		t.Errorf("message %+v", m)
	}
	if m, err := w.upload(v, "g", "mine.txt", []byte("mine")); err != nil || m.Via != chat.ViaLink {
		t.Errorf("file %+v, %v", m, err)
	} else if _, err := w.get(v, m.File.ID, false); err != nil {
		t.Errorf("her own file: %v", err)
	}

	// The code proves it: the tab that is open is let in anew, and reads everything.
	code, _, err := w.rooms.NewCode(t.Context(), w.token)
	if err != nil {
		t.Fatal(err)
	}
	e, err = w.relay.Chat(t.Context(), w.token, claimOf(1), Claim{Code: code})
	if err != nil {
		t.Fatal(err)
	}
	kim.fault(frame.ErrTicket)
	kim = w.in(e, frame.Frame{Epoch: welcome.Epoch, After: 5})
	kim.typ(frame.TReset)
	if f := kim.typ(frame.TWelcome); !proven(f, e.Me) {
		t.Error("she has proven it")
	}
	if got := kim.everything("hi"); !strings.HasPrefix(got, "1m:Order 7 2t:still for Kim's eyes 3f: 4e:") {
		t.Errorf("now she reads %s", got)
	}
	host.until("Kim, proven", func(f *frame.Frame) bool { return f.T == frame.TPeople && proven(f, e.Me) })
	if _, err := w.get(v, kimsFile.File.ID, false); err != nil {
		t.Errorf("the file: %v", err)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "6", Text: "it is me"})
	if m := host.text("it is me").Msg; m.Via != "" {
		t.Errorf("message %+v", m)
	}
}

// Whoever proves a link has it alone: a browser that only pressed it is out, and
// does not come back but as a guest or with a proof of its own.
func TestProofPutsOthersOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	thief, err := w.relay.Chat(t.Context(), w.token, claimOf(1), Claim{Ring: true, From: netip.MustParseAddr("127.0.0.1")})
	if err != nil || thief.Attempt == "" {
		t.Fatalf("%+v, %v", thief, err)
	}
	if r := desk.typ(frame.TRing).Ring; r.Proven || r.From.Name != "Kim" {
		t.Errorf("ring %+v", r)
	}
	in := w.in(thief, frame.Frame{})
	pass := in.typ(frame.TWelcome).Ticket
	if _, err := w.relay.Chat(t.Context(), w.token, claimOf(2), Claim{}); !errors.Is(err, chat.ErrClaimed) {
		t.Fatalf("a second browser: %v", err)
	}
	kim := w.in(w.proven(w.token, 2), frame.Frame{})
	kim.typ(frame.TWelcome)
	in.fault(frame.ErrTicket)
	for _, ticket := range []string{pass, thief.Ticket} { // no ticket of before opens anything
		back := w.in(Entry{Ticket: ticket}, frame.Frame{})
		back.fault(frame.ErrTicket)
	}
	if _, err := w.relay.Ticket(t.Context(), w.token, claimOf(1)); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("coming back: %v", err)
	}
	if _, err := w.relay.Chat(t.Context(), w.token, claimOf(1), Claim{}); !errors.Is(err, chat.ErrClaimed) {
		t.Errorf("pressing again: %v", err)
	}
	guest, err := w.relay.Chat(t.Context(), w.token, claimOf(1), Claim{Guest: "Gus"})
	if err != nil {
		t.Fatal(err)
	}
	gus := w.in(guest, frame.Frame{})
	gus.typ(frame.TWelcome)
	gus.send(frame.Frame{T: frame.TSay, ID: "1", Text: "a guest"})
	if m := kim.text("a guest").Msg; m.Via != "" || m.From != guest.Me {
		t.Errorf("message %+v", m)
	}
	kim.send(frame.Frame{T: frame.TCancel})
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.until("a ring of Kim's own", func(f *frame.Frame) bool { return f.T == frame.TRing && f.Ring.Proven })
}

// Who is signed in as a link's recipient, or as a member of the group that is, has
// proven it; whoever is signed in as somebody else has not.
func TestSignInProves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host},
		Recipients: []chat.Person{{Addr: "jun@mall.example"}, {Addr: sales}}, Subject: "Hello", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		link, login string
		proven      bool
	}{{"jun@mall.example", "", false}, {"jun@mall.example", mina, false}, {"jun@mall.example", "Jun@Mall.example", true},
		{sales, mina, true}, {sales, "jun@mall.example", false}} {
		e, err := w.relay.Chat(t.Context(), o.Invites[c.link], claimOf(byte(i)), Claim{Login: c.login})
		if !c.proven && errors.Is(err, chat.ErrClaimed) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		in := w.in(e, frame.Frame{})
		if got := proven(in.typ(frame.TWelcome), e.Me); got != c.proven {
			t.Errorf("the link of %s, signed in as %q: proven %v", c.link, c.login, got)
		}
	}
}

// Links taken back or expired, people put out and erased: whoever came so leaves at
// once, over every carrier and at every relay, and their tickets open nothing.
func TestLeaveAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code string
		do   func(ctx context.Context, w *world, kim int64) error
	}{
		"one link": {frame.ErrTicket, func(ctx context.Context, w *world, _ int64) error { return w.rooms.Revoke(ctx, w.token) }},
		"all of Kim": {frame.ErrTicket, func(ctx context.Context, w *world, kim int64) error {
			n, err := w.relay.RevokeLinks(ctx, w.host, w.room, kim)
			if n != 1 {
				err = errors.Join(err, fmt.Errorf("%d links", n))
			}
			return err
		}},
		"put out": {frame.ErrTicket, func(ctx context.Context, w *world, kim int64) error {
			return w.relay.Remove(ctx, w.host, w.room, kim)
		}},
		"erased": {frame.ErrTicket, func(ctx context.Context, w *world, _ int64) error {
			_, err := w.rooms.Erase(ctx, "kim@far.example")
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newWorlds(t, 2, nil)
			home, other := all[0], all[1]
			e := home.proven(home.token, 1)
			socket := home.come(e, frame.Frame{})
			pass := socket.typ(frame.TWelcome).Ticket
			quic := home.webTransport(e)
			quic.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
			quic.typ(frame.TWelcome)
			lee := home.come(home.chat(home.cc, 2), frame.Frame{})
			lee.typ(frame.TWelcome)
			if err := c.do(t.Context(), other, e.Me); err != nil { // at the relay that does not have the room
				t.Fatal(err)
			}
			socket.fault(c.code)
			quic.fault(c.code)
			lee.until("Kim's leaving", func(f *frame.Frame) bool { return f.T == frame.TPeople && len(f.Here) == 1 })
			for _, ticket := range []string{pass, e.Ticket} {
				back := home.come(Entry{Ticket: ticket, Endpoints: e.Endpoints}, frame.Frame{})
				back.fault(frame.ErrTicket)
			}
			lee.send(frame.Frame{T: frame.TSay, ID: "1", Text: "alone"})
			lee.typ(frame.TAck)
		})
	}
}

// Who has an account here and is put out, or erased, leaves with the desk too.
func TestDeskLeavesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host},
		Recipients: []chat.Person{{Addr: "jun@mall.example"}, {Addr: "mo@mall.example"}}, Subject: "Hello", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for login, out := range map[string]func(me int64) error{
		"jun@mall.example": func(me int64) error { return w.relay.Remove(t.Context(), w.host, o.Room, me) },
		"mo@mall.example":  func(int64) error { _, err := w.rooms.Erase(t.Context(), "mo@mall.example"); return err },
	} {
		e, err := w.relay.Enter(t.Context(), signedIn(login, ""), o.Room)
		if err != nil {
			t.Fatal(err)
		}
		c := w.in(e, frame.Frame{})
		pass := c.typ(frame.TWelcome).Ticket
		host, theirs := w.device("host-"+login), w.deviceOf(login, "their-"+login)
		if err := out(e.Me); err != nil {
			t.Fatal(err)
		}
		c.fault(frame.ErrRoom)
		host.listed("who is left", o.Room, func(chat.Summary) bool { return true })
		if login == "jun@mall.example" { // whoever is erased is signed out
			theirs.until("the room gone from the list", func(f *frame.Frame) bool {
				return f.T == frame.TRoom && f.Room == o.Room && f.Summary == nil
			})
		}
		w.in(Entry{Ticket: pass}, frame.Frame{}).fault(frame.ErrRoom)
		if _, err := w.relay.Enter(t.Context(), signedIn(login, ""), o.Room); !errors.Is(err, chat.ErrUnknown) {
			t.Errorf("%s comes back: %v", login, err)
		}
	}
}

// A link that expires ends the connections that came through it.
func TestExpiredLinkEndsConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TPeople) // it is in the room
	h := w.relay.use(w.room, nil)
	h.do(func() {
		for s := range h.sessions {
			s.access.Expires = time.Now().Add(-time.Second)
		}
	})
	h.leave()
	kim.send(frame.Frame{T: frame.TPing})
	kim.fault(frame.ErrTicket)
}

// A sender may let nobody in who has not proven who they are.
func TestSenderWantsProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	before := w.in(w.chat(w.cc, 9), frame.Frame{})
	before.typ(frame.TWelcome)
	_, err := w.relay.ChangeSettings(t.Context(), w.host, func(s *chat.Settings) error {
		s.Unproven = chat.No
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if card, err := w.relay.Card(t.Context(), w.token); err != nil || !card.Prove || card.Invite.Claimed {
		t.Errorf("card %+v, %v", card, err)
	}
	for _, how := range []Claim{{}, {Guest: "Gus"}} {
		if _, err := w.relay.Chat(t.Context(), w.token, claimOf(1), how); !errors.Is(err, chat.ErrProve) {
			t.Errorf("%+v: %v", how, err)
		}
	}
	if _, err := w.relay.Ticket(t.Context(), w.cc, claimOf(9)); !errors.Is(err, chat.ErrProve) {
		t.Errorf("coming back unproven: %v", err)
	}
	kim := w.in(w.proven(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim = w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	if _, err := w.relay.Ticket(t.Context(), w.token, claimOf(1)); err != nil {
		t.Error(err)
	}
	var wrong *chat.SettingError
	_, err = w.relay.ChangeSettings(t.Context(), w.host, func(s *chat.Settings) error {
		s.Unproven = "perhaps"
		return nil
	})
	if !errors.As(err, &wrong) || wrong.Field != "unproven" {
		t.Errorf("%v", err)
	}
}

// What a program pressed that looks at links, and had nothing to say, is its owner's
// to press.
func TestScannerGivesTheLinkBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	scanner := w.in(w.chat(w.token, 1), frame.Frame{})
	scanner.typ(frame.TWelcome)
	idle := func() bool {
		a, _, err := w.rooms.Participant(t.Context(), w.token, claimOf(1))
		return err == nil && a.Idle
	}
	eventually(t, "the link is in use", func() bool { return !idle() })
	scanner.send(frame.Frame{T: frame.TLeave})
	eventually(t, "the link is not in use", idle)
	// The same browser may come back.
	again := w.in(w.chat(w.token, 1), frame.Frame{})
	again.typ(frame.TWelcome)
	eventually(t, "the link is in use again", func() bool { return !idle() })
	// Somebody who was spoken with keeps it.
	again.send(frame.Frame{T: frame.TSay, ID: "1", Text: "hello"})
	again.typ(frame.TAck)
	again.send(frame.Frame{T: frame.TLeave})
	eventually(t, "the room ends", func() bool { return !w.relay.isLive(w.room) })
	if idle() {
		t.Error("words were said, and the link is anybody's")
	}
}

// Of a sender whose account was removed the card says so, and nothing rings.
func TestSenderIsGone(t *testing.T) {
	t.Parallel()
	there := true
	w := newWorld(t, func(o *Options) {
		o.Exists = func(_ context.Context, login string) (bool, error) { return there || login != "host@mall.example", nil }
	})
	if card, err := w.relay.Card(t.Context(), w.token); err != nil || card.Gone {
		t.Fatalf("card %+v, %v", card, err)
	}
	there = false
	if card, err := w.relay.Card(t.Context(), w.token); err != nil || !card.Gone {
		t.Fatalf("card %+v, %v", card, err)
	}
	e, err := w.relay.Chat(t.Context(), w.token, claimOf(1), Claim{Ring: true, From: netip.MustParseAddr("127.0.0.1")})
	if err != nil || e.Attempt != "" {
		t.Fatalf("entry %+v, %v", e, err)
	}
	kim := w.in(e, frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.typ(frame.TError); f.Code != frame.ErrForbidden || f.Fatal {
		t.Errorf("%+v", f)
	}
	if len(w.mail.all()) != 0 {
		t.Error("a mail to nobody")
	}
}

// The card of somebody in Bcc says who will see them; nobody does before they press.
func TestBccCard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	o, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		Sender: chat.Person{Login: w.host, Addr: w.host},
		Recipients: []chat.Person{{Addr: "kim@far.example", Name: "Kim"}, {Addr: "bea@far.example", Hidden: true},
			{Addr: "lee@far.example"}, {Addr: "dan@far.example", Hidden: true}}, Subject: "Hello", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	card, err := w.relay.Card(t.Context(), o.Invites["bea@far.example"])
	if err != nil || len(card.Others) != 2 || card.Others[0].Name != "Kim" || card.Others[1].Addr != "lee@far.example" {
		t.Errorf("card %+v, %v", card, err)
	}
	if card, err := w.relay.Card(t.Context(), o.Invites["kim@far.example"]); err != nil || card.Others != nil {
		t.Errorf("card %+v, %v", card, err)
	}
	// Nor does a program come in that has shown nobody what the card says.
	if _, err := w.relay.Chat(t.Context(), o.Invites["bea@far.example"], claimOf(2), Claim{}); !errors.Is(err, chat.ErrHidden) {
		t.Errorf("without a warning: %v", err)
	}
	kim := w.in(w.chat(o.Invites["kim@far.example"], 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); len(f.People) != 3 {
		t.Errorf("Kim learns of %+v", f.People)
	}
}

// The words with which a call was declined are for whoever was there.
func TestDeclineWordsAreNotForLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Interval = time.Minute })
	desk := w.device("desk")
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	desk.send(frame.Frame{T: frame.TDecline, AttemptID: desk.typ(frame.TRing).Ring.Attempt, Text: "at the doctor's"})
	kim.state(attempt.Declined)
	kim.text("declined\nat the doctor's")
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	if a := lee.typ(frame.TWelcome).Attempt; a == nil || a.State != attempt.Declined || a.Words != "" {
		t.Errorf("attempt %+v", a)
	}
	if a := lee.state(attempt.Declined).Attempt; a.Words != "" {
		t.Errorf("attempt %+v", a)
	}
	kim.send(frame.Frame{T: frame.TTell, On: true})
	if a := kim.until("tell", func(f *frame.Frame) bool {
		return f.T == frame.TState && f.Attempt.Tell
	}).Attempt; a.Words == "" {
		t.Errorf("attempt %+v", a)
	}
	if a := lee.until("tell", func(f *frame.Frame) bool {
		return f.T == frame.TState && f.Attempt.Tell
	}).Attempt; a.Words != "" {
		t.Errorf("attempt %+v", a)
	}
}
