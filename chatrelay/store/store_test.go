// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/testpart"
)

// engines runs a test on every database.
func engines(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "a #b?%20.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testpart.Postgres(t))
	})
}

// localLogin is the rule that an address of here.test is its own login.
func localLogin(addr string) string {
	if addr = fold(addr); strings.HasSuffix(addr, "@here.test") {
		addr = regexp.MustCompile(`[+].*@`).ReplaceAllString(addr, "@")
		return addr
	}
	return ""
}

func open(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{DSN: dsn, LoginOf: localLogin,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// texts are what was said in a room after the mail that opened it.
func texts(t testing.TB, s *Store, roomID string) (list []string) {
	t.Helper()
	var after int64 = 1 // the mail
	for {
		page := must(s.Messages(ctx, roomID, after, 0))(t)
		if len(page) == 0 {
			return list
		}
		for _, m := range page {
			if m.Offset != after+1 {
				t.Fatalf("offset %d after %d", m.Offset, after)
			}
			list, after = append(list, m.Text), m.Offset
		}
	}
}

// must returns a function's value and ends the test at an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

var (
	ctx   = context.Background()
	alice = chat.Person{Login: "alice@here.test", Addr: "alice@here.test", Name: "Alice"}
	bob   = chat.Person{Addr: "Bob@There.test", Name: "Bob"}
	carol = chat.Person{Addr: "carol@here.test"}
)

// hello is Alice's mail to Bob.
func hello(id string, references ...string) chat.Mail {
	return chat.Mail{MessageID: id, References: references, Sender: alice, Recipients: []chat.Person{bob},
		Subject: "Hello", Date: time.Unix(1e9, 0)}
}

func TestMailOpensRoom(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		m := hello("1@x")
		m.Recipients = []chat.Person{bob, carol, bob}
		o := must(s.OpenFromMail(ctx, m))(t)
		if len(o.Invites) != 2 || len(o.Invites[bob.Addr]) != 22 {
			t.Fatalf("invites %v", o.Invites)
		}
		info := must(s.Info(ctx, o.Room))(t)
		if info.Next != 2 || info.Subject != "Hello" || info.Epoch == "" || len(info.Participants) != 3 {
			t.Fatalf("info %+v", info)
		}
		me := must(s.Member(ctx, "ALICE@here.test", o.Room))(t)
		if me.ID != info.Owner || me.Name != "Alice" {
			t.Fatalf("member %+v, owner %d", me, info.Owner)
		}
		must(s.Member(ctx, carol.Addr, o.Room))(t) // LoginOf made her a member
		_, err := s.Member(ctx, "", o.Room)
		is(t, err, chat.ErrUnknown)
		i := must(s.Invite(ctx, o.Invites[bob.Addr]))(t)
		if i.Room != o.Room || i.Recipient.Addr != "bob@there.test" || i.Callee.ID != me.ID || i.Subject != "Hello" ||
			!i.Date.Equal(m.Date) || i.Claimed || time.Until(i.Expires) < 89*24*time.Hour {
			t.Fatalf("invite %+v", i)
		}
		list := must(s.Messages(ctx, o.Room, 0, 0))(t)
		if len(list) != 1 || list[0].Kind != chat.KindMail || list[0].Text != "Hello" || list[0].Offset != 1 {
			t.Fatalf("messages %+v", list)
		}
		again := must(s.OpenFromMail(ctx, m))(t)
		if again.Room != o.Room || must(s.Info(ctx, o.Room))(t).Next != 2 {
			t.Fatal("the same mail again changed the conversation")
		}
		must(s.Invite(ctx, again.Invites[bob.Addr]))(t)
		_, err = s.Info(ctx, "nowhere")
		is(t, err, chat.ErrUnknown)
	})
}

func TestThreads(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		m := hello("1@x")
		m.Recipients = append(m.Recipients, carol)
		first := must(s.OpenFromMail(ctx, m))(t).Room
		reply := chat.Mail{MessageID: "2@x", References: []string{"0@x", "1@x"}, Subject: "Re: Hello",
			Sender:     chat.Person{Login: carol.Addr, Addr: carol.Addr, Name: "Carol"},
			Recipients: []chat.Person{alice, bob}}
		o := must(s.OpenFromMail(ctx, reply))(t)
		if o.Room != first {
			t.Fatal("Carol's reply left the thread")
		}
		if i := must(s.Invite(ctx, o.Invites[alice.Addr]))(t); i.Callee.Addr != carol.Addr ||
			i.Callee.Name != "Carol" || i.Recipient.Login != alice.Login {
			t.Fatalf("invite %+v", i)
		}
		if n := len(must(s.Info(ctx, first))(t).Participants); n != 3 {
			t.Fatalf("%d participants", n)
		}
		follow := hello("3@x", "2@x", "unknown@x")
		follow.Recipients = []chat.Person{carol, bob}
		if must(s.OpenFromMail(ctx, follow))(t).Room != first {
			t.Fatal("a follow-up left the thread")
		}

		// A stranger who guesses ids, as References, as Message-ID, or with
		// somebody's address beside a login of his own, stays outside.
		mallory := chat.Person{Login: "mallory@here.test", Addr: "mallory@here.test"}
		forged := []chat.Mail{
			{MessageID: "4@x", References: []string{"1@x", "2@x"}, Sender: mallory, Recipients: []chat.Person{carol}},
			{MessageID: "1@x", Sender: mallory, Recipients: []chat.Person{carol}},
			{MessageID: "5@x", References: []string{"1@x"}, Sender: chat.Person{Login: mallory.Login, Addr: alice.Addr},
				Recipients: []chat.Person{carol}},
		}
		for n, m := range forged {
			if must(s.OpenFromMail(ctx, m))(t).Room == first {
				t.Errorf("forged mail %d entered the room", n)
			}
		}
		_, err := s.Member(ctx, mallory.Login, first)
		is(t, err, chat.ErrUnknown)
		// His claim to the id 1@x does not draw Carol into his room.
		reply.MessageID = "6@x"
		if must(s.OpenFromMail(ctx, reply))(t).Room != first {
			t.Error("a forged Message-ID drew the reply away")
		}
	})
}

// TestTakeover: who writes a From field of somebody outside is not that somebody.
func TestTakeover(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		first := must(s.OpenFromMail(ctx, hello("1@x")))(t).Room
		mallory := chat.Person{Login: "mallory@here.test", Addr: bob.Addr, Name: "Bob"}
		for n, m := range []chat.Mail{
			{MessageID: "2@x", References: []string{"1@x"}, Sender: mallory, Recipients: []chat.Person{alice}},
			{MessageID: "1@x", Sender: mallory, Recipients: []chat.Person{bob}},
			{MessageID: "3@x", References: []string{"1@x"}, Sender: chat.Person{Login: "mallory", Addr: bob.Addr},
				Recipients: []chat.Person{alice}},
		} {
			o := must(s.OpenFromMail(ctx, m))(t)
			if o.Room == first || o.Sender.Name != "" || o.Sender.Login != m.Sender.Login ||
				o.Sender.Addr != "" && o.Sender.Addr != m.Sender.Login {
				t.Errorf("mail %d is of %+v, in the room of others: %v", n, o.Sender, o.Room == first)
			}
			for _, p := range must(s.Info(ctx, o.Room))(t).Participants {
				if p.Login == m.Sender.Login && p.Addr == strings.ToLower(bob.Addr) {
					t.Errorf("mail %d made a login somebody else: %+v", n, p)
				}
			}
		}
		for _, p := range must(s.Info(ctx, first))(t).Participants {
			if p.Addr == strings.ToLower(bob.Addr) && p.Login != "" {
				t.Errorf("taken over: %+v", p)
			}
		}
		// The login's own address, and a group's, are believed, with the name.
		if o := must(s.OpenFromMail(ctx, hello("4@x")))(t); o.Sender != alice {
			t.Errorf("sender %+v", o.Sender)
		}
		is(t, s.SetGroups(ctx, "", map[string][]string{"sales@here.test": {alice.Login}}), nil)
		m := hello("5@x")
		m.Sender = chat.Person{Login: alice.Login, Addr: "Sales@here.test", Name: "Sales"}
		if o := must(s.OpenFromMail(ctx, m))(t); o.Sender !=
			(chat.Person{Login: "sales@here.test", Addr: "sales@here.test", Name: "Sales"}) {
			t.Errorf("a group's sender %+v", o.Sender)
		}
		m.Sender.Login = mallory.Login
		if o := must(s.OpenFromMail(ctx, m))(t); o.Sender !=
			(chat.Person{Login: mallory.Login, Addr: mallory.Login}) {
			t.Errorf("a stranger as a group: %+v", o.Sender)
		}
		// An alias is the login, with the name beside it; but a group stays one.
		for addr, want := range map[string]chat.Person{
			"orders@here.test": {Login: alice.Login, Addr: alice.Login, Name: "Orders"},
			"sales@here.test":  {Login: "sales@here.test", Addr: "sales@here.test", Name: "Orders"},
		} {
			m.Sender, m.Alias = chat.Person{Login: alice.Login, Addr: addr, Name: "Orders"}, true
			if o := must(s.OpenFromMail(ctx, m))(t); o.Sender != want {
				t.Errorf("an alias %s: %+v", addr, o.Sender)
			}
		}
	})
}

// TestMailsShareCommits: rooms of mails that come together are stored together,
// and one that is too large spoils none of the others.
func TestMailsShareCommits(t *testing.T) {
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	full := hello("full@x")
	for i := range maxRecipients { // and the sender
		full.Recipients = append(full.Recipients, chat.Person{Addr: fmt.Sprintf("p%d@there.test", i)})
	}
	goOn, ended := blocked(t, s, must(s.OpenFromMail(ctx, hello("0@y")))(t).Room)
	before := s.commits.Load()
	var wg sync.WaitGroup
	const mails = 20
	for i := range mails {
		wg.Go(func() {
			m := hello(fmt.Sprintf("%d@x", i))
			o, err := s.OpenFromMail(ctx, m)
			if err != nil {
				t.Error(err)
			} else if i := must(s.Invite(ctx, o.Invites[bob.Addr]))(t); i.Room != o.Room ||
				i.Callee.Login != alice.Login {
				t.Errorf("invite %+v", i)
			}
		})
	}
	wg.Go(func() {
		if _, err := s.OpenFromMail(ctx, full); !errors.Is(err, chat.ErrFull) {
			t.Errorf("too many people: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); len(s.queue) <= mails && time.Now().Before(deadline); {
		runtime.Gosched() // until all wait behind the one that is blocked
	}
	close(goOn)
	ok(t, <-ended)
	wg.Wait()
	if n := s.commits.Load() - before; n > 4 {
		t.Errorf("%d commits for %d mails", n, mails)
	}
}

func TestConcurrentAppends(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		stores := []*Store{open(t, dsn), open(t, dsn)}
		o := must(stores[0].OpenFromMail(ctx, hello("1@x")))(t)
		other := must(stores[0].OpenFromMail(ctx, hello("2@x")))(t)
		from := must(stores[0].Member(ctx, alice.Login, o.Room))(t).ID
		const writers, each = 50, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				s := stores[w%2]
				for n := range each {
					// every id twice
					m := chat.Message{ID: fmt.Sprintf("%d.%d", w/2, n), From: from, Kind: chat.KindText, Text: "x"}
					if got, err := s.Append(ctx, "", o.Room, m); err != nil || got.ID != m.ID || got.At.IsZero() {
						t.Errorf("append: %+v, %v", got, err)
					}
					if _, err := s.Append(ctx, "", other.Room,
						chat.Message{Kind: chat.KindNote, Text: "n"}); err != nil {
						t.Error(err)
					}
					// Refused, and harmless to those in the same batch.
					if _, err := s.Append(ctx, "", other.Room, m); !errors.Is(err, chat.ErrUnknown) {
						t.Errorf("a stranger's append: %v", err)
					}
				}
			})
		}
		wg.Wait()
		for roomID, want := range map[string]int{o.Room: writers*each/2 + 1, other.Room: writers*each + 1} {
			list := must(stores[1].Messages(ctx, roomID, 0, 0))(t)
			if len(list) != want {
				t.Errorf("%d messages, want %d", len(list), want)
			}
			for n, m := range list {
				if m.Offset != int64(n)+1 {
					t.Fatalf("offset %d at place %d", m.Offset, n+1)
				}
			}
		}
	})
}

func TestAppendAgain(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		me := must(s.Member(ctx, alice.Login, o.Room))(t).ID
		first := must(s.Append(ctx, "", o.Room,
			chat.Message{ID: "a", From: me, Kind: chat.KindText, Text: "bad \xff\x00 bytes"}))(t)
		again := must(s.Append(ctx, "", o.Room, chat.Message{ID: "a", From: me, Kind: chat.KindText, Text: "other"}))(t)
		if first != again || first.Offset != 2 || first.Text != "bad \uFFFD\uFFFD bytes" {
			t.Fatalf("%+v, then %+v", first, again)
		}
		if got := must(s.Messages(ctx, o.Room, 1, 1))(t); len(got) != 1 || got[0] != first {
			t.Fatalf("read %+v", got)
		}
		_, err := s.Append(ctx, "", o.Room,
			chat.Message{Kind: chat.KindText, Text: strings.Repeat("x", chat.MaxText+1)})
		is(t, err, chat.ErrFull)
		_, err = s.Append(ctx, "", "nowhere", chat.Message{Kind: chat.KindNote})
		is(t, err, chat.ErrUnknown)
		_, err = s.Append(ctx, "", o.Room, chat.Message{From: me + 1000, Kind: chat.KindText})
		is(t, err, chat.ErrUnknown)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = s.Append(ended, "", o.Room, chat.Message{Kind: chat.KindNote})
		is(t, err, context.Canceled)
	})
}

func TestSummaries(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		var rooms []string
		for _, id := range []string{"1@x", "2@x", "3@x"} {
			rooms = append(rooms, must(s.OpenFromMail(ctx, hello(id)))(t).Room)
		}
		info := must(s.Info(ctx, rooms[0]))(t)
		me, him := info.Participants[0].ID, info.Participants[1].ID
		for _, text := range []string{"one", "two"} {
			must(s.Append(ctx, "", rooms[0], chat.Message{From: him, Kind: chat.KindText, Text: text}))(t)
		}
		list := must(s.Rooms(ctx, alice.Login, chat.RoomQuery{List: chat.ListChats}))(t)
		if len(list) != 1 || list[0].ID != rooms[0] {
			t.Fatalf("list %+v", list)
		}
		if c := list[0]; c.Unread != 2 || c.Me != me || c.Last == nil ||
			c.Last.Text != "two" || len(c.Participants) != 2 {
			t.Fatalf("summary %+v", c)
		}
		mails := chat.RoomQuery{List: chat.ListMails, Limit: 1}
		if list = must(s.Rooms(ctx, alice.Login, mails))(t); len(list) != 1 || list[0].ID != rooms[2] {
			t.Fatalf("mails %+v", list)
		}
		mails.Before = list[0].Touched
		if rest := must(s.Rooms(ctx, alice.Login, mails))(t); len(rest) != 1 || rest[0].ID != rooms[1] {
			t.Fatalf("rest %+v", rest)
		}
		ok(t, s.Seen(ctx, "", rooms[0], me, 3))
		ok(t, s.Seen(ctx, "", rooms[0], me, 2))
		ok(t, s.Seen(ctx, "", rooms[0], me, 99))
		is(t, s.Seen(ctx, "", rooms[1], me, 1), chat.ErrUnknown)
		if seen := must(s.SeenBy(ctx, rooms[0]))(t); seen[me] != 3 || seen[him] != 0 {
			t.Fatalf("seen %v", seen)
		}
		if c := must(s.Rooms(ctx, alice.Login, chat.RoomQuery{List: chat.ListChats}))(t); c[0].Unread != 0 {
			t.Fatalf("unread %d", c[0].Unread)
		}
		if none := must(s.Rooms(ctx, "", chat.RoomQuery{List: chat.ListMails}))(t); len(none) != 0 {
			t.Fatal("the empty login has conversations")
		}
	})
}

func TestAttempts(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		a := chat.Attempt{ID: "a1", Room: o.Room, Caller: people[1].ID, Callee: people[0].ID, State: "ringing",
			Rings: 1, Started: time.Unix(1e9, 1000).UTC()}
		ok(t, s.PutAttempt(ctx, "", a))
		if got := must(s.OpenAttempts(ctx, ""))(t); !slices.Equal(got, []chat.Attempt{a}) {
			t.Fatalf("open %+v", got)
		}
		if got := must(s.WaitingFor(ctx, alice.Login))(t); len(got) != 0 {
			t.Fatalf("waiting %+v", got)
		}
		a.State, a.Rings, a.Ended, a.Tell = "alarmed", 3, time.Unix(1e9+30, 0).UTC(), true
		ok(t, s.PutAttempt(ctx, "", a))
		b := a
		b.ID, b.State, b.Tell, b.Started = "a2", "answered", false, a.Started.Add(time.Minute)
		ok(t, s.PutAttempt(ctx, "", b))
		s = open(t, dsn) // all of it is in the database
		if got := must(s.OpenAttempts(ctx, ""))(t); len(got) != 0 {
			t.Fatalf("open %+v", got)
		}
		if got := must(s.Attempts(ctx, o.Room, 9))(t); !slices.Equal(got, []chat.Attempt{b, a}) {
			t.Fatalf("attempts %+v", got)
		}
		for _, read := range []func(context.Context, string) ([]chat.Attempt, error){s.WaitingFor, s.Tells} {
			if got := must(read(ctx, alice.Login))(t); !slices.Equal(got, []chat.Attempt{a}) {
				t.Fatalf("read %+v", got)
			}
		}
		is(t, s.AckWaiting(ctx, "eve@here.test", o.Room), chat.ErrUnknown)
		ok(t, s.AckWaiting(ctx, alice.Login, o.Room))
		ok(t, s.ClearTell(ctx, a.ID))
		for _, read := range []func(context.Context, string) ([]chat.Attempt, error){s.WaitingFor, s.Tells} {
			if got := must(read(ctx, alice.Login))(t); len(got) != 0 {
				t.Fatalf("still %+v", got)
			}
		}
		a.Callee += 1000
		is(t, s.PutAttempt(ctx, "", a), chat.ErrUnknown)
	})
}

func TestSetting(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		stores := []*Store{open(t, dsn), open(t, dsn)}
		var mu sync.Mutex
		got := map[string]int{}
		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				v, err := stores[n%2].Setting(ctx, "key", func() ([]byte, error) { return []byte(secret(8)), nil })
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[string(v)]++
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Fatalf("values %v", got)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"", "sqlite:", "mysql://x",
		"sqlite:" + filepath.Join(t.TempDir(), "no", "folder.db")} {
		if _, err := Open(ctx, Options{DSN: dsn}); err == nil {
			t.Errorf("%q was opened", dsn)
		}
	}
}

// TestOpenRefusesNewer: the state of a newer program is refused with words.
func TestOpenRefusesNewer(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		must(s.write.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)"))(t)
		ok(t, s.Close())
		_, err := Open(ctx, Options{DSN: dsn})
		if err == nil || !strings.Contains(err.Error(), "newer program") ||
			!strings.Contains(err.Error(), "version 99") ||
			!strings.Contains(err.Error(), "versions up to ") {
			t.Fatalf("a newer state was opened: %v", err)
		}
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := open(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"))
	ok(t, s.Close())
	_, err := s.Append(ctx, "", "r", chat.Message{Kind: chat.KindNote})
	is(t, err, ErrClosed)
	ok(t, s.Close())
}

// TestSQLiteIsDurable: the driver ignores options it does not know.
func TestSQLiteIsDurable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rooms.db")
	s := open(t, "sqlite:"+path)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"busy_timeout": "5000", "wal_autocheckpoint": "0"} {
		var got string
		if err := s.write.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q: %v", pragma, got, want, err)
		}
	}
	for _, file := range []string{path, path + "-wal"} {
		if info := must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	if _, err := s.read.Exec("DELETE FROM rooms"); err == nil {
		t.Error("a reader's connection may write")
	}
}
