// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
)

// What docs/protocol.md asks of a client.
const (
	talkerPing   = 2 * time.Second
	talkerSilent = 4 * time.Second
	talkerTry    = 3 * time.Second
	talkerRound  = 400 * time.Millisecond
)

// talker is a client that says a line four times a second whatever happens, and
// comes back as docs/protocol.md says.
type talker struct {
	name  string
	ended sync.WaitGroup

	mu       sync.Mutex
	conn     *websocket.Conn // nil: it is lost
	place    string          // the WebSocket where it was
	peers    []string
	ticket   string
	epoch    string
	last     int64            // newest offset before which nothing is missing
	lines    map[int64]string // by offset: the message's ID
	said     int
	unacked  []frame.Frame
	problems []string
}

func newTalker(t *testing.T, s *server, name, link string) *talker {
	t.Helper()
	_, e := s.claim(t, link)
	k := &talker{name: name, place: socketOf(e.Endpoints), ticket: e.Ticket, lines: map[int64]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		k.ended.Wait()
	})
	k.ended.Go(func() {
		for ctx.Err() == nil {
			k.search(ctx)
		}
	})
	return k
}

// search asks all known places side by side, round after round, until one says
// welcome, and stays there for as long as it lasts.
func (k *talker) search(ctx context.Context) {
	searching, found := context.WithCancel(ctx)
	defer found()
	welcomed := make(chan *websocket.Conn)
	var busy sync.Map // places that are being asked
	var tries sync.WaitGroup
	var ask func(place, ticket string)
	ask = func(place, ticket string) {
		if _, there := busy.LoadOrStore(place, true); there {
			return
		}
		tries.Go(func() {
			conn, moved := k.enter(searching, place, ticket)
			busy.Delete(place)
			if moved != nil {
				ask(socketOf(moved.Endpoints), moved.Ticket)
			}
			if conn == nil {
				return
			}
			select {
			case welcomed <- conn:
			case <-searching.Done():
				conn.CloseNow()
			}
		})
	}
	for {
		k.mu.Lock()
		places, ticket := append([]string{k.place}, k.peers...), k.ticket
		k.mu.Unlock()
		for _, place := range places {
			ask(place, ticket)
		}
		select {
		case conn := <-welcomed:
			found()
			tries.Wait()
			k.stay(ctx, conn)
			return
		case <-ctx.Done():
			tries.Wait()
			return
		case <-time.After(talkerRound):
		}
	}
}

// enter opens a place and says hello. The connection that it returns has been
// welcomed; moved is where it was sent instead.
func (k *talker) enter(ctx context.Context, place, ticket string) (conn *websocket.Conn, moved *frame.Frame) {
	ctx, cancel := context.WithTimeout(ctx, talkerTry)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, place, nil)
	if err != nil {
		return nil, nil
	}
	conn.SetReadLimit(1 << 20)
	k.mu.Lock()
	hello := frame.Frame{T: frame.THello, Ticket: ticket, Epoch: k.epoch, After: k.last}
	k.mu.Unlock()
	if conn.Write(ctx, websocket.MessageText, frame.Encode(&hello)) == nil {
		for {
			f := read(ctx, conn)
			switch {
			case f == nil, f.T == frame.TError:
			case f.T == frame.TMoved:
				moved = f
			case f.T == frame.TWelcome:
				k.welcome(place, f)
				return conn, nil
			default:
				continue
			}
			break
		}
	}
	conn.CloseNow()
	return nil, moved
}

func read(ctx context.Context, conn *websocket.Conn) *frame.Frame {
	_, b, err := conn.Read(ctx)
	if err != nil {
		return nil
	}
	f, err := frame.Decode(b)
	if err != nil {
		return nil
	}
	return f
}

func (k *talker) welcome(place string, f *frame.Frame) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.epoch != "" && k.epoch != f.Epoch {
		k.problems = append(k.problems, "another epoch")
	}
	k.place, k.epoch, k.ticket, k.peers = place, f.Epoch, f.Ticket, f.Peers
}

// stay reads until the connection is lost.
func (k *talker) stay(ctx context.Context, conn *websocket.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.mu.Lock()
	k.conn = conn
	for _, f := range k.unacked {
		k.write(f)
	}
	k.mu.Unlock()
	k.ended.Go(func() {
		for tick := time.NewTicker(talkerPing); ; {
			select {
			case <-tick.C:
				k.mu.Lock()
				if k.conn == conn {
					k.write(frame.Frame{T: frame.TPing})
				}
				k.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	for lost := false; !lost; {
		within, done := context.WithTimeout(ctx, talkerSilent)
		f := read(within, conn)
		done()
		k.mu.Lock()
		lost = f == nil || !k.take(f)
		if lost {
			k.conn = nil
		}
		k.mu.Unlock()
	}
	conn.CloseNow()
}

// take notes what a frame says; it reports whether the connection is good.
func (k *talker) take(f *frame.Frame) bool {
	switch f.T {
	case frame.TMsg:
		if f.Msg.Kind == chat.KindText {
			k.note(f.Msg.Offset, f.Msg.ID)
		} else {
			k.note(f.Msg.Offset, "")
		}
	case frame.TAck:
		k.note(f.Offset, f.ID)
	case frame.TTicket:
		k.ticket, k.peers = f.Ticket, f.Peers
	case frame.TMoved, frame.TError:
		return false
	}
	return true
}

func (k *talker) note(offset int64, id string) {
	if before, there := k.lines[offset]; there && before != id {
		k.problems = append(k.problems, fmt.Sprintf("offset %d is %s, then %s", offset, before, id))
	}
	k.lines[offset] = id
	for {
		if _, there := k.lines[k.last+1]; !there {
			break
		}
		k.last++
	}
	k.unacked = slices.DeleteFunc(k.unacked, func(f frame.Frame) bool { return f.ID == id })
}

// write sends a frame; that the connection is lost is seen by who reads.
func (k *talker) write(f frame.Frame) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = k.conn.Write(ctx, websocket.MessageText, frame.Encode(&f))
}

func (k *talker) say() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said++
	id := k.name + "-" + strconv.Itoa(k.said)
	f := frame.Frame{T: frame.TSay, ID: id, Text: id}
	k.unacked = append(k.unacked, f)
	if k.conn != nil {
		k.write(f)
	}
}

// heard says whether the talker has a line of each of them that was said later
// than the given ones.
func (k *talker) heard(later map[string]int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	newest := map[string]int{}
	for _, id := range k.lines {
		name, n := numbered(id)
		newest[name] = max(newest[name], n)
	}
	for name, n := range later {
		if newest[name] <= n {
			return false
		}
	}
	return true
}

func numbered(id string) (name string, n int) {
	name, number, _ := strings.Cut(id, "-")
	n, _ = strconv.Atoi(number)
	return name, n
}

// TestFaults: whatever becomes of a room's home (its database is away from it
// alone, it is stopped and continued, it is killed), clients are back in the
// room within ten seconds, and nothing is lost, doubled or out of order.
func TestFaults(t *testing.T) {
	redis, database := testpart.Redis(t), testpart.Postgres(t)
	gate, through := testpart.NewGate(t, database)
	a := startServer(t, t.TempDir(), "--presence", redis.URL(), "--database", through)
	b := startServer(t, t.TempDir(), "--presence", redis.URL(), "--database", database)
	a.send(t, "host", fmt.Sprintf(letter, "Two lamps", "faults"), "customer@mall.example", "friend@mall.example")
	_, link := checkStamp(t, a, a.mailWith(t, "customer", "Two lamps"))
	_, friendLink := checkStamp(t, a, a.mailWith(t, "friend", "Two lamps"))
	friendLink = strings.Replace(friendLink, a.Web, b.Web, 1)
	talkers := []*talker{newTalker(t, a, "customer", link), newTalker(t, b, "friend", friendLink)}

	ctx, cancel := context.WithCancel(t.Context())
	var saying sync.WaitGroup
	for _, k := range talkers {
		saying.Go(func() {
			for tick := time.NewTicker(250 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				k.say()
			}
		})
	}
	wait := func(what string, patience time.Duration, done func(*talker) bool) time.Duration {
		t.Helper()
		began := time.Now()
		for slices.ContainsFunc(talkers, func(k *talker) bool { return !done(k) }) {
			if time.Since(began) > patience {
				for _, k := range talkers {
					k.mu.Lock()
					t.Logf("%s: at %s, connected: %v, peers %v, last %d, unacknowledged %d",
						k.name, k.place, k.conn != nil, k.peers, k.last, len(k.unacked))
					k.mu.Unlock()
				}
				t.Fatalf("%s: not after %v", what, patience)
			}
			time.Sleep(20 * time.Millisecond)
		}
		return time.Since(began)
	}
	now := func() map[string]int {
		said := map[string]int{}
		for _, k := range talkers {
			k.mu.Lock()
			said[k.name] = k.said
			k.mu.Unlock()
		}
		return said
	}
	together := func(s *server) {
		t.Helper()
		later := now()
		wait("everybody hears the others", 20*time.Second, func(k *talker) bool { return k.heard(later) })
		wait("everybody is where the room is", 20*time.Second, func(k *talker) bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.conn != nil && strings.Contains(k.place, strings.TrimPrefix(s.Web, "http://"))
		})
		wait("both servers know of each other", 30*time.Second, func(k *talker) bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return len(k.peers) == 1
		})
	}
	fault := func(name string, do func()) {
		t.Helper()
		do()
		later := now()
		took := wait(name, 30*time.Second, func(k *talker) bool { return k.heard(later) })
		t.Logf("%s: everybody heard a later line of everybody after %v", name, took)
		if took > 10*time.Second {
			t.Errorf("%s: only after %v", name, took)
		}
	}

	together(a)
	fault("PostgreSQL is away from the home", gate.Refuse)
	gate.Open()
	together(b)
	fault("the home is stopped", func() { b.cmd.Process.Signal(syscall.SIGSTOP) })
	time.Sleep(3 * time.Second) // it missed much
	b.cmd.Process.Signal(syscall.SIGCONT)
	together(a)
	fault("the home is killed", a.kill)

	cancel()
	saying.Wait()
	wait("everything is acknowledged", 20*time.Second, func(k *talker) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.unacked) == 0 && k.last == int64(len(k.lines))
	})
	later := now()
	for name := range later {
		later[name]-- // the last line of everybody
	}
	wait("everybody has the last lines", 20*time.Second, func(k *talker) bool { return k.heard(later) })
	said := now()
	for _, k := range talkers {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.problems) > 0 {
			t.Errorf("%s: %v", k.name, k.problems)
		}
		next := map[string]int{}
		for _, offset := range slices.Sorted(maps.Keys(k.lines)) {
			id := k.lines[offset]
			if id == "" {
				continue
			}
			name, n := numbered(id)
			if next[name]++; n != next[name] {
				t.Fatalf("%s: at offset %d is %s, want %s-%d", k.name, offset, id, name, next[name])
			}
		}
		for name, said := range said {
			if next[name] != said {
				t.Errorf("%s has %d lines of %s, who said %d", k.name, next[name], name, said)
			}
		}
	}
}

// TestStartWithoutDatabase: a server that starts while PostgreSQL is away takes
// mail, says on its pages that chats have to wait, and opens them by itself.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	gate, through := testpart.NewGate(t, testpart.Postgres(t))
	state := t.TempDir()
	startServer(t, state, "--database", through).stop(t)
	gate.Refuse()
	s := startServer(t, state, "--database", through)
	s.send(t, "host", fmt.Sprintf(letter, "No stamp", "away"), "customer@mall.example")
	if mail := s.mailWith(t, "customer", "No stamp"); len(headers(mail, "CHmail-Chat")) != 0 {
		t.Errorf("stamped without rooms:\n%s", mail)
	}
	desk := func() (int, string) {
		res, err := http.Get(s.Web + "/desk")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if status, page := desk(); status != 503 || !strings.Contains(page, "Not available right now") {
		t.Errorf("the desk without rooms: %d %s", status, page)
	}
	gate.Open()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if status, _ := desk(); status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the desk did not come back")
		}
	}
	s.send(t, "host", fmt.Sprintf(letter, "A stamp", "back"), "customer@mall.example")
	checkStamp(t, s, s.mailWith(t, "customer", "A stamp"))
}
