// SPDX-License-Identifier: GPL-3.0-or-later

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

var errLost = errors.New("no way to the database")

// database is a store that all hosts of a test share.
type database struct {
	mu    sync.Mutex
	hosts map[string]chat.Relay
	beats map[string]time.Time
	homes map[string]string
}

// view is the database as one host sees it.
type view struct {
	*database
	lost bool // under mu: this host does not reach it
}

func (v *view) reach() (func(), error) {
	v.mu.Lock()
	if v.lost {
		v.mu.Unlock()
		return nil, errLost
	}
	return v.mu.Unlock, nil
}

func (v *view) lose(lost bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost = lost
}

func (v *view) alive(name string) bool {
	return name != "" && time.Since(v.beats[name]) < chat.RelayTTL
}

func (v *view) Beat(_ context.Context, r chat.Relay) error {
	done, err := v.reach()
	if err != nil {
		return err
	}
	defer done()
	v.hosts[r.Name], v.beats[r.Name] = r, time.Now()
	return nil
}

func (v *view) Quit(_ context.Context, name string) error {
	done, err := v.reach()
	if err != nil {
		return err
	}
	defer done()
	delete(v.beats, name)
	return nil
}

func (v *view) Relays(context.Context) (list []chat.Relay, err error) {
	done, err := v.reach()
	if err != nil {
		return nil, err
	}
	defer done()
	for name, r := range v.hosts {
		r.Alive = v.alive(name)
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b chat.Relay) int { return len(a.Name) - len(b.Name) })
	return list, nil
}

func (v *view) Home(_ context.Context, roomID string) (string, error) {
	done, err := v.reach()
	if err != nil {
		return "", err
	}
	defer done()
	if home := v.homes[roomID]; v.alive(home) {
		return home, nil
	}
	return "", nil
}

func (v *view) ClaimHome(_ context.Context, roomID, relay string) (string, error) {
	done, err := v.reach()
	if err != nil {
		return "", err
	}
	defer done()
	if home := v.homes[roomID]; home != relay && v.alive(home) {
		return home, nil
	}
	v.homes[roomID] = relay
	return relay, nil
}

func (v *view) LeaveHome(_ context.Context, roomID, relay string) error {
	done, err := v.reach()
	if err != nil {
		return err
	}
	defer done()
	if v.homes[roomID] == relay {
		v.homes[roomID] = ""
	}
	return nil
}

// post carries letters between the hosts of a test.
type post struct {
	mu sync.Mutex
	to map[string]func(string, []byte)
}

// address is the post as one host sees it.
type address struct {
	*post
	name string
}

func (a address) Subscribe(f func(from string, msg []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to[a.name] = f
}

func (a address) Publish(_ context.Context, to string, msg []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, f := range a.to {
		if name != a.name && (to == "" || to == name) {
			f(a.name, msg)
		}
	}
	return nil
}

// host is a Cluster with what happened to it.
type host struct {
	*Cluster
	view *view

	mu     sync.Mutex
	events []string
	got    []string
}

func (h *host) note(event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

func (h *host) noted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// hosts are several that share a database and a post.
func hosts(t *testing.T, names ...string) (list []*host) {
	db := &database{hosts: map[string]chat.Relay{}, beats: map[string]time.Time{}, homes: map[string]string{}}
	mail := &post{to: map[string]func(string, []byte){}}
	for _, name := range names {
		h := &host{view: &view{database: db}}
		h.Cluster = New(Options{
			Self:  chat.Relay{Name: name, Origin: "https://" + name, Socket: "wss://" + name},
			Store: h.view, Bus: address{mail, name},
			Vacant: time.Minute, InUse: func(id string) bool { return id == "in use" },
			Receive: func(from, key string, body []byte) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.got = append(h.got, from+" "+key+" "+string(body))
			},
			Answer: func(_ context.Context, from string, body []byte) any {
				return "for " + from + ": " + string(body)
			},
			Tend: func() {}, Fenced: func() { h.note("fenced") }, Rejoined: func() { h.note("rejoined") },
		})
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		list = append(list, h)
	}
	time.Sleep(2 * beatEvery) // they know each other
	return list
}

func end(list []*host) {
	for _, h := range list {
		h.Close(context.Background())
	}
}

func TestPeers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := hosts(t, "a", "bb", "ccc")
		defer end(list)
		a := list[0]
		if got := fmt.Sprint(a.Sockets()); got != "[wss://bb wss://ccc]" {
			t.Errorf("sockets %s", got)
		}
		if _, err := list[1].Drain(); err != nil {
			t.Fatal(err)
		}
		list[2].Close(t.Context())
		time.Sleep(2 * beatEvery)
		if got := fmt.Sprint(a.Sockets(), a.Pick("room")); got != "[]" {
			t.Errorf("with one that drains and one that left: %s", got)
		}
		if !a.Origin("HTTPS://ccc") || a.Origin("https://elsewhere") {
			t.Error("the origins of hosts of late are not known")
		}
	})
}

func TestFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := hosts(t, "a", "bb")
		defer end(list)
		a, b := list[0], list[1]
		a.view.lose(true)
		time.Sleep(chat.RelayTTL - beatEvery)
		if a.Fenced() {
			t.Error("it is fenced before another host may take its rooms")
		}
		time.Sleep(3 * beatEvery)
		if !a.Fenced() || b.Fenced() {
			t.Errorf("fenced: %v and %v, want only the one that lost the database", a.Fenced(), b.Fenced())
		}
		a.view.lose(false)
		time.Sleep(2 * beatEvery)
		if a.Fenced() {
			t.Error("it is still fenced")
		}
		if got := fmt.Sprint(a.noted()); got != "[fenced rejoined]" {
			t.Errorf("it was told %s", got)
		}

		// Where no host reaches the database, none is fenced: no other can take its rooms.
		a.view.lose(true)
		b.view.lose(true)
		time.Sleep(5 * chat.RelayTTL)
		if a.Fenced() || b.Fenced() {
			t.Error("a host is fenced while no other can take its rooms")
		}
	})
}

func TestHomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := hosts(t, "a", "bb")
		defer end(list)
		a, b := list[0], list[1]
		for _, id := range []string{"room", "in use", "moved"} {
			if home, err := a.Claim(t.Context(), id); err != nil || home != "a" {
				t.Fatal(home, err)
			}
		}
		if home, err := b.Claim(t.Context(), "room"); err != nil || home != "a" {
			t.Errorf("the home of another: %s %v", home, err)
		}
		if err := a.MoveOut(t.Context(), "moved", "bb"); err != nil {
			t.Fatal(err)
		}
		if home, err := a.Home(t.Context(), "moved"); err != nil || home != "bb" {
			t.Errorf("moved out to %s, %v", home, err)
		}
		time.Sleep(2 * time.Minute)
		for id, want := range map[string]string{"room": "", "in use": "a"} {
			if home, err := b.Home(t.Context(), id); err != nil || home != want {
				t.Errorf("after a while the home of %q is %q, %v, want %q", id, home, err, want)
			}
		}
	})
}

func TestLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := hosts(t, "a", "bb", "ccc")
		defer end(list)
		a, b, c := list[0], list[1], list[2]
		for i := range 3 {
			a.Publish("", "room", i)
		}
		a.Publish("bb", "login", "only b")
		synctest.Wait()
		for _, h := range []*host{b, c} {
			want := []string{"a room 0", "a room 1", "a room 2"}
			if h == b {
				want = append(want, `a login "only b"`)
			}
			h.mu.Lock()
			got := slices.Clone(h.got)
			h.mu.Unlock()
			slices.Sort(want)
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s got %q, want %q", h.opt.Self.Name, got, want)
			}
		}
		var answer string
		if err := a.Ask(t.Context(), "ccc", "who?", &answer); err != nil || answer != `for a: "who?"` {
			t.Errorf("answer %q, %v", answer, err)
		}
		if err := a.Ask(t.Context(), "nobody", "who?", &answer); err == nil {
			t.Error("somebody who is not there answered")
		}
	})
}

// A room that is slow holds up no other, its own letters keep their order, and
// a panic ends one letter.
func TestSlowLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		slow := make(chan struct{})
		c := New(Options{Receive: func(_, key string, body []byte) {
			if string(body) == `"wait"` {
				<-slow
			}
			if string(body) == `"panic"` {
				panic("broken")
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, key+string(body))
		}})
		c.Local("slow", "wait")
		c.Local("slow", "next")
		c.Local("quick", "panic")
		c.Local("quick", "done")
		synctest.Wait()
		if fmt.Sprint(got) != `[quick"done"]` {
			t.Errorf("while one room is slow: %q", got)
		}
		for range 2 * letterQueue {
			c.Local("slow", "more")
		}
		close(slow)
		synctest.Wait()
		if want := []string{`quick"done"`, `slow"wait"`, `slow"next"`}; !slices.Equal(got[:3], want) {
			t.Errorf("%q, want %q", got[:3], want)
		}
		if n := len(got); n != letterQueue+1 {
			t.Errorf("%d letters were taken, want the %d that the queue takes, and one", n, letterQueue)
		}
		c.Close(t.Context())
	})
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"k":"room","b":{"t":"mail"}}`))
	f.Add([]byte(`{"a":"x"}`))
	f.Add([]byte(`{"q":"x","w":true}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c := New(Options{Receive: func(_, _ string, body []byte) {
			if len(body) > 0 && !json.Valid(body) {
				t.Errorf("a body that is no JSON: %q", body)
			}
		}, Answer: func(context.Context, string, []byte) any { return nil }})
		c.receive("far", msg)
		c.Close(context.Background())
	})
}
