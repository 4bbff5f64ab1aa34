// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

func TestSettings(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		both := must(s.Settings(ctx, "alice@here.test", "nobody"))(t)
		if got := both["nobody"]; got.Availability != chat.Available || !got.Push ||
			!got.Stamp || got.Chats != 0 || got.Transcript {
			t.Fatalf("defaults %+v", got)
		}
		// Changes at once lose none of each other.
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				_, err := s.ChangeSettings(ctx, "Alice@here.test", func(set *chat.Settings) error {
					set.Canned = append(set.Canned, chat.Canned{Text: fmt.Sprint(i)})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		must(s.ChangeSettings(ctx, "alice@here.test", func(set *chat.Settings) error {
			set.Availability, set.Until, set.Zone, set.Stamp = chat.DoNotDisturb, &until, "Asia/Seoul", false
			set.Quiet = &chat.Quiet{From: "22:00", To: "7:00", Days: []int{1}}
			return nil
		}))(t)
		got := must(s.Settings(ctx, "alice@here.test"))(t)["alice@here.test"]
		if got.Availability != chat.DoNotDisturb || !got.Until.Equal(until) || got.Quiet.To != "7:00" ||
			len(got.Canned) != 8 || got.Stamp {
			t.Fatalf("settings %+v", got)
		}
		_, err := s.OpenFromMail(ctx, hello("unwanted@x"))
		is(t, err, chat.ErrUnwanted)
		for field, spoil := range map[string]func(*chat.Settings){
			"availability": func(s *chat.Settings) { s.Availability = chat.QuietHours },
			"until":        func(s *chat.Settings) { far := time.Now().AddDate(9, 0, 0); s.Until = &far },
			"quiet":        func(s *chat.Settings) { s.Quiet = &chat.Quiet{From: "24:00", To: "07:00"} },
			"zone":         func(s *chat.Settings) { s.Zone = "../../etc/passwd" },
			"back":         func(s *chat.Settings) { s.Back = -1 },
			"chats":        func(s *chat.Settings) { s.Chats = 51 },
			"canned":       func(s *chat.Settings) { s.Canned = make([]chat.Canned, 51) },
		} {
			var wrong *chat.SettingError
			if _, err := s.ChangeSettings(ctx, "alice@here.test", func(set *chat.Settings) error {
				spoil(set)
				return nil
			}); !errors.As(err, &wrong) || wrong.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		if again := must(s.Settings(ctx, "alice@here.test"))(t)["alice@here.test"]; again.Zone != "Asia/Seoul" {
			t.Errorf("a refused change left %+v", again)
		}
	})
}

func TestQuietHours(t *testing.T) {
	t.Parallel()
	seoul := must(time.LoadLocation("Asia/Seoul"))(t)
	berlin := must(time.LoadLocation("Europe/Berlin"))(t)
	at := func(zone *time.Location, s string) time.Time {
		return must(time.ParseInLocation("2006-01-02 15:04", s, zone))(t)
	}
	night := &chat.Quiet{From: "22:00", To: "07:00"}
	for name, c := range map[string]struct {
		quiet *chat.Quiet
		zone  *time.Location
		now   string
		state string
		next  string
	}{
		"before":         {night, seoul, "2026-11-23 21:59", chat.Available, "2026-11-23 22:00"},
		"begins":         {night, seoul, "2026-11-23 22:00", chat.QuietHours, "2026-11-24 07:00"},
		"after midnight": {night, seoul, "2026-11-24 03:00", chat.QuietHours, "2026-11-24 07:00"},
		"ends":           {night, seoul, "2026-11-24 07:00", chat.Available, "2026-11-24 22:00"},
		"within a day": {&chat.Quiet{From: "12:00", To: "13:00"}, seoul, "2026-11-23 12:30",
			chat.QuietHours, "2026-11-23 13:00"},
		"Friday night only, Friday": {&chat.Quiet{From: "22:00", To: "07:00", Days: []int{5}}, seoul,
			"2026-11-28 06:00", chat.QuietHours, "2026-11-28 07:00"},
		"Friday night only, Tuesday": {&chat.Quiet{From: "22:00", To: "07:00", Days: []int{5}}, seoul,
			"2026-11-24 23:00", chat.Available, "2026-11-27 22:00"},
		"the whole Sunday": {&chat.Quiet{From: "00:00", To: "00:00", Days: []int{0}}, seoul,
			"2026-11-29 12:00", chat.QuietHours, "2026-11-30 00:00"},
		"the whole weekend": {&chat.Quiet{From: "00:00", To: "00:00", Days: []int{0, 6}}, seoul,
			"2026-11-28 12:00", chat.QuietHours, "2026-11-30 00:00"},
		"the night the clocks go on": {&chat.Quiet{From: "01:00", To: "04:00"}, berlin, "2026-03-29 01:30",
			chat.QuietHours, "2026-03-29 04:00"},
	} {
		set := chat.DefaultSettings()
		set.Quiet, set.Zone = c.quiet, c.zone.String()
		state, _, next := set.At(at(c.zone, c.now).UTC())
		if state != c.state || !next.Equal(at(c.zone, c.next)) {
			t.Errorf("%s: %s until %s, want %s until %s", name, state, next.In(c.zone), c.state, c.next)
		}
	}
	now := time.Now()
	until := now.Add(time.Hour)
	set := chat.Settings{Availability: chat.DoNotDisturb, Until: &until}
	if state, end, _ := set.At(now); state != chat.DoNotDisturb || !end.Equal(until) {
		t.Errorf("%s until %s", state, end)
	}
	if state, _, next := set.At(until); state != chat.Available || !next.IsZero() {
		t.Errorf("afterwards %s, next %s", state, next)
	}
	always := chat.Settings{Availability: chat.Available, Quiet: &chat.Quiet{From: "00:00", To: "00:00"}}
	if state, _, next := always.At(now); state != chat.QuietHours || next.Before(now.AddDate(0, 0, 6)) {
		t.Errorf("always quiet: %s, next %s", state, next)
	}
}

func TestSubscriptions(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		for i := range 5 {
			ok(t, s.PutSubscription(ctx, "alice",
				chat.Subscription{Endpoint: fmt.Sprint("e", i), P256dh: "k", Auth: "a"}, 3))
			time.Sleep(time.Millisecond) // the order is that of microseconds
		}
		list := func(login string) string {
			var names []string
			for _, sub := range must(s.Subscriptions(ctx, login))(t) {
				names = append(names, sub.Endpoint)
			}
			return strings.Join(names, " ")
		}
		if got := list("Alice"); got != "e2 e3 e4" {
			t.Fatalf("subscriptions %q", got)
		}
		// signs in at the same browser
		ok(t, s.PutSubscription(ctx, "bob", chat.Subscription{Endpoint: "e3", P256dh: "k2", Auth: "a"}, 3))
		// not hers any more
		ok(t, s.DropSubscription(ctx, "alice", "e3"))
		ok(t, s.DropSubscription(ctx, "", "e2"))
		ok(t, s.DropSubscription(ctx, "", "e2"))
		if a, b := list("alice"), list("bob"); a != "e4" || b != "e3" {
			t.Fatalf("subscriptions %q and %q", a, b)
		}

		// Put again, it is the browser that it was; with somebody else it begins anew.
		ok(t, s.NoteShown(ctx, "bob", "e4")) // not his
		sub := must(s.Subscriptions(ctx, "alice"))(t)[0]
		if !sub.Shown.IsZero() || time.Since(sub.Added) > time.Minute {
			t.Fatalf("subscription %+v", sub)
		}
		ok(t, s.NoteShown(ctx, "alice", "e4"))
		ok(t, s.PutSubscription(ctx, "alice", chat.Subscription{Endpoint: "e4", Name: "Safari, iPhone", Lang: "ko"}, 3))
		again := must(s.Subscriptions(ctx, "alice"))(t)[0]
		if again.Name != "Safari, iPhone" || again.Lang != "ko" || !again.Added.Equal(sub.Added) || again.Shown.IsZero() {
			t.Fatalf("subscription %+v, was %+v", again, sub)
		}
		ok(t, s.PutSubscription(ctx, "carol", chat.Subscription{Endpoint: "e4"}, 3))
		if sub := must(s.Subscriptions(ctx, "carol"))(t)[0]; !sub.Shown.IsZero() || !sub.Added.After(again.Added) {
			t.Fatalf("subscription %+v", sub)
		}
	})
}

func TestBlocksAndMutes(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		info := must(s.Info(ctx, o.Room))(t)
		me, guest := info.Participants[0], chat.Participant{}
		them := info.Participants[1]
		_, guest, err := s.ClaimAsGuest(ctx, o.Invites[bob.Addr], strings.Repeat("A", 21)+"A", "Guest")
		ok(t, err)
		ok(t, s.Block(ctx, alice.Login, o.Room, them.ID))
		ok(t, s.Block(ctx, alice.Login, o.Room, them.ID))
		ok(t, s.Block(ctx, alice.Login, o.Room, guest.ID))
		is(t, s.Block(ctx, alice.Login, o.Room, me.ID), chat.ErrUnknown)
		is(t, s.Block(ctx, alice.Login, o.Room, 999), chat.ErrUnknown)
		is(t, s.Block(ctx, "carol@here.test", o.Room, them.ID), chat.ErrUnknown)
		if blocks := must(s.Blocks(ctx, alice.Login))(t); len(blocks) != 2 {
			t.Fatalf("blocks %+v", blocks)
		}
		// He is blocked wherever he is, the guest in that room.
		elsewhere := must(s.OpenFromMail(ctx, hello("2@x")))(t)
		again := must(s.Info(ctx, elsewhere.Room))(t).Participants[1]
		for _, p := range []chat.Participant{them, guest, again} {
			if got := must(s.BlockedBy(ctx, p, alice.Login, "carol@here.test"))(t); len(got) != 1 ||
				got[0] != alice.Login {
				t.Errorf("%+v is blocked by %v", p, got)
			}
		}
		ok(t, s.UnblockParticipant(ctx, alice.Login, o.Room, guest.ID))
		ok(t, s.Unblock(ctx, alice.Login, "BOB@there.test"))
		if blocks := must(s.Blocks(ctx, alice.Login))(t); len(blocks) != 0 {
			t.Fatalf("blocks %+v", blocks)
		}
		ok(t, s.Mute(ctx, alice.Login, o.Room, true))
		is(t, s.Mute(ctx, "carol@here.test", o.Room, true), chat.ErrUnknown)
		if !must(s.Muted(ctx, alice.Login, o.Room))(t) || must(s.Muted(ctx, alice.Login, elsewhere.Room))(t) {
			t.Error("the wrong room is muted")
		}
		for _, sum := range must(s.Rooms(ctx, alice.Login, chat.RoomQuery{List: chat.ListMails}))(t) {
			if sum.Muted != (sum.ID == o.Room) {
				t.Errorf("room %s: muted %v", sum.ID, sum.Muted)
			}
		}
	})
}

func TestGroups(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ok(t, s.SetGroups(ctx, "", map[string][]string{"sales@here.test": {"alice@here.test", "carol@here.test"},
			"press@else.test": {"alice@here.test"}}))
		// Alice writes as sales: the group is the owner.
		m := hello("1@x")
		m.Sender.Addr = "sales@here.test"
		o := must(s.OpenFromMail(ctx, m))(t)
		info := must(s.Info(ctx, o.Room))(t)
		if p := info.Participants[0]; info.Owner != p.ID || p.Login != "sales@here.test" ||
			len(info.Participants) != 2 {
			t.Fatalf("room %+v", info)
		}
		// Who is no member stays themself, whatever address they write from.
		m = hello("2@x")
		m.Sender = chat.Person{Login: "mallory@here.test", Addr: "sales@here.test"}
		if p := must(s.Info(ctx, must(s.OpenFromMail(ctx, m))(t).Room))(t).Participants[0]; p.Login !=
			"mallory@here.test" {
			t.Fatalf("owner %+v", p)
		}
		// A mail to a group of another domain has it as participant.
		m = hello("3@x")
		m.Recipients = []chat.Person{{Addr: "press@else.test"}}
		if p := must(s.Info(ctx, must(s.OpenFromMail(ctx, m))(t).Room))(t).Participants[1]; p.Login !=
			"press@else.test" {
			t.Fatalf("recipient %+v", p)
		}
		// What waits for the group waits for each, until one of them has come.
		sales, caller := info.Participants[0].ID, info.Participants[1].ID
		ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: "a", Room: o.Room, Caller: caller, Callee: sales, State: "alarmed",
			Started: time.Now(), Ended: time.Now(), Tell: true, Why: "dnd"}))
		for _, login := range []string{"alice@here.test", "carol@here.test"} {
			if len(must(s.WaitingFor(ctx, login))(t)) != 1 || len(must(s.Tells(ctx, login))(t)) != 1 {
				t.Errorf("nothing waits for %s", login)
			}
		}
		if missed := must(s.Missed(ctx))(t); len(missed) != 1 || missed[0] != "sales@here.test" {
			t.Errorf("missed %v", missed)
		}
		_, err := s.Join(ctx, "mallory@here.test", o.Room)
		is(t, err, chat.ErrUnknown)
		first := must(s.Join(ctx, "Carol@here.test", o.Room))(t)
		if again := must(s.Join(ctx, "carol@here.test", o.Room))(t); first.ID == 0 || again.ID != first.ID {
			t.Errorf("joined as %+v, then as %+v", first, again)
		}
		ok(t, s.AckWaiting(ctx, "carol@here.test", o.Room))
		if waiting := must(s.WaitingFor(ctx, "alice@here.test"))(t); len(waiting) != 0 {
			t.Errorf("still waits: %+v", waiting)
		}
		ok(t, s.SetGroups(ctx, "", nil))
		_, err = s.Join(ctx, "alice@here.test", o.Room)
		is(t, err, chat.ErrUnknown)
	})
}

func TestAttemptsRemember(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		began := time.Now().Add(-time.Hour).Truncate(time.Microsecond).UTC()
		a := chat.Attempt{ID: "a", Room: o.Room, Caller: people[1].ID, Callee: people[0].ID,
			State: "unanswered", Started: began,
			Why: "off", Words: strings.Repeat("w", 600), Taker: 7, Mailed: began.Add(time.Second)}
		ok(t, s.PutAttempt(ctx, "", a))
		ok(t, s.NotePushed(ctx, "a", began.Add(2*time.Second)))
		ok(t, s.NotePushed(ctx, "a", began.Add(3*time.Second)))
		got := must(s.Attempts(ctx, o.Room, 1))(t)[0]
		a.Words, a.Pushed = a.Words[:500], began.Add(2*time.Second)
		if got != a {
			t.Fatalf("got %+v, want %+v", got, a)
		}
		silent := chat.Attempt{ID: "s", Room: o.Room, Caller: people[1].ID, Callee: people[0].ID, State: "alarmed",
			Started: began, Ended: began, Silent: true}
		ok(t, s.PutAttempt(ctx, "", silent))
		if waiting := must(s.WaitingFor(ctx, alice.Login))(t); len(waiting) != 0 {
			t.Errorf("waits: %+v", waiting)
		}
		// the first was no return
		for i, took := range []time.Duration{10 * time.Second, 20 * time.Minute, 40 * time.Minute} {
			ok(t, s.PutAttempt(ctx, "", chat.Attempt{ID: fmt.Sprint(i), Room: o.Room, Caller: people[1].ID,
				Callee: people[0].ID, State: "answered",
				Started: began.Add(time.Duration(i) * time.Second),
				Ended:   began.Add(time.Duration(i)*time.Second + took)}))
		}
		if past := must(s.Returns(ctx, alice.Login))(t); len(past) != 2 ||
			past[0] != 40*time.Minute || past[1] != 20*time.Minute {
			t.Errorf("returns %v", past)
		}
	})
}
