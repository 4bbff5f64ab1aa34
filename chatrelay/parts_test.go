// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/presence"
)

// testProgram is a program that lets people in on this computer.
type testProgram struct {
	*client
	host  *direct.Host
	mu    sync.Mutex
	keeps []direct.Kept
	full  atomic.Bool // its disk
}

// program registers one, and waits until the relay has dialled back.
func (w *world) program() *testProgram {
	w.t.Helper()
	a := &testProgram{}
	h, err := direct.Open(direct.Options{Origin: w.web.URL, Keep: func(m direct.Kept) error {
		if a.full.Load() {
			return errors.New("the disk is full")
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.keeps = append(a.keeps, m)
		return nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := h.Close(w.t.Context()); err != nil && w.t.Context().Err() == nil {
			w.t.Error(err)
		}
	})
	a.client, a.host = w.socket("/device/agent?source="+string(presence.Agent)), h
	a.send(frame.Frame{T: frame.THello})
	serve := a.direct(frame.DirectServe)
	port, err := h.Listen(w.t.Context(), serve.Port, serve.Key, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	a.send(frame.Frame{T: frame.TDirect, Port: port, Hashes: h.Hashes(), Keep: w.keep})
	if f := a.direct(frame.DirectReach); !f.On {
		w.t.Fatalf("the relay does not reach the program: %s", f.Text)
	}
	return a
}

// handsOver ends a part as a program does when the relay asks.
func (a *testProgram) handsOver() {
	a.t.Helper()
	f := a.direct(frame.DirectOver)
	list, kept := a.host.Over(f.Epoch)
	for _, m := range list {
		a.send(*m)
	}
	a.send(frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: f.Room, Epoch: f.Epoch, Keep: kept})
}

func (c *client) direct(code string) *frame.Frame {
	c.t.Helper()
	return c.until("direct "+code, func(f *frame.Frame) bool { return f.T == frame.TDirect && f.Code == code })
}

// directTalker is somebody in a room at the relay, and past it.
type directTalker struct {
	*client // at the relay
	past    *client
	offer   *frame.Frame
}

func (w *world) directTalker(e Entry) *directTalker {
	w.t.Helper()
	c := w.in(e, frame.Frame{Direct: true})
	c.typ(frame.TWelcome)
	return &directTalker{client: c}
}

// follow takes the way that was offered.
func (t *directTalker) follow() {
	t.t.Helper()
	t.offer = t.direct(frame.DirectOffer)
	t.past = t.dial()
	t.past.send(frame.Frame{T: frame.THello, Ticket: t.offer.Ticket})
	t.past.typ(frame.TWelcome)
	t.send(frame.Frame{T: frame.TDirect, Epoch: t.offer.Epoch, On: true})
}

// dial opens a connection to the program.
func (t *directTalker) dial() *client {
	t.t.Helper()
	u, err := url.Parse(t.offer.Endpoints[0].URL)
	if err != nil {
		t.t.Fatal(err)
	}
	c, err := carrier.Dial(t.ctx, netip.MustParseAddrPort(u.Host), t.offer.Endpoints[0].Hashes)
	if err != nil {
		t.t.Fatal(err)
	}
	t.t.Cleanup(func() { c.Close("test") })
	return &client{t: t.t, c: c, ctx: t.ctx}
}

// words are what somebody says in a part, marked.
func (t *directTalker) words(id, text string) frame.Frame {
	t.t.Helper()
	at := time.Now()
	f := frame.Frame{T: frame.TSay, ID: id, Text: text, At: &at}
	key, err := base64.StdEncoding.DecodeString(t.offer.Key)
	if err != nil {
		t.t.Fatal(err)
	}
	f.Mac = seal.Key(key).Mark(direct.Marked(&f))
	return f
}

func allowDirect(o *Options) { o.Direct = true }

// directTalk is a room in which the host and Kim talk past the server.
func (w *world) directTalk() (program *testProgram, host, kim *directTalker) {
	w.t.Helper()
	program = w.program()
	host = w.directTalker(w.desk())
	kim = w.directTalker(w.proven(w.token, 1))
	for _, one := range []*directTalker{host, kim} {
		one.follow()
	}
	for _, one := range []*directTalker{host, kim} {
		one.direct(frame.DirectOn)
	}
	return program, host, kim
}

// texts are what was said in the room, as the relay has it.
func (w *world) texts() (texts []string) {
	w.t.Helper()
	list, err := w.rooms.Messages(w.t.Context(), w.room, 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range list {
		if m.Kind == chat.KindText {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// TestDirect: what two people say goes past the relay, and is handed over when a third
// comes, who has no way there.
func TestDirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	program, host, kim := w.directTalk()
	kim.past.send(kim.words("k1", "Is it red?"))
	kim.past.typ(frame.TAck)
	m := host.past.typ(frame.TMsg)
	if m.Msg.Text != "Is it red?" || m.Msg.Offset != 1 || m.Msg.From != kim.seen[0].Me || m.Mac == "" {
		t.Errorf("the host hears %+v", m.Msg)
	}
	kim.past.send(kim.words("k1", "Is it red?")) // again
	if f := kim.past.typ(frame.TAck); f.Offset != 1 {
		t.Errorf("said again it is at %d", f.Offset)
	}
	host.past.send(host.words("h1", "Blue."))
	host.past.typ(frame.TAck)
	kim.past.text("Blue.")
	if texts := w.texts(); len(texts) != 0 {
		t.Errorf("the relay has %q", texts)
	}

	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	program.handsOver()
	for _, c := range []*client{host.client, kim.client, lee} {
		c.text("Is it red?")
		c.text("Blue.")
	}
	host.direct(frame.DirectOver)
	if f := host.past.typ(frame.TError); f.Code != frame.ErrShutdown {
		t.Errorf("the program's last words are %+v", f)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "k2", Text: "Good."})
	lee.text("Good.")
	if texts := w.texts(); !slices.Equal(texts, []string{"Is it red?", "Blue.", "Good."}) {
		t.Errorf("the relay has %q", texts)
	}
}

// TestDirectProgramGone: the program ends in mid-sentence, and those who are left hand
// over what was said, each message once and in its order; nobody puts words into
// another's mouth.
func TestDirectProgramGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	program, host, kim := w.directTalk()
	var said []frame.Frame
	for i, one := range []*directTalker{kim, host, kim} {
		f := one.words("d"+string(rune('0'+i)), "line "+string(rune('0'+i)))
		one.past.send(f)
		one.past.typ(frame.TAck)
		f.From, f.Epoch = one.seen[0].Me, one.offer.Epoch
		said = append(said, f)
	}
	program.c.Close("killed")
	kim.direct(frame.DirectOver)
	host.direct(frame.DirectOver)
	forged := said[1]
	forged.ID, forged.Text = "f1", "It costs nothing."
	kim.send(forged)
	if f := kim.typ(frame.TError); f.Code != frame.ErrForbidden || f.Fatal {
		t.Errorf("forged words are answered %+v", f)
	}
	for _, f := range said { // both have all of it
		kim.send(f)
		host.send(f)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "last", Text: "last"})
	host.text("last")
	if texts := w.texts(); !slices.Equal(texts, []string{"line 0", "line 1", "line 2", "last"}) {
		t.Errorf("the relay has %q", texts)
	}
}

// TestDirectStrangers: no ticket but the relay's own for this program lets anybody in.
func TestDirectStrangers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	w.program()
	p := w.relay.programOf(w.host)
	other, err := w.relay.Secret("another key")
	if err != nil {
		t.Fatal(err)
	}
	enter := func(ticket string) *frame.Frame {
		c, err := carrier.Dial(t.Context(), netip.AddrPortFrom(p.from[0], uint16(p.port)), p.hashes)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close("test")
		one := &client{t: t, c: c, ctx: t.Context()}
		one.send(frame.Frame{T: frame.THello, Ticket: ticket})
		return one.until("an answer", func(*frame.Frame) bool { return true })
	}
	good := direct.Ticket{Program: p.hashes[0], Room: "r", Epoch: "e", Me: 1,
		Expires: time.Now().Add(time.Minute).Unix()}
	late, elsewhere := good, good
	late.Expires = time.Now().Add(-time.Minute).Unix()
	elsewhere.Program = "another"
	for name, ticket := range map[string]string{"none": "", "late": late.Sign(w.relay.ticketSigner),
		"for another program": elsewhere.Sign(w.relay.ticketSigner),
		"forged":              good.Sign(ed25519.NewKeyFromSeed(other))} {
		if f := enter(ticket); f.T != frame.TError || f.Code != frame.ErrTicket {
			t.Errorf("with a ticket that is %s: %+v", name, f)
		}
	}
	if f := enter(good.Sign(w.relay.ticketSigner)); f.T != frame.TWelcome {
		t.Errorf("with a good ticket: %+v", f)
	}
}

// TestWays: a private address is told to its own network alone, and an address that the
// server does not reach to nobody else either.
func TestWays(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	home := program{port: 20001, from: []netip.Addr{addr("203.0.113.5"), addr("2001:db8::5")},
		own: []netip.Addr{addr("192.168.1.4")}}
	reached := home
	reached.reached = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::5]:20001"),
		netip.MustParseAddrPort("203.0.113.5:20001")}
	office := program{port: 20001, from: []netip.Addr{addr("10.0.0.4")}, own: []netip.Addr{addr("10.0.0.4")},
		reached: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.4:20001")}}
	for _, c := range []struct {
		p    program
		from string
		want string
	}{
		{home, "198.51.100.7", ""},
		{reached, "198.51.100.7", "[2001:db8::5] 203.0.113.5"},
		{reached, "192.168.1.9", "[2001:db8::5] 203.0.113.5"},
		{reached, "2001:db8::5", "192.168.1.4 [2001:db8::5] 203.0.113.5"},
		{home, "203.0.113.5", "192.168.1.4 203.0.113.5"},
		{office, "10.0.0.9", "10.0.0.4"},
		{office, "10.0.1.9", ""},
		{office, "198.51.100.7", ""},
	} {
		var got []string
		for _, e := range c.p.ways(addr(c.from)) {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(e.URL, "https://"), ":20001/chat"))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("from %s: %q, want %q", c.from, s, c.want)
		}
	}
}

// TestDirectKept: what is said stays at the program, which passes on later what somebody missed; the server has a line
// about it, once.
func TestDirectKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	w.keep = true
	program, host, kim := w.directTalk()
	if !host.offer.Keep || !kim.offer.Keep {
		t.Errorf("the offers do not say that words stay at the program: %+v, %+v", host.offer, kim.offer)
	}
	for _, id := range []string{"k1", "k2"} {
		kim.past.send(kim.words(id, "word "+id))
		kim.past.typ(frame.TAck)
	}
	host.past.text("word k2")
	program.mu.Lock()
	if k := program.keeps; len(k) != 2 || k[0].Text != "word k1" || k[0].Room != w.room || k[0].From == "" ||
		k[0].Subject == "" {
		t.Errorf("the program keeps %+v", k)
	}
	program.mu.Unlock()
	program.full.Store(true)
	kim.past.send(kim.words("k3", "the disk is full"))
	if f := kim.past.typ(frame.TError); f.ID != "k3" || f.Code != frame.ErrStore {
		t.Errorf("what is not kept is answered %+v", f)
	}
	program.full.Store(false)

	lee := w.in(w.chat(w.cc, 2), frame.Frame{Direct: true})
	lee.typ(frame.TWelcome)
	program.handsOver()
	for _, c := range []*client{host.client, kim.client, lee} {
		c.until("the note", func(f *frame.Frame) bool {
			return f.T == frame.TMsg && f.Msg.Kind == chat.KindNote && f.Msg.Text == chat.NoteKept
		})
	}
	before := kim.offer.Epoch
	for _, one := range []*directTalker{host, kim} {
		one.direct(frame.DirectOver)
		one.offer = one.direct(frame.DirectOffer)
	}
	for after, want := range map[int64]string{0: "word k1", 1: "word k2"} { // Kim comes with what they have
		past := kim.dial()
		past.send(frame.Frame{T: frame.THello, Ticket: kim.offer.Ticket, Epoch: before, After: after})
		past.typ(frame.TWelcome)
		if m := past.typ(frame.TMsg); m.Msg.Text != want || m.Epoch != before {
			t.Errorf("after %d: %+v", after, m.Msg)
		}
	}
	stranger := &directTalker{client: lee, offer: lee.direct(frame.DirectOffer)}
	past := stranger.dial()
	past.send(frame.Frame{T: frame.THello, Ticket: stranger.offer.Ticket, Epoch: before})
	past.typ(frame.TWelcome)
	past.send(frame.Frame{T: frame.TPing, N: 1})
	f := past.until("an answer", func(f *frame.Frame) bool { return f.T == frame.TPong || f.T == frame.TMsg })
	if f.T != frame.TPong {
		t.Errorf("who was not there is told %+v", f.Msg)
	}
	if texts := w.texts(); len(texts) != 0 {
		t.Errorf("the relay has %q", texts)
	}
}

// TestDirectSplit: a program that has lost the server goes on with its part, and those who are there with it; another
// program takes the room. The newer part wins: the writers of the older one are told, and their words come once.
func TestDirectSplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	old, host, kim := w.directTalk()
	say := func(one *directTalker, id string) frame.Frame {
		f := one.words(id, "word "+id)
		one.past.send(f)
		one.past.typ(frame.TAck)
		f.From, f.Epoch = one.seen[0].Me, one.offer.Epoch
		return f
	}
	said := []frame.Frame{say(kim, "a1"), say(host, "a2")}
	old.c.Close("cut")
	both := []*directTalker{host, kim}
	for _, one := range both {
		one.direct(frame.DirectOver)
	}
	late := say(kim, "a3") // the older program lives, and takes it
	said = append(said, late)
	for _, one := range both {
		for _, f := range said {
			one.send(f)
		}
	}
	w.program()
	for _, one := range both {
		one.follow()
	}
	for _, one := range both {
		one.direct(frame.DirectOn)
	}
	if host.offer.Epoch == late.Epoch {
		t.Fatal("both parts have one epoch")
	}
	say(kim, "b1")
	host.past.text("word b1")

	// The older program is back, and hands over what it has: it is known.
	back := w.socket("/device/agent?source=" + string(presence.Agent))
	back.send(frame.Frame{T: frame.THello})
	back.direct(frame.DirectServe)
	list, _ := old.host.Over(late.Epoch)
	if len(list) != 3 {
		t.Fatalf("the older program has %d messages", len(list))
	}
	for _, m := range list {
		back.send(*m)
	}
	back.send(frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: w.room, Epoch: late.Epoch})
	back.send(frame.Frame{T: frame.TPing, N: 7})
	back.until("a pong", func(f *frame.Frame) bool { return f.T == frame.TPong && f.N == 7 })
	if texts := w.texts(); !slices.Equal(texts, []string{"word a1", "word a2", "word a3"}) {
		t.Errorf("the relay has %q", texts)
	}
	say(kim, "b2") // the newer part goes on
	host.past.text("word b2")
}

// TestDirectDates: words that are handed over are of the time of their part, whatever their writer says.
func TestDirectDates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	program, host, kim := w.directTalk()
	began := time.Now()
	dated := func(id string, at time.Time) {
		at = at.Truncate(time.Millisecond)
		f := frame.Frame{T: frame.TSay, ID: id, Text: id, At: &at}
		key, err := base64.StdEncoding.DecodeString(kim.offer.Key)
		if err != nil {
			t.Fatal(err)
		}
		f.Mac, f.From, f.Epoch = seal.Key(key).Mark(direct.Marked(&f)), kim.seen[0].Me, kim.offer.Epoch
		kim.send(f)
	}
	program.c.Close("cut")
	kim.direct(frame.DirectOver)
	host.direct(frame.DirectOver)
	ended := time.Now()
	dated("before", began.Add(-12*time.Hour))
	dated("after", ended.Add(12*time.Hour))
	host.text("after")
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Kind == chat.KindText && (m.At.Before(began.Add(-time.Minute)) || m.At.After(ended.Add(time.Second))) {
			t.Errorf("%q is of %v: the part was from %v to %v", m.Text, m.At, began, ended)
		}
	}
}

// TestRegister: a program is dialled only where it has shown to be, and not as often as it likes.
func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allowDirect)
	v6 := netip.MustParseAddr("2001:db8::5")
	good := w.relay.AddressProof(w.host, v6)
	for proof, want := range map[string]bool{good: true, good[:len(good)-2] + "xx": false, "": false,
		w.relay.AddressProof("another@mall.example", v6): false} {
		if a, ok := w.relay.proven(w.host, proof); ok != want || ok && a != v6 {
			t.Errorf("proof %q: %v, %v", proof, a, ok)
		}
	}
	// A router's address that is not the program's is not dialled, and said.
	h, err := direct.Open(direct.Options{Origin: w.web.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(context.WithoutCancel(t.Context())) })
	a := w.socket("/device/agent?source=" + string(presence.Agent))
	a.send(frame.Frame{T: frame.THello})
	a.direct(frame.DirectServe)
	register := frame.Frame{T: frame.TDirect, Port: 1, Hashes: h.Hashes(), Mapped: "192.168.1.1:20017"}
	a.send(register)
	if f := a.direct(frame.DirectReach); f.On || !strings.Contains(f.Text, "another router is in between") {
		t.Errorf("with the router of another network: %+v", f)
	}
	for range 12 {
		if w.relay.limiters.register.Wait(w.host) > 0 {
			break
		}
	}
	a.send(register)
	if f := a.typ(frame.TError); f.Code != frame.ErrTooFast || f.Wait == 0 {
		t.Errorf("too many registrations are answered %+v", f)
	}
}
