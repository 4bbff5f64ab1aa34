// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
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

// A relay whose heartbeats stop loses its rooms after RelayTTL, to one other.
func TestHomeOfTheDead(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		info := must(s.Info(ctx, o.Room))(t)
		for _, name := range []string{"dead", "b", "c"} {
			ok(t, s.Beat(ctx, chat.Relay{Name: name}))
		}
		must(s.ClaimHome(ctx, o.Room, "dead"))(t)
		attempt := chat.Attempt{ID: "1", Room: o.Room, Caller: info.Participants[1].ID, Callee: info.Owner, State: "ringing", Started: time.Now()}
		ok(t, s.PutAttempt(ctx, attempt))
		if open := must(s.OpenAttempts(ctx, "b"))(t); len(open) != 0 {
			t.Fatalf("%v of a living relay", open)
		}
		died := time.Now()
		homes := make([]string, 2)
		var claimers sync.WaitGroup
		for i, name := range []string{"b", "c"} {
			claimers.Go(func() {
				for homes[i] = "dead"; homes[i] == "dead" && time.Since(died) < 3*chat.RelayTTL; time.Sleep(50 * time.Millisecond) {
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
		if _, err := s.OpenFromMail(ctx, chat.Mail{Sender: alice, Recipients: make([]chat.Person, maxRecipients+1)}); !errors.Is(err, chat.ErrFull) {
			t.Fatal(err)
		}
		if !slices.Equal(heard, []string{o.Room}) {
			t.Fatalf("heard of %v", heard)
		}
	})
}
