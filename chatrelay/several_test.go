// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/redis"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}

// newWorlds are relays that share a PostgreSQL and a Redis. The mail came in
// at the first.
func newWorlds(t *testing.T, n int, change func(*Options)) []*world {
	t.Helper()
	dsn, server := testpart.Postgres(t), testpart.Redis(t)
	var list []*world
	for i := range n {
		dir, err := redis.Open(redis.Options{URL: server.URL(), Timeout: 2 * time.Second,
			Ranges: presence.HostRanges{{Host: fmt.Sprintf("127.0.0.%d", i+2), Range: freeRange(t)}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dir.Close() })
		list = append(list, build(t, dsn, dir, func(o *Options) {
			o.Bus = dir
			o.Interval = time.Minute
			if change != nil {
				change(o)
			}
		}))
	}
	for _, w := range list {
		eventually(t, "every relay knows the others", func() bool { return len(w.relay.Peers()) == n-1 })
	}
	list[0].redis = server
	first := list[0].open()
	for _, w := range list[1:] {
		w.room, w.token, w.cc = first.room, first.token, first.cc
	}
	eventually(t, "a grant", func() bool { _, err := first.dir.Grant(t.Context(), first.host); return err == nil })
	return list
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// come enters by a ticket over the carriers as a page does: the first endpoint
// that it can use.
func (w *world) come(e Entry, hello frame.Frame) *client {
	w.t.Helper()
	var c *client
	if e.Endpoints[0].Carrier == carrier.WebTransport {
		c = w.webTransport(e)
	} else {
		c = w.dial(e.Endpoints[0].URL)
	}
	hello.T, hello.Ticket = frame.THello, e.Ticket
	c.send(hello)
	return c
}

// moved follows a moved frame.
func (w *world) moved(f *frame.Frame, hello frame.Frame) *client {
	w.t.Helper()
	return w.come(Entry{Ticket: f.Ticket, Endpoints: f.Endpoints}, hello)
}

func TestLinkLeadsHomeFromAnyRelay(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	e := other.chat(other.token, 1)
	g, err := home.dir.GrantOf(t.Context(), home.host)
	if err != nil || e.Endpoints[0].Port != g.Port ||
		e.Endpoints[0].URL != fmt.Sprintf("https://127.0.0.2:%d/chat", g.Port) {
		t.Fatalf("endpoints %+v, grant %+v, %v", e.Endpoints, g, err)
	}
	kim := other.come(e, frame.Frame{})
	kim.typ(frame.TWelcome)
	lee := home.come(home.chat(home.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "hello"})
	lee.text("hello")
	// Who comes to the other relay's door with a ticket is shown the way.
	astray := other.in(other.chat(other.token, 1), frame.Frame{})
	f := astray.typ(frame.TMoved)
	again := other.moved(f, frame.Frame{})
	again.text("hello")
	// A mail that came in at the other relay shows in the room.
	o, err := other.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "m2@mall.example",
		References: []string{"m1@mall.example"},
		Sender:     chat.Person{Login: home.host, Addr: home.host},
		Recipients: []chat.Person{{Addr: "kim@far.example"}, {Addr: "lee@far.example"}},
		Subject:    "Order 7 again"})
	if err != nil || o.Room != home.room {
		t.Fatal(o, err)
	}
	kim.text("Order 7 again")
}

func TestRingAcrossRelays(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	here, there := home.device("here"), other.device("there")
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.Status.State != frame.Available {
		t.Fatalf("status %+v", f.Status)
	}
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Ringing); len(f.Attempt.Devices) != 2 {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	here.typ(frame.TRing)
	ring := there.typ(frame.TRing).Ring
	there.send(frame.Frame{T: frame.TAnswer, AttemptID: ring.Attempt})
	if f := there.typ(frame.TRingEnd); f.Code != frame.EndAnswered {
		t.Fatalf("%+v", f)
	}
	if f := here.typ(frame.TRingEnd); f.Code != frame.EndElsewhere {
		t.Fatalf("%+v", f)
	}
	kim.state(attempt.Answered)

	// The status follows the device at the other relay.
	here.send(frame.Frame{T: frame.TLeave})
	there.send(frame.Frame{T: frame.TAway, On: true})
	kim.until("away", func(f *frame.Frame) bool { return f.T == frame.TStatus && f.Status.State == frame.Away })
	there.send(frame.Frame{T: frame.TLeave})
	kim.until("off", func(f *frame.Frame) bool { return f.T == frame.TStatus && f.Status.State == frame.Off })

	// Off: an alarm at once; and a device that signs on at the other relay rings.
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	back := other.device("back")
	second := back.until("a live ring", func(f *frame.Frame) bool { return f.T == frame.TRing && !f.Ring.Waiting }).Ring
	back.send(frame.Frame{T: frame.TDecline, AttemptID: second.Attempt, Text: "later"})
	if f := kim.state(attempt.Declined); f.Attempt.Words != "later" {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	back.typ(frame.TRingEnd)

	// News in the room reach a device at the other relay.
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "hello"})
	back.typ(frame.TRoom)
}

// A relay that ends moves its chats first; a message that was under way is
// sent again, and nobody misses or sees twice anything.
func TestDrain(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 3, nil)
	home := all[0]
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	epoch := kim.typ(frame.TWelcome).Epoch
	lee := home.come(home.chat(home.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "one"})
	last := lee.text("one").Msg.Offset
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := home.relay.Close(); err != nil {
			t.Error(err)
		}
	})
	toLee, toKim := lee.typ(frame.TMoved), kim.typ(frame.TMoved)
	lee = home.moved(toLee, frame.Frame{Epoch: epoch, After: last})
	kim = home.moved(toKim, frame.Frame{Epoch: epoch, After: last})
	if f := lee.typ(frame.TWelcome); f.Carrier != carrier.WebTransport {
		t.Errorf("carrier %s after the move", f.Carrier)
	}
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "one"})
	kim.send(frame.Frame{T: frame.TSay, ID: "2", Text: "two"})
	if f := lee.until("the next message", func(f *frame.Frame) bool { return f.T == frame.TMsg }); f.Msg.Text !=
		"two" || f.Msg.Offset != last+1 {
		t.Fatalf("message %+v after offset %d", f.Msg, last)
	}
	ended.Wait()
	// The link leads there now, wherever it is opened.
	for _, w := range all[1:] {
		e := w.chat(w.token, 1)
		if e.Endpoints[0].URL != toKim.Endpoints[0].URL {
			t.Errorf("endpoints %+v, moved to %+v", e.Endpoints, toKim.Endpoints)
		}
	}
}

// A relay that stands still for too long loses its rooms; when it goes on it
// writes nothing into them, and sends everybody where they are now.
func TestStalledRelay(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	welcome := kim.typ(frame.TWelcome)
	home.stall()
	var lee *client
	eventually(t, "the other relay takes the room", func() bool {
		lee = other.dial(other.relay.opt.Socket)
		lee.send(frame.Frame{T: frame.THello, Ticket: welcome.Ticket})
		f := lee.until("an answer", func(f *frame.Frame) bool { return f.T == frame.TWelcome || f.T == frame.TMoved })
		return f.T == frame.TWelcome
	})
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "lost?"})
	again := home.moved(kim.typ(frame.TMoved), frame.Frame{})
	again.typ(frame.TWelcome)
	again.send(frame.Frame{T: frame.TSay, ID: "1", Text: "lost?"})
	lee.text("lost?")
	for _, f := range kim.seen {
		if f.T == frame.TAck {
			t.Errorf("the stalled relay acknowledged: %+v", f)
		}
	}
}

// A relay that loses the database, while another has it, sends its clients away
// and lets nobody in; they come back to the other. It serves again when it has
// the database back.
func TestFencedRelay(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	welcome := kim.typ(frame.TWelcome)
	began := time.Now()
	home.loseDatabase(errors.New("no way to the database"))
	if f := kim.typ(frame.TError); f.Code != frame.ErrShutdown || !f.Fatal {
		t.Errorf("the client was sent away with %+v", f)
	}
	astray := home.dial(home.relay.opt.Socket)
	astray.send(frame.Frame{T: frame.THello, Ticket: welcome.Ticket})
	if f := astray.typ(frame.TError); f.Code != frame.ErrShutdown {
		t.Errorf("who came meanwhile got %+v", f)
	}
	eventually(t, "the other relay takes the room", func() bool {
		again := other.dial(other.relay.opt.Socket)
		again.send(frame.Frame{T: frame.THello, Ticket: welcome.Ticket})
		f := again.until("an answer", func(f *frame.Frame) bool { return f.T == frame.TWelcome || f.T == frame.TMoved })
		return f.T == frame.TWelcome
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the client was back after %v", took)
	}
	home.loseDatabase(nil)
	eventually(t, "it serves again", func() bool { return !home.relay.cluster.Fenced() })
	// Where no relay has the database, nobody is sent away.
	lee := other.come(other.chat(other.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	for _, w := range all {
		w.loseDatabase(errors.New("the database is down"))
	}
	time.Sleep(chat.RelayTTL + 3*time.Second)
	if home.relay.cluster.Fenced() || other.relay.cluster.Fenced() {
		t.Error("a relay is fenced, though no other can take its rooms")
	}
	lee.send(frame.Frame{T: frame.TPing, N: 7})
	lee.typ(frame.TPong)
}

// What a relay that died left ringing rings on at another.
func TestAttemptOfADeadRelay(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	desk := other.device("desk")
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	welcome := kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	first := desk.typ(frame.TRing).Ring
	home.stall()
	if err := home.relay.ports.Close(t.Context()); err != nil { // nobody gets to it any more
		t.Fatal(err)
	}
	second := desk.typ(frame.TRing).Ring
	if second.Attempt != first.Attempt {
		t.Fatalf("attempt %s, then %s", first.Attempt, second.Attempt)
	}
	kim = other.dial(other.relay.opt.Socket)
	kim.send(frame.Frame{T: frame.THello, Ticket: welcome.Ticket})
	kim.state(attempt.Ringing)
	desk.send(frame.Frame{T: frame.TAnswer, AttemptID: second.Attempt})
	kim.state(attempt.Answered)
}

// Without Redis chats go on, a link leads to the room's home over WebSocket, and
// the devices of the home are rung; when Redis is back, empty, all is as before.
func TestSeveralWithoutRedis(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	before := home.chat(home.token, 1)
	kim := home.come(before, frame.Frame{})
	kim.typ(frame.TWelcome)
	home.redis.Kill()
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "one"})
	kim.typ(frame.TAck)
	e := other.proven(other.cc, 2)
	if len(e.Endpoints) != 2 || e.Endpoints[0].URL != home.relay.opt.Socket {
		t.Fatalf("endpoints %+v without Redis", e.Endpoints)
	}
	lee := other.come(e, frame.Frame{})
	lee.text("one")
	lee.send(frame.Frame{T: frame.TSay, ID: "2", Text: "two"})
	kim.text("two")
	desk := home.device("desk")
	lee.send(frame.Frame{T: frame.TAttempt})
	desk.typ(frame.TRing)
	lee.state(attempt.Ringing)

	home.redis.Start(t)
	eventually(t, "the same port as before", func() bool {
		e := other.chat(other.token, 1)
		return e.Endpoints[0].URL == before.Endpoints[0].URL
	})
	kim.send(frame.Frame{T: frame.TSay, ID: "3", Text: "three"})
	lee.text("three")
}

// Random cuts, moves and repetitions while two people talk: everybody has every
// message once, in order.
func TestTalkThroughMoves(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	const n = 60
	home := all[0]
	e := home.chat(home.token, 1)
	lee := home.come(home.chat(home.cc, 2), frame.Frame{})
	epoch := lee.typ(frame.TWelcome).Epoch
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() { // Kim, who comes back whatever happens
		acked := 0
		for at := 0; acked < n && ctx.Err() == nil; at++ {
			again, err := all[at%2].relay.Ticket(ctx, home.token, claimOf(1))
			if err != nil {
				continue
			}
			acked = talkOn(ctx, t, again, acked, n)
		}
	})
	_ = e
	seen, last := 0, int64(0)
	for moves := 0; seen < n; {
		f := lee.until("a message or a move",
			func(f *frame.Frame) bool { return f.T == frame.TMsg || f.T == frame.TMoved })
		if f.T == frame.TMoved {
			lee = home.moved(f, frame.Frame{Epoch: epoch, After: last})
			lee.typ(frame.TWelcome)
			continue
		}
		if last > 0 && f.Msg.Offset != last+1 {
			t.Fatalf("offset %d after %d", f.Msg.Offset, last)
		}
		last = f.Msg.Offset
		if f.Msg.Kind != chat.KindText {
			continue
		}
		if f.Msg.Text != fmt.Sprint(seen) {
			t.Fatalf("message %q, want %d", f.Msg.Text, seen)
		}
		if seen++; seen%20 == 0 { // the room changes its home
			from := all[moves%2].relay
			moves++
			for _, h := range from.all() {
				from.moveOut(ctx, h)
				h.leave()
			}
		}
	}
}

// talkOn says the messages from acked on, over whatever carrier, until the
// connection ends, and returns how many have been acknowledged.
func talkOn(ctx context.Context, t *testing.T, e Entry, acked, n int) int {
	c, err := dial(ctx, socketOf(e.Endpoints))
	if err != nil {
		return acked
	}
	defer c.Close("cut")
	if c.Write(ctx, frame.Encode(&frame.Frame{T: frame.THello, Ticket: e.Ticket})) != nil {
		return acked
	}
	sent := false
	for acked < n {
		wait, cancel := context.WithTimeout(ctx, patience)
		b, err := c.Read(wait)
		cancel()
		if err != nil {
			return acked
		}
		f, err := frame.Decode(b)
		if err != nil {
			t.Error(err)
			return acked
		}
		switch f.T {
		case frame.TMoved, frame.TError:
			return acked
		case frame.TAck:
			if f.ID != fmt.Sprint(acked) {
				continue // of what was sent twice
			}
			acked, sent = acked+1, false
			if acked%13 == 0 {
				return acked // a cut
			}
		}
		if !sent && (f.T == frame.TAck || f.T == frame.TWelcome) {
			time.Sleep(5 * time.Millisecond)
			say := frame.Encode(&frame.Frame{T: frame.TSay, ID: fmt.Sprint(acked), Text: fmt.Sprint(acked)})
			if c.Write(ctx, say, say) != nil {
				return acked
			}
			sent = true
		}
	}
	return acked
}
