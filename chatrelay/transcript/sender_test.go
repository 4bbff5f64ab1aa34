// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// desk is a store with rooms of one message each, and a mailer.
type desk struct {
	sync.Mutex
	said  time.Time                             // in all rooms
	wants map[string]*chat.TranscriptPreference // room → Kim's
	taken map[string]bool
	fail  map[string]error // of the mailer, by room
	crash map[string]bool
	mails []chat.ServerMail
}

func (d *desk) QuietRooms(_ context.Context, before time.Time) (list []string, err error) {
	d.Lock()
	defer d.Unlock()
	for id := range d.wants {
		if d.said.Before(before) {
			list = append(list, id)
		}
	}
	return list, nil
}

func (d *desk) TakeTranscripts(
	_ context.Context, _, room string,
) (list []chat.TranscriptPreference, last int64, err error) {
	d.Lock()
	defer d.Unlock()
	if w := d.wants[room]; w != nil && w.Sent < 1 && !d.taken[room] {
		d.taken[room] = true
		list = append(list, *w)
	}
	return list, 1, nil
}

func (d *desk) SentTranscript(_ context.Context, participant, offset int64) error {
	d.Lock()
	defer d.Unlock()
	d.wants[fmt.Sprint("room", participant)].Sent = offset
	return nil
}

func (d *desk) Info(_ context.Context, room string) (chat.Info, error) {
	var id int64
	fmt.Sscanf(room, "room%d", &id)
	return chat.Info{ID: room, Subject: room, Owner: 100, Participants: []chat.Participant{
		{ID: id, Person: chat.Person{Name: "Kim", Addr: "kim@far.example"}},
		{ID: 100, Person: chat.Person{Login: "host", Addr: "host@mall.example"}}}}, nil
}

func (d *desk) Messages(_ context.Context, _ string, after int64, _ int) ([]chat.Message, error) {
	if after > 0 {
		return nil, nil
	}
	return []chat.Message{{Offset: 1, From: 100, Kind: chat.KindText, Text: "well then"}}, nil
}

func (d *desk) NewInvite(_ context.Context, room string, _, callee int64, _ string) (string, error) {
	return fmt.Sprint(room, "-", callee), nil
}

func (d *desk) Send(_ context.Context, m chat.ServerMail) error {
	d.Lock()
	defer d.Unlock()
	room := strings.TrimPrefix(m.Subject, "Transcript: ")
	if d.crash[room] {
		delete(d.crash, room)
		panic("a fault")
	}
	if err := d.fail[room]; err != nil {
		return err
	}
	d.mails = append(d.mails, m)
	return nil
}

// answered is a desk with two messages by mail in its rooms, of one person.
type answered struct {
	*desk
	by int64
}

func (d answered) Messages(_ context.Context, _ string, after int64, _ int) ([]chat.Message, error) {
	if after > 0 {
		return nil, nil
	}
	return []chat.Message{{Offset: 1, From: d.by, Kind: chat.KindText, Text: "I am away.", Via: chat.ViaMail}}, nil
}

// TestNoCircle: whoever answered a transcript by mail gets no transcript of that alone,
// so that a machine that answers each is sent none.
func TestNoCircle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for by, want := range map[int64]int{1: 0, 100: 1} {
			d := &desk{said: time.Now(), taken: map[string]bool{},
				wants: map[string]*chat.TranscriptPreference{"room1": {Participant: 1, On: true}}}
			s := StartSender(SenderOptions{Store: answered{d, by}, Mailer: d, WebBase: "https://chat.example",
				Occupied: func(context.Context, string) bool { return false },
				Callee:   func(chat.Info, chat.Participant) int64 { return 0 }})
			time.Sleep(3 * chat.Silence)
			s.Close()
			if len(d.mails) != want || d.wants["room1"].Sent != 1 {
				t.Errorf("%d mails after an answer of %d, noted up to %d", len(d.mails), by, d.wants["room1"].Sent)
			}
		}
	})
}

// A transcript goes out once, when everybody has left for long enough, or
// after a silence. A mailer that fails, or panics, stops no other's.
func TestSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{said: time.Now(), wants: map[string]*chat.TranscriptPreference{}, taken: map[string]bool{},
			fail:  map[string]error{"room1": errors.New("refused")},
			crash: map[string]bool{"room2": true}}
		for id := int64(1); id <= 4; id++ {
			d.wants[fmt.Sprint("room", id)] = &chat.TranscriptPreference{Participant: id, On: true}
		}
		occupied := map[string]bool{"room4": true}
		sealer, err := NewSealer("mall.example", make([]byte, sealKey))
		if err != nil {
			t.Fatal(err)
		}
		s := StartSender(SenderOptions{Store: d, Mailer: d, WebBase: "https://chat.example",
			Sealer: sealer, Silence: 100 * time.Hour,
			Occupied: func(_ context.Context, room string) bool { return occupied[room] },
			Callee:   func(chat.Info, chat.Participant) int64 { return 0 },
			Log:      slog.New(slog.NewTextHandler(t.Output(), nil))})
		defer s.Close()
		d.Lock()
		defer d.Unlock()
		pass := func(long time.Duration) {
			d.Unlock()
			time.Sleep(long)
			synctest.Wait()
			d.Lock()
		}
		pass(lookMost + time.Second)
		for id := range d.wants {
			s.Left(id)
		}
		pass(DefaultLeftFor - time.Second)
		if len(d.mails) != 0 {
			t.Fatalf("sent too soon: %+v", d.mails)
		}
		pass(lookMost + 2*time.Second)
		if len(d.mails) != 1 || d.mails[0].Subject != "Transcript: room3" || d.wants["room3"].Sent != 1 {
			t.Fatalf("%d mails were sent, %+v", len(d.mails), d.wants)
		}
		m := d.mails[0]
		a := Answers{Sealer: sealer, Info: d.Info}
		if to, err := a.Address(t.Context(), m.ReplyTo); err != nil || to.Room != "room3" || to.Participant != 3 ||
			!strings.Contains(m.Text, "https://chat.example/c/room3-100") || !strings.Contains(m.Text, "well then") {
			t.Errorf("%+v, %v:\n%s", to, err, m.Text)
		}
		// What failed is still to be sent, after the reservation and the silence.
		clear(d.taken)
		clear(d.fail)
		pass(100*time.Hour + quietEvery)
		if len(d.mails) != 4 {
			t.Errorf("%d mails in the end", len(d.mails))
		}
	})
}

// An answer counts only from the address to which the transcript went.
func TestAnswers(t *testing.T) {
	t.Parallel()
	sealer, err := NewSealer("mall.example", make([]byte, sealKey))
	if err != nil {
		t.Fatal(err)
	}
	a := Answers{Sealer: sealer, Info: new(desk).Info}
	seal := func(participant int64, expires time.Time) string {
		addr, err := sealer.Seal(Address{Room: "room7", Participant: participant, Expires: expires})
		if err != nil {
			t.Fatal(err)
		}
		return addr
	}
	later := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		to, from, text string
		want           error
	}{
		"right":          {seal(7, later), "KIM@far.example", "yes", nil},
		"another sender": {seal(7, later), "eve@far.example", "yes", ErrSender},
		"no sender":      {seal(7, later), "", "yes", ErrSender},
		"nobody":         {seal(8, later), "kim@far.example", "yes", chat.ErrUnknown},
		"old":            {seal(7, time.Now().Add(-2*time.Hour)), "kim@far.example", "yes", ErrExpired},
		"not an address": {"reply+aaaa@mall.example", "kim@far.example", "yes", ErrAddress},
		"nothing new":    {seal(7, later), "kim@far.example", "> yes", ErrEmpty},
		"a huge history": {seal(7, later), "kim@far.example",
			"yes\r\n\r\n" + strings.Repeat("> more\r\n", 100_000), nil},
	} {
		read := func() (Answer, error) {
			return a.Read(t.Context(), c.to,
				strings.NewReader("From: <"+c.from+">\r\nMessage-ID: <1@far>\r\n\r\n"+c.text+"\r\n"))
		}
		got, err := read()
		if !errors.Is(err, c.want) || (Refusal(err) == "") != (err == nil) {
			t.Errorf("%s: %v, %q", name, err, Refusal(err))
		}
		if err == nil {
			again, _ := read()
			if got.Message.Text != "yes" || got.From.ID != 7 || got.Room.ID != "room7" ||
				got.Message.ID != again.Message.ID || got.Message.Via != chat.ViaMail {
				t.Errorf("%s: %+v, then %+v", name, got, again)
			}
		}
	}
	if _, err := (Answers{}).Address(t.Context(), seal(7, later)); !errors.Is(err, ErrAddress) {
		t.Errorf("without a sealer: %v", err)
	}
}

// quoting is a desk in whose rooms messages answer others.
type quoting struct{ *desk }

func (d quoting) Messages(_ context.Context, _ string, after int64, limit int) ([]chat.Message, error) {
	all := []chat.Message{{Offset: 1, From: 1, Kind: chat.KindText, Text: "red or blue?\n" + strings.Repeat("very ", 90)},
		{Offset: 2, From: 100, Kind: chat.KindText, Text: "blue <b>", Ref: 1},
		{Offset: 3, From: 1, Kind: chat.KindText, Deleted: true},
		{Offset: 4, From: 100, Kind: chat.KindText, Text: "pardon?", Ref: 3},
		{Offset: 5, From: 100, Kind: chat.KindText, Text: "too late", Ref: 9}}
	return all[min(int(after), len(all)):min(int(after)+limit, len(all))], nil
}

// What a message answers stands above it, though it was in an earlier transcript.
func TestQuotes(t *testing.T) {
	t.Parallel()
	d := &desk{}
	s := &Sender{opt: SenderOptions{Store: quoting{d}, Mailer: d, WebBase: "https://chat.example",
		Callee: func(chat.Info, chat.Participant) int64 { return 100 }}}
	info, err := d.Info(t.Context(), "room1")
	if err != nil {
		t.Fatal(err)
	}
	if sent, err := s.send(t.Context(), info, chat.TranscriptPreference{Participant: 1, On: true, Sent: 1}, 5); !sent ||
		err != nil {
		t.Fatal(sent, err)
	}
	text := d.mails[0].Text
	for _, want := range []string{"    > Kim: red or blue? very", "ve…\n    blue <b>\n",
		"    > Kim: This message was deleted.\n    pardon?\n", "\n    too late\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if n := strings.Count(text, "    > "); n != 2 {
		t.Errorf("%d quotes in %s", n, text)
	}
	if html := d.mails[0].HTML; !strings.Contains(html, "Kim: red or blue?") || strings.Contains(html, "blue <b>") {
		t.Errorf("HTML %s", html)
	}
}
