// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// older makes what was said so far older.
func older(t testing.TB, s *Store, roomID string, by time.Duration) {
	t.Helper()
	_, err := s.write.Exec("UPDATE messages SET at = at - $1 WHERE room = $2", by.Microseconds(), roomID)
	ok(t, err)
	_, err = s.write.Exec("UPDATE rooms SET touched = touched - $1 WHERE id = $2", by.Microseconds(), roomID)
	ok(t, err)
}

func TestChanges(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		me, him := people[0].ID, people[1].ID
		said := must(s.Append(ctx, "", o.Room, chat.Message{ID: "a", From: me, Kind: chat.KindText, Text: "helo"}))(t)
		edit := chat.Message{ID: "e1", From: me, Kind: chat.KindEdit, Ref: said.Offset, Text: "hello"}
		first := must(s.Change(ctx, "", o.Room, edit, 0))(t)
		if first.Offset != 3 || first.Ref != said.Offset || first.Text != "hello" || first.At.IsZero() {
			t.Fatalf("edit %+v", first)
		}
		if again := must(s.Change(ctx, "", o.Room, edit, 0))(t); again.Offset != first.Offset || again.Text != "hello" {
			t.Fatalf("sent again %+v", again)
		}
		list := must(s.Messages(ctx, o.Room, 1, 0))(t)
		if len(list) != 2 || list[0].Text != "hello" || list[0].Edited.IsZero() || list[1].Kind != chat.KindEdit {
			t.Fatalf("history %+v", list)
		}
		second := must(s.Change(ctx, "", o.Room, chat.Message{ID: "e2", From: me, Kind: chat.KindEdit,
			Ref: said.Offset, Text: "hello!"}, 0))(t)
		if list = must(s.Messages(ctx, o.Room, first.Offset-1, 0))(t); list[0].Text != "hello!" ||
			list[1].Offset != second.Offset {
			t.Fatalf("an older edit says %+v", list)
		}
		// A change is no news to count, and no last line.
		c := must(s.Rooms(ctx, alice.Login, chat.RoomQuery{List: chat.ListChats}))(t)[0]
		if c.Last.Offset != said.Offset || c.Last.Text != "hello!" || c.Unread != 0 {
			t.Fatalf("summary %+v, last %+v", c, c.Last)
		}

		for name, m := range map[string]chat.Message{
			"another's":  {ID: "x", From: him, Kind: chat.KindEdit, Ref: said.Offset, Text: "x"},
			"none":       {ID: "x", From: me, Kind: chat.KindEdit, Ref: 99, Text: "x"},
			"a mail":     {ID: "x", From: me, Kind: chat.KindDelete, Ref: 1},
			"a change":   {ID: "x", From: me, Kind: chat.KindDelete, Ref: first.Offset},
			"everyone's": {ID: "x", From: 0, Kind: chat.KindDelete, Ref: said.Offset},
		} {
			if _, err := s.Change(ctx, "", o.Room, m, 0); err == nil {
				t.Errorf("%s was changed", name)
			} else {
				is(t, err, chat.ErrForbidden)
			}
		}
		_, err := s.Change(ctx, "elsewhere", o.Room,
			chat.Message{ID: "x", From: me, Kind: chat.KindDelete, Ref: said.Offset}, 0)
		is(t, err, chat.ErrMoved)
		_, err = s.Change(ctx, "", "nowhere", chat.Message{ID: "x", From: me, Kind: chat.KindDelete, Ref: said.Offset}, 0)
		is(t, err, chat.ErrUnknown)

		older(t, s, o.Room, chat.EditFor+time.Minute)
		_, err = s.Change(ctx, "", o.Room, chat.Message{ID: "late", From: me,
			Kind: chat.KindEdit, Ref: said.Offset, Text: "x"}, 0)
		is(t, err, chat.ErrLate)
		gone := must(s.Change(ctx, "", o.Room,
			chat.Message{ID: "d", From: me, Kind: chat.KindDelete, Ref: said.Offset}, 0))(t)
		list = must(s.Messages(ctx, o.Room, 1, 0))(t)
		if !list[0].Deleted || list[0].Text != "" || !list[1].Deleted ||
			list[1].Text != "" || list[3].Offset != gone.Offset {
			t.Fatalf("deleted %+v", list)
		}
		_, err = s.Change(ctx, "", o.Room, chat.Message{ID: "d2", From: me, Kind: chat.KindDelete, Ref: said.Offset}, 0)
		is(t, err, chat.ErrForbidden)
		if next := must(s.Info(ctx, o.Room))(t).Next; next != gone.Offset+1 {
			t.Fatalf("a refused change took an offset: next %d", next)
		}
		var left int
		ok(t, s.read.QueryRow("SELECT COUNT(*) FROM messages WHERE body LIKE '%hel%' AND kind <> 'mail'").Scan(&left))
		if left != 0 {
			t.Error("words that were deleted are still in the database")
		}
	})
}

func picture(id string) *chat.File {
	return &chat.File{ID: id, Name: "a.png", Type: "image/png", Size: 7, Octets: 9,
		Width: 3, Height: 4, Thumb: true, Folder: "one"}
}

func TestFiles(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		other := must(s.OpenFromMail(ctx, hello("2@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		me := people[1].ID
		m := chat.Message{ID: "f", From: me, Kind: chat.KindFile, Text: "look", File: picture("abc")}
		sent := must(s.Post(ctx, "", o.Room, m))(t)
		again := must(s.Post(ctx, "", o.Room, m))(t)
		if sent.Offset != 2 || again.Offset != 2 || again.File == nil || *again.File != *m.File {
			t.Fatalf("%+v, then %+v", sent, again)
		}
		c := must(s.Rooms(ctx, alice.Login, chat.RoomQuery{List: chat.ListChats}))(t)[0]
		if c.Last.File == nil || *c.Last.File != *m.File || c.Last.Text != "look" || c.Unread != 1 {
			t.Fatalf("summary %+v", c.Last)
		}
		if f := must(s.File(ctx, o.Room, "abc", 0))(t); f != *m.File {
			t.Fatalf("file %+v", f)
		}
		_, err := s.File(ctx, other.Room, "abc", 0)
		is(t, err, chat.ErrUnknown)
		if n := must(s.FileOctets(ctx, o.Room))(t); n != 9 {
			t.Fatalf("%d octets", n)
		}
		if !must(s.HasFile(ctx, "one", "abc"))(t) || must(s.HasFile(ctx, "two", "abc"))(t) {
			t.Fatal("whose the file is")
		}
		_, err = s.Change(ctx, "", o.Room, chat.Message{ID: "e", From: me, Kind: chat.KindEdit, Ref: 2, Text: "x"}, 0)
		is(t, err, chat.ErrForbidden)
		must(s.Change(ctx, "", o.Room, chat.Message{ID: "d", From: me, Kind: chat.KindDelete, Ref: 2}, 0))(t)
		_, err = s.File(ctx, o.Room, "abc", 0)
		is(t, err, chat.ErrUnknown)
		if must(s.HasFile(ctx, "one", "abc"))(t) {
			t.Fatal("the file of a deleted message is kept")
		}
		if list := must(s.Messages(ctx, o.Room, 1, 0))(t); list[0].File != nil || !list[0].Deleted {
			t.Fatalf("history %+v", list)
		}
		mail := must(s.Post(ctx, "", o.Room, chat.Message{ID: "m", From: me, Kind: chat.KindText,
			Text: "by mail", Via: chat.ViaMail}))(t)
		if list := must(s.Messages(ctx, o.Room, mail.Offset-1, 0))(t); list[0].Via != chat.ViaMail {
			t.Fatalf("by mail %+v", list)
		}
		_, err = s.Post(ctx, "", o.Room, chat.Message{ID: "x", From: me + 1000,
			Kind: chat.KindFile, File: picture("x")})
		is(t, err, chat.ErrUnknown)
	})
}

func TestSearch(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		find := func(login, q string) (texts []string) {
			t.Helper()
			for after := ""; ; {
				hits, more, err := s.Search(ctx, login, q, after, 2)
				ok(t, err)
				for _, h := range hits {
					texts = append(texts, h.Snippet)
				}
				if after = more; more == "" || len(texts) > 100 {
					return texts
				}
			}
		}
		var rooms []string
		for i := range 3 {
			o := must(s.OpenFromMail(ctx, hello(fmt.Sprintf("%d@x", i))))(t)
			rooms = append(rooms, o.Room)
			him := must(s.Info(ctx, o.Room))(t).Participants[1].ID
			for _, text := range []string{"The Invoice is late", "배송이 언제 되나요?", "100% sure_thing", "ÉCOLE et été"} {
				must(s.Append(ctx, "", o.Room, chat.Message{From: him, Kind: chat.KindText,
					Text: fmt.Sprintf("%s %d", text, i)}))(t)
			}
		}
		him := must(s.Info(ctx, rooms[0]))(t).Participants[1].ID
		must(s.Post(ctx, "", rooms[0], chat.Message{ID: "f", From: him, Kind: chat.KindFile, File: picture("abc")}))(t)
		for q, want := range map[string]int{"invoice": 3, "INVOICE late": 3, "late 2": 1, "배송": 3, "100%": 3,
			"100_": 0, "sure_": 3, "école": 3, "Été": 3,
			"a.PNG": 1, "hello": 3, "nothing": 0, `\`: 0, "'": 0} {
			if got := find(alice.Login, q); len(got) != want {
				t.Errorf("%q found %q", q, got)
			}
		}
		if got := find(alice.Login, "invoice"); !strings.HasPrefix(got[0], "The Invoice is late 0") ||
			!strings.HasSuffix(got[1], "2") {
			t.Errorf("the newest conversation is not first: %q", got)
		}
		if got := find(carol.Addr, "invoice"); len(got) != 0 {
			t.Errorf("somebody else found %q", got)
		}
		if got := find("", "invoice"); len(got) != 0 {
			t.Errorf("nobody found %q", got)
		}
		for _, bad := range [][2]string{{"", ""}, {" \u200b ", ""}, {strings.Repeat("x", 201), ""},
			{"x", "what"}, {"x", "1.2"}} {
			_, _, err := s.Search(ctx, alice.Login, bad[0], bad[1], 1)
			is(t, err, chat.ErrQuery)
		}
		long := strings.Repeat("word ", 100) + "needle " + strings.Repeat("after ", 100)
		must(s.Append(ctx, "", rooms[1], chat.Message{From: 0, Kind: chat.KindText, Text: long}))(t)
		if got := find(alice.Login, "needle"); len(got) != 1 ||
			!strings.Contains(got[0], "needle") || len(got[0]) > 200 {
			t.Errorf("snippet %q", got)
		}
	})
}

func TestTranscriptMarks(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		other := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		me, him := people[0].ID, people[1].ID
		say := func() int64 {
			return must(s.Append(ctx, "", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "x"}))(t).Offset
		}
		say()
		older(t, s, o.Room, 2*time.Hour)
		begun := say()
		ok(t,
			s.SetTranscriptPreference(ctx, "", o.Room, chat.TranscriptPreference{Participant: him, On: true,
				Lang: "ko", Zone: "Asia/Seoul"}))
		is(t, s.SetTranscriptPreference(ctx, "", "nowhere", chat.TranscriptPreference{Participant: him, On: true}),
			chat.ErrUnknown)
		if got := must(s.TranscriptPreferences(ctx, o.Room))(t); len(got) != 1 ||
			got[0] != (chat.TranscriptPreference{Participant: him,
				On: true, Lang: "ko", Zone: "Asia/Seoul", Sent: begun - 1}) {
			t.Fatalf("wishes %+v, talk began at %d", got, begun)
		}
		if got := must(s.QuietRooms(ctx, time.Now().Add(-time.Hour)))(t); len(got) != 0 {
			t.Fatalf("quiet %v", got)
		}
		older(t, s, o.Room, 2*time.Hour)
		if got := must(other.QuietRooms(ctx, time.Now().Add(-time.Hour)))(t); len(got) != 1 || got[0] != o.Room {
			t.Fatalf("quiet %v", got)
		}
		list, last, err := s.TakeTranscripts(ctx, "", o.Room)
		ok(t, err)
		if len(list) != 1 || list[0].Participant != him || last != begun {
			t.Fatalf("took %+v up to %d", list, last)
		}
		if list, _, err := other.TakeTranscripts(ctx, "", o.Room); err != nil || len(list) != 0 {
			t.Fatalf("another relay took %+v, %v", list, err)
		}
		if got := must(other.QuietRooms(ctx, time.Now()))(t); len(got) != 0 {
			t.Fatalf("quiet %v", got)
		}
		// that relay died
		_, err = s.write.Exec("UPDATE transcripts SET taken = taken - $1",
			(transcriptLease + time.Minute).Microseconds())
		ok(t, err)
		if list, _, err := other.TakeTranscripts(ctx, "", o.Room); err != nil || len(list) != 1 {
			t.Fatalf("after the lease %+v, %v", list, err)
		}
		ok(t, other.SentTranscript(ctx, him, last))
		if list, _, err := s.TakeTranscripts(ctx, "", o.Room); err != nil || len(list) != 0 {
			t.Fatalf("it would be sent again: %+v, %v", list, err)
		}
		next := say()
		// again, which changes nothing
		ok(t, s.SetTranscriptPreference(ctx, "", o.Room, chat.TranscriptPreference{Participant: him, On: true}))
		if list, last, err := s.TakeTranscripts(ctx, "", o.Room); err != nil || len(list) != 1 ||
			list[0].Sent != begun || last != next {
			t.Fatalf("the next stretch: %+v, %d, %v", list, last, err)
		}
		ok(t, s.SetTranscriptPreference(ctx, "", o.Room, chat.TranscriptPreference{Participant: him}))
		if got := must(s.QuietRooms(ctx, time.Now().Add(time.Hour)))(t); len(got) != 0 {
			t.Fatalf("who does not want one: %v", got)
		}
	})
}

func TestErase(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		before := must(s.Info(ctx, o.Room))(t)
		me, him := before.Participants[0].ID, before.Participants[1].ID
		must(s.Append(ctx, "", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "secret of mine"}))(t)
		must(s.Append(ctx, "", o.Room, chat.Message{From: him, Kind: chat.KindText, Text: "his words"}))(t)
		must(s.Append(ctx, "", o.Room, chat.Message{From: me, Kind: chat.KindNote, Text: "declined\nin a meeting"}))(t)
		must(s.Post(ctx, "", o.Room, chat.Message{ID: "f", From: me, Kind: chat.KindFile,
			Text: "caption", File: picture("abc")}))(t)
		ok(t, s.SetTranscriptPreference(ctx, "", o.Room, chat.TranscriptPreference{Participant: me, On: true}))
		back := must(s.NewInvite(ctx, o.Room, me, him, "x"))(t)
		if got := must(s.Memberships(ctx, "ALICE@here.test"))(t); len(got) != 1 ||
			got[0].ID != me || got[0].Room != o.Room {
			t.Fatalf("memberships %+v", got)
		}
		if got := must(s.Memberships(ctx, ""))(t); len(got) != 0 {
			t.Fatalf("nobody's memberships %+v", got)
		}
		e := must(s.Erase(ctx, alice.Login))(t)
		if e != (chat.Erased{Rooms: 1, Messages: 2, Files: 1}) {
			t.Fatalf("erased %+v", e)
		}
		info := must(s.Info(ctx, o.Room))(t)
		if p := info.Participants[0]; p.Name != chat.ErasedName || p.Addr != chat.ErasedName || p.Login != "" ||
			info.Subject != "" || info.Epoch == before.Epoch {
			t.Fatalf("room %+v", info)
		}
		var texts []string
		for _, m := range must(s.Messages(ctx, o.Room, 0, 0))(t) {
			texts = append(texts, m.Text)
			if m.File != nil {
				t.Errorf("file %+v", m.File)
			}
		}
		if got := strings.Join(texts, "|"); got != "||his words|declined|" {
			t.Errorf("texts %q", got)
		}
		_, err := s.Member(ctx, alice.Login, o.Room)
		is(t, err, chat.ErrUnknown)
		_, err = s.Invite(ctx, back)
		is(t, err, chat.ErrUnknown)
		i, err := s.Invite(ctx, o.Invites[bob.Addr])
		is(t, err, chat.ErrRevoked)
		if i.Subject != "" {
			t.Errorf("the link's subject is %q", i.Subject)
		}
		if must(s.HasFile(ctx, "one", "abc"))(t) || len(must(s.TranscriptPreferences(ctx, o.Room))(t)) != 0 {
			t.Error("a file or a wish is left")
		}
		if again := must(s.Erase(ctx, alice.Login))(t); again != (chat.Erased{}) {
			t.Errorf("again %+v", again)
		}
	})
}

// What strangers are called is cleaned where it is stored.
func TestNamesAreClean(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		m := hello("1@x")
		m.Subject = "an \u202eexe.jpg\u200b" + strings.Repeat("x", 2000)
		m.Recipients = []chat.Person{{Addr: bob.Addr, Name: "<b>B\u200bob</b>\u202e\r\nBcc: x"}}
		o := must(s.OpenFromMail(ctx, m))(t)
		info := must(s.Info(ctx, o.Room))(t)
		if name := info.Participants[1].Name; name != "<b>Bob</b> Bcc: x" {
			t.Errorf("name %q", name)
		}
		if strings.ContainsAny(info.Subject, "\u202e\u200b") || len(info.Subject) > 998 {
			t.Errorf("subject %q", info.Subject)
		}
		if i := must(s.Invite(ctx, o.Invites[bob.Addr]))(t); i.Subject != info.Subject {
			t.Errorf("the link's subject %q", i.Subject)
		}
	})
}

func FuzzSearch(f *testing.F) {
	f.Add("word", "1.2.abc")
	f.Add("100% \\ '", "")
	f.Fuzz(func(t *testing.T, q, after string) {
		if c, ok := readCursor(after); ok && c.String() != after {
			t.Errorf("the cursor %q came back as %q", after, c.String())
		}
		for _, w := range strings.Fields(q) {
			if list := variants(w); len(list) == 0 {
				t.Errorf("%q has no spelling", w)
			}
			snippet(q, w)
		}
	})
}

// A message that answers another one keeps which; one that answers nothing that can
// be answered is a message all the same.
func TestAnswersToMessages(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		other := must(s.OpenFromMail(ctx, hello("2@x")))(t)
		me := must(s.Info(ctx, o.Room))(t).Participants[0].ID
		first := must(s.Append(ctx, "", o.Room, chat.Message{From: me, Kind: chat.KindText, Text: "red?"}))(t)
		m := chat.Message{ID: "a", From: me, Kind: chat.KindText, Text: "blue", Ref: first.Offset}
		for range 2 { // sent again it is the same
			if got := must(s.Append(ctx, "", o.Room, m))(t); got.Ref != first.Offset || got.Offset != 3 {
				t.Fatalf("%+v", got)
			}
			m.Ref = 1
		}
		for _, ref := range []int64{1, 99, -1} { // a mail, and nothing
			m := chat.Message{From: me, Kind: chat.KindText, Text: "hm", Ref: ref}
			if got := must(s.Append(ctx, "", o.Room, m))(t); got.Ref != 0 {
				t.Errorf("an answer to %d: %+v", ref, got)
			}
		}
		list := must(s.Messages(ctx, o.Room, 2, 1))(t)
		if list[0].Ref != first.Offset {
			t.Errorf("stored %+v", list[0])
		}
		if n := must(s.Info(ctx, other.Room))(t).Next; n != 2 {
			t.Errorf("the next offset of the other room is %d", n)
		}
	})
}
