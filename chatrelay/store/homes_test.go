// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/testpart"
)

func TestHomes(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		is(t, func() error { _, err := s.ClaimHome(ctx, "nowhere", "a"); return err }(), chat.ErrUnknown)

		a := chat.Relay{Name: "a", Origin: "https://a", Socket: "wss://a/chat", Alive: true}
		b := chat.Relay{Name: "b", Drains: true, Alive: true}
		ok(t, s.Beat(ctx, a))
		ok(t, s.Beat(ctx, b))
		if got := must(s.Relays(ctx))(t); !slices.Equal(got, []chat.Relay{a, b}) {
			t.Fatalf("relays %v", got)
		}
		if home := must(s.Home(ctx, o.Room))(t); home != "" {
			t.Fatalf("home %q before anybody claimed it", home)
		}
		for _, who := range []string{"a", "b", "a"} { // whoever claims first has it
			if home := must(s.ClaimHome(ctx, o.Room, who))(t); home != "a" {
				t.Fatalf("%s claims: home %q", who, home)
			}
		}
		must(s.Append(ctx, "a", o.Room, chat.Message{Kind: chat.KindNote}))(t)
		_, err := s.Append(ctx, "b", o.Room, chat.Message{Kind: chat.KindNote})
		is(t, err, chat.ErrMoved)

		ok(t, s.Quit(ctx, "a"))
		if home := must(s.Home(ctx, o.Room))(t); home != "" {
			t.Fatalf("home %q is not alive", home)
		}
		a.Alive = false
		if got := must(s.Relays(ctx))(t); !slices.Equal(got, []chat.Relay{a, b}) {
			t.Fatalf("relays %v after one has quit", got)
		}
		if home := must(s.ClaimHome(ctx, o.Room, "b"))(t); home != "b" {
			t.Fatalf("home %q after a has quit", home)
		}
		_, err = s.Append(ctx, "a", o.Room, chat.Message{Kind: chat.KindNote}) // a did not notice
		is(t, err, chat.ErrMoved)
		ok(t, s.LeaveHome(ctx, o.Room, "a")) // says nothing about b
		if home := must(s.Home(ctx, o.Room))(t); home != "b" {
			t.Fatalf("home %q", home)
		}
		ok(t, s.LeaveHome(ctx, o.Room, "b"))
		if home := must(s.ClaimHome(ctx, o.Room, "c"))(t); home != "c" {
			t.Fatalf("home %q after b has left", home)
		}
	})
}

// TestFence: a home that was stopped, and continues when another relay has
// taken its room, writes nothing.
func TestFence(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s, other := open(t, dsn), open(t, dsn)
		m := hello("1@x")
		m.Recipients = []chat.Person{{Addr: bob.Addr, Hidden: true}}
		o := must(s.OpenFromMail(ctx, m))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		me, him := people[0].ID, people[1].ID
		ok(t, s.Beat(ctx, chat.Relay{Name: "stopped"}))
		must(s.ClaimHome(ctx, o.Room, "stopped"))(t)
		ringing := chat.Attempt{ID: "a", Room: o.Room, Caller: him, Callee: me, State: "ringing",
			Started: time.Unix(1e9, 0).UTC()}
		ok(t, s.PutAttempt(ctx, "stopped", ringing))
		said := must(s.Append(ctx, "stopped", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "hello"}))(t)

		ok(t, other.Quit(ctx, "stopped")) // its heartbeats are too old
		ok(t, other.Beat(ctx, chat.Relay{Name: "next"}))
		must(other.ClaimHome(ctx, o.Room, "next"))(t)
		answered := ringing
		answered.State, answered.Ended = "answered", time.Unix(1e9+9, 0).UTC()
		ok(t, other.PutAttempt(ctx, "next", answered))
		ok(t, other.SetTranscriptPreference(ctx, "next", o.Room, chat.TranscriptPreference{Participant: me, On: true}))

		for what, write := range map[string]func() error{
			"a message": func() error {
				_, err := s.Append(ctx, "stopped", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "late"})
				return err
			},
			"a note": func() error {
				_, err := s.Post(ctx, "stopped", o.Room,
					chat.Message{From: me, Kind: chat.KindFile, File: picture("abc")})
				return err
			},
			"an edit": func() error {
				_, err := s.Change(ctx, "stopped", o.Room, chat.Message{ID: "e", From: me, Kind: chat.KindEdit,
					Ref: said.Offset, Text: "late"}, 0)
				return err
			},
			"an attempt":    func() error { return s.PutAttempt(ctx, "stopped", ringing) },
			"a new attempt": func() error { a := ringing; a.ID = "b"; return s.PutAttempt(ctx, "stopped", a) },
			"a seen mark":   func() error { return s.Seen(ctx, "stopped", o.Room, him, said.Offset) },
			"a wish": func() error {
				return s.SetTranscriptPreference(ctx, "stopped", o.Room,
					chat.TranscriptPreference{Participant: him, On: true})
			},
			"a hidden guest": func() error { return s.Reveal(ctx, "stopped", o.Room, him) },
		} {
			if err := write(); !errors.Is(err, chat.ErrMoved) {
				t.Errorf("%s of a relay that is not the home any more: %v", what, err)
			}
		}
		if list, _, err := s.TakeTranscripts(ctx, "stopped", o.Room); err != nil || len(list) != 0 {
			t.Errorf("it takes transcripts %v, %v", list, err)
		}
		if got := must(other.Attempts(ctx, o.Room, 9))(t); !slices.Equal(got, []chat.Attempt{answered}) {
			t.Errorf("attempts %+v", got)
		}
		if got := texts(t, other, o.Room); !slices.Equal(got, []string{"hello"}) {
			t.Errorf("the room has %q", got)
		}
		if seen := must(other.SeenBy(ctx, o.Room))(t); seen[him] != 0 {
			t.Errorf("seen %v", seen)
		}
		if len(must(other.TranscriptPreferences(ctx, o.Room))(t)) != 1 ||
			!must(other.Info(ctx, o.Room))(t).Participants[1].Hidden {
			t.Error("a wish was stored, or somebody was revealed")
		}
		if list, _, err := other.TakeTranscripts(ctx, "next", o.Room); err != nil || len(list) != 1 {
			t.Errorf("the home takes transcripts %v, %v", list, err)
		}
	})
}

// A relay whose heartbeats stop loses its rooms after RelayTTL, to one other.
func TestHomeOfTheDead(t *testing.T) {
	testpart.Slow(t)
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		info := must(s.Info(ctx, o.Room))(t)
		for _, name := range []string{"dead", "b", "c"} {
			ok(t, s.Beat(ctx, chat.Relay{Name: name}))
		}
		must(s.ClaimHome(ctx, o.Room, "dead"))(t)
		attempt := chat.Attempt{ID: "1", Room: o.Room, Caller: info.Participants[1].ID, Callee: info.Owner,
			State: "ringing", Started: time.Now()}
		ok(t, s.PutAttempt(ctx, "", attempt))
		if open := must(s.OpenAttempts(ctx, "b"))(t); len(open) != 0 {
			t.Fatalf("%v of a living relay", open)
		}
		died := time.Now()
		homes := make([]string, 2)
		var claimers sync.WaitGroup
		for i, name := range []string{"b", "c"} {
			claimers.Go(func() {
				for homes[i] = "dead"; homes[i] == "dead" &&
					time.Since(died) < 3*chat.RelayTTL; time.Sleep(50 * time.Millisecond) {
					home, err := s.ClaimHome(ctx, o.Room, name)
					if err != nil {
						t.Error(err)
					}
					homes[i] = home
					if err := s.Beat(ctx, chat.Relay{Name: name}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		claimers.Wait()
		if homes[0] != homes[1] || homes[0] == "dead" || time.Since(died) < chat.RelayTTL-time.Second {
			t.Fatalf("homes %v after %v", homes, time.Since(died))
		}
		if open := must(s.OpenAttempts(ctx, homes[0]))(t); len(open) != 1 || open[0].ID != "1" {
			t.Fatalf("attempts %v of the new home", open)
		}
	})
}

func TestOnMail(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		var heard []string
		s.OnMail(func(roomID string) { heard = append(heard, roomID) })
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		if _, err := s.OpenFromMail(ctx,
			chat.Mail{Sender: alice, Recipients: make([]chat.Person, maxRecipients+1)}); !errors.Is(err, chat.ErrFull) {
			t.Fatal(err)
		}
		if !slices.Equal(heard, []string{o.Room}) {
			t.Fatalf("heard of %v", heard)
		}
	})
}
