// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/transcript"
)

// talking lets a relay keep files and send transcripts soon.
func talking(t testing.TB) func(*Options) {
	dir := t.TempDir()
	return func(o *Options) {
		o.Files, o.Replies, o.LeftFor = dir, "mall.example", 300*time.Millisecond
	}
}

func (c *client) kind(kind string) *frame.Frame {
	c.t.Helper()
	return c.until("a message of kind "+kind, func(f *frame.Frame) bool {
		return f.T == frame.TMsg && f.Msg.Kind == kind
	})
}

func (c *client) refusal(id, code string) {
	c.t.Helper()
	f := c.until("the refusal of "+id, func(f *frame.Frame) bool { return f.ID == id })
	if f.T != frame.TError || f.Code != code || f.Fatal {
		c.t.Fatalf("%+v, want %s", f, code)
	}
}

func (c *client) ack(id string) int64 {
	c.t.Helper()
	return c.until("the ack of "+id, func(f *frame.Frame) bool { return f.T == frame.TAck && f.ID == id }).Offset
}

func TestEditAndDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	welcome := kim.typ(frame.TWelcome)
	if welcome.EditFor != 900 || welcome.MaxFile != 0 {
		t.Errorf("welcome %+v", welcome)
	}
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "helo"})
	at := kim.ack("1")
	lee.text("helo")

	// Lee is away for a while, and learns of both changes exactly once.
	away := lee.seen[len(lee.seen)-1].Msg.Offset
	lee.send(frame.Frame{T: frame.TLeave})
	host := w.in(w.desk(), frame.Frame{})
	host.text("helo")
	kim.send(frame.Frame{T: frame.TEdit, ID: "2", Offset: at, Text: "hel\u202elo"})
	kim.send(frame.Frame{T: frame.TEdit, ID: "2", Offset: at, Text: "hello"}) // sent again
	first := kim.ack("2")
	if again := kim.ack("2"); again != first {
		t.Errorf("sent again it is at %d, not %d", again, first)
	}
	if m := host.kind(chat.KindEdit).Msg; m.Ref != at || m.Text != "hello" || m.Offset != first {
		t.Errorf("edit %+v", m)
	}
	lee = w.in(w.chat(w.cc, 2), frame.Frame{Epoch: welcome.Epoch, After: away})
	if m := lee.kind(chat.KindEdit).Msg; m.Ref != at || m.Text != "hello" {
		t.Errorf("on return %+v", m)
	}
	lee.send(frame.Frame{T: frame.TDelete, ID: "x", Offset: at})
	lee.refusal("x", frame.ErrForbidden)
	kim.send(frame.Frame{T: frame.TDelete, ID: "3", Offset: at})
	last := kim.ack("3")
	if m := lee.kind(chat.KindDelete).Msg; m.Ref != at || m.Text != "" {
		t.Errorf("delete %+v", m)
	}
	for i, f := range lee.seen {
		if f.T == frame.TMsg && f.Msg.Offset <= away {
			t.Errorf("frame %d came a second time: %+v", i, f.Msg)
		}
	}
	kim.send(frame.Frame{T: frame.TEdit, ID: "4", Offset: at, Text: "again"})
	kim.refusal("4", frame.ErrForbidden)

	// History is folded.
	fresh := w.in(w.chat(w.token, 1), frame.Frame{})
	m := fresh.until("the deleted message",
		func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Offset == at }).Msg
	if !m.Deleted || m.Text != "" {
		t.Errorf("history %+v", m)
	}
	fresh.until("the last change", func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Offset == last })
}

func TestBadTexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	lee := w.in(w.chat(w.cc, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TSay, ID: "long", Text: strings.Repeat("x", frame.MaxText+1)})
	kim.refusal("long", frame.ErrTooLarge)
	kim.send(frame.Frame{T: frame.TSay, ID: "nothing", Text: " \u200b\u2067\n"})
	kim.refusal("nothing", frame.ErrEmpty)
	for in, want := range map[string]string{
		`<script>alert(1)</script>`:     "<script>alert(1)</script>",
		`see \u202egpj.exe`:             "see gpj.exe",
		`lone \ud800 surrogate`:         "lone \uFFFD surrogate",
		`a\u200bb\r\nc`:                 "ab\nc",
		`👨\u200d👩\u200d👧 안녕`:            "👨\u200d👩\u200d👧 안녕",
		`\u1112\u1161\u11ab decomposed`: "한 decomposed",
	} {
		if err := kim.c.Write(t.Context(),
			[]byte(`{"t":"say","id":"`+fmt.Sprint(len(in))+`","text":"`+in+`"}`)); err != nil {
			t.Fatal(err)
		}
		if got := lee.kind(chat.KindText).Msg.Text; got != want {
			t.Errorf("%s came as %q", in, got)
		}
	}
}

// drawing is a picture of this size.
func drawing(t testing.TB, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, side, side))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) upload(v Visitor, id, name string, body []byte) (chat.Message, error) {
	return w.relay.Upload(w.t.Context(), v, Incoming{ID: id, Name: name, Body: bytes.NewReader(body)})
}

// get is what a visitor gets of a file.
func (w *world) get(v Visitor, id string, thumb bool) (*http.Response, error) {
	rec := httptest.NewRecorder()
	err := w.relay.ServeFile(rec, httptest.NewRequest("GET", "/", nil), v, id, thumb)
	return rec.Result(), err
}

func TestFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { talking(t)(o); o.MaxFile, o.MaxRoom = 1<<20, 2<<20 })
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	if f := kim.typ(frame.TWelcome); f.MaxFile != 1<<20 {
		t.Errorf("max_file %d", f.MaxFile)
	}
	me := Visitor{Token: w.token, Claim: claimOf(1)}
	host := Visitor{Login: w.host, Room: w.room}
	sent, err := w.upload(me, "f1", `..\..\C:\pic\u202e.exe`, drawing(t, 600))
	if err != nil {
		t.Fatal(err)
	}
	m := kim.kind(chat.KindFile).Msg
	if m.Offset != sent.Offset || m.File == nil || m.File.Width != 600 || !m.File.Thumb || m.File.Type != "image/png" ||
		strings.ContainsAny(m.File.Name, `\/:`) {
		t.Fatalf("message %+v, file %+v", m, m.File)
	}
	again, err := w.upload(me, "f1", "x.png", drawing(t, 600))
	if err != nil || again.Offset != sent.Offset {
		t.Errorf("sent again: %+v, %v", again, err)
	}
	for _, v := range []Visitor{me, host} {
		r, err := w.get(v, m.File.ID, true)
		if err != nil || r.Header.Get("Content-Type") != "image/png" ||
			!strings.HasPrefix(r.Header.Get("Content-Disposition"), "inline") {
			t.Errorf("thumbnail %v, %v", r.Header, err)
		}
	}
	page, err := w.upload(host, "f2", "page.html", []byte("<script>alert(1)</script>"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.get(me, page.File.ID, false)
	if err != nil || r.Header.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(r.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("a page came as %v, %v", r.Header, err)
	}
	if b, _ := io.ReadAll(r.Body); string(b) != "<script>alert(1)</script>" {
		t.Errorf("it is %q", b)
	}

	other, err := w.rooms.OpenFromMail(t.Context(), chat.Mail{MessageID: "other@mall.example",
		Sender:     chat.Person{Login: "eve@mall.example", Addr: "eve@mall.example"},
		Recipients: []chat.Person{{Addr: "kim@far.example"}}, Subject: "Other", Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		v    Visitor
		want error
	}{
		"another browser": {Visitor{Token: w.token, Claim: claimOf(9)}, ErrStranger},
		"no such link":    {Visitor{Token: "AAAAAAAAAAAAAAAAAAAAAA", Claim: claimOf(1)}, chat.ErrUnknown},
		"another login":   {Visitor{Login: "eve@mall.example", Room: w.room}, chat.ErrUnknown},
		"another room":    {Visitor{Login: "eve@mall.example", Room: other.Room}, chat.ErrUnknown},
	} {
		if _, err := w.get(c.v, m.File.ID, false); !errors.Is(err, c.want) {
			t.Errorf("%s gets %v", name, err)
		}
		if name != "another room" {
			if _, err := w.upload(c.v, "x", "x", []byte("x")); !errors.Is(err, c.want) {
				t.Errorf("%s sends %v", name, err)
			}
		}
	}
	for name, c := range map[string]struct {
		id   string
		body []byte
		want string
	}{
		"too large": {"x1", make([]byte, 1<<20+1), "too large"},
		"empty":     {"x2", nil, "empty"},
		"no id":     {"", []byte("x"), "no id"},
		"long id":   {strings.Repeat("x", frame.MaxID+1), []byte("x"), "no id"},
	} {
		if _, err := w.upload(me, c.id, "x", c.body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A deleted file is gone at once for everybody, and then from the folder.
	hostIn := w.in(w.desk(), frame.Frame{})
	hostIn.typ(frame.TWelcome)
	hostIn.send(frame.Frame{T: frame.TDelete, ID: "d", Offset: page.Offset})
	hostIn.ack("d")
	if _, err := w.get(me, page.File.ID, false); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("a deleted file: %v", err)
	}
	if _, err := w.get(host, m.File.ID, false); err != nil {
		t.Errorf("the other file: %v", err)
	}
	var often *files.TooOftenError
	for i := range 50 {
		if _, err = w.upload(me, fmt.Sprint("often", i), "x", []byte("x")); err != nil {
			break
		}
	}
	if !errors.As(err, &often) || often.Wait <= 0 {
		t.Errorf("too many: %v", err)
	}
	if _, err := w.upload(host, "other", "x", []byte("x")); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

// Files and answers by mail come in at any relay, and appear where the room is.
func TestFilesAndAnswersAcrossRelays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := newWorlds(t, 2, func(o *Options) { o.Files, o.Replies = dir, "mall.example" })
	home, other := all[0], all[1]
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	me := kim.typ(frame.TWelcome).Me
	v := Visitor{Token: home.token, Claim: claimOf(1)}
	sent, err := other.upload(v, "f", "a.txt", []byte("words"))
	if err != nil {
		t.Fatal(err)
	}
	if m := kim.kind(chat.KindFile).Msg; m.Offset != sent.Offset {
		t.Errorf("message %+v", m)
	}
	for _, w := range all {
		if r, err := w.get(v, sent.File.ID, false); err != nil {
			t.Error(err)
		} else if b, _ := io.ReadAll(r.Body); string(b) != "words" {
			t.Errorf("the file is %q", b)
		}
	}
	addr, err := home.relay.answers.Sealer.Seal(transcript.Address{Room: home.room,
		Participant: me, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.relay.Reply(t.Context(), addr, strings.NewReader("From: kim@far.example\r\n"+
		"Message-ID: <1@far>\r\n\r\nby mail\r\n")); err != nil {
		t.Fatal(err)
	}
	if m := kim.text("by mail").Msg; m.Via != chat.ViaMail {
		t.Errorf("answer %+v", m)
	}
}

// Who was blocked does not learn of it, by files and mail either.
func TestFilesAndAnswersOfTheBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, talking(t))
	e := w.chat(w.token, 1)
	if err := w.rooms.Block(t.Context(), w.host, w.room, e.Me); err != nil {
		t.Fatal(err)
	}
	m, err := w.upload(Visitor{Token: w.token, Claim: claimOf(1)}, "f", "a.txt", []byte("words"))
	if err != nil || m.File == nil || m.File.Size != 5 {
		t.Errorf("%+v, %v", m, err)
	}
	addr, err := w.relay.answers.Sealer.Seal(transcript.Address{Room: w.room,
		Participant: e.Me, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.relay.Reply(t.Context(), addr, strings.NewReader("From: kim@far.example\r\n"+
		"Message-ID: <1@far>\r\n\r\nby mail\r\n")); err != nil {
		t.Error(err)
	}
	list, err := w.rooms.Messages(t.Context(), w.room, 0, 0)
	if err != nil || len(list) != 1 {
		t.Errorf("messages %+v, %v", list, err)
	}
}
