// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/transcript"
)

// mails waits until so many went to an address.
func (w *world) mails(addr string, n int) (list []chat.ServerMail) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%d mails to %s", n, addr), func() bool {
		list = nil
		for _, m := range w.mail.all() {
			if m.To.Addr == addr {
				list = append(list, m)
			}
		}
		return len(list) >= n
	})
	return list
}

// Whoever has left without a wish for a transcript can ask for it afterwards, and say once how it went.
func TestAfterLeaving(t *testing.T) {
	t.Parallel()
	w := newWorld(t, talking(t))
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	me := kim.typ(frame.TWelcome).Me
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "the lamp, please"})
	kim.ack("1")
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TLeave})
	wish := Afterwards{Transcript: true, Lang: "ko", Zone: "Asia/Seoul", Rating: chat.RatedGood}
	for range 2 {
		if err := w.relay.After(t.Context(), w.token, claimOf(1), wish); err != nil {
			t.Fatal(err)
		}
	}
	if m := host.kind(chat.KindNote).Msg; m.Text != "rated\ngood" || m.From != me {
		t.Errorf("the desk reads %+v", m)
	}
	if err := w.relay.After(t.Context(), w.token, claimOf(2), wish); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("another browser: %v", err)
	}
	host.send(frame.Frame{T: frame.TLeave})
	m := w.mails("kim@far.example", 1)[0]
	for _, want := range []string{"the lamp, please", "좋았다고", "Asia/Seoul"} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the transcript lacks %q:\n%s", want, m.Text)
		}
	}
	if n := strings.Count(m.Text, "좋았다고"); n != 1 {
		t.Errorf("rated %d times", n)
	}
}

func TestTranscriptAndReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, talking(t))
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	if kim.typ(frame.TWelcome).Transcript {
		t.Error("a transcript that nobody asked for")
	}
	kim.send(frame.Frame{T: frame.TTranscript, On: true, Lang: "ko", Zone: "Asia/Seoul"})
	if f := kim.typ(frame.TTranscript); !f.On {
		t.Errorf("%+v", f)
	}
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "안녕 <b>"})
	kim.send(frame.Frame{T: frame.TSay, ID: "2", Text: "a slip"})
	at := kim.ack("2")
	kim.send(frame.Frame{T: frame.TEdit, ID: "3", Offset: at, Text: "mended"})
	kim.send(frame.Frame{T: frame.TSay, ID: "4", Text: "forget this"})
	kim.send(frame.Frame{T: frame.TDelete, ID: "5", Offset: kim.ack("4")})
	kim.ack("5")
	if _, err := w.upload(Visitor{Token: w.token, Claim: claimOf(1)}, "f", "plan.txt", []byte("the plan")); err != nil {
		t.Fatal(err)
	}
	kim.send(frame.Frame{T: frame.TLeave})
	first := w.mails("kim@far.example", 1)[0]
	for _, want := range []string{"Order 7", "안녕 <b>", "mended", "수정됨", "삭제된 메시지", "plan.txt", "Asia/Seoul", "Kim"} {
		if !strings.Contains(first.Subject+first.Text, want) {
			t.Errorf("the transcript lacks %q:\n%s", want, first.Text)
		}
	}
	if strings.Contains(first.Text+first.HTML, "forget this") || strings.Contains(first.HTML, "안녕 <b>") ||
		strings.Contains(first.Text, "a slip") {
		t.Errorf("what does not belong there:\n%s", first.Text)
	}
	if !strings.HasPrefix(first.ReplyTo, "reply+") || !strings.HasSuffix(first.ReplyTo, "@mall.example") {
		t.Fatalf("Reply-To %s", first.ReplyTo)
	}

	// Nothing was said: no further transcript. Who comes back sees what they chose.
	kim = w.in(w.chat(w.token, 1), frame.Frame{})
	if !kim.typ(frame.TWelcome).Transcript {
		t.Error("the choice is forgotten")
	}
	kim.send(frame.Frame{T: frame.TLeave})
	host := w.in(w.desk(), frame.Frame{})
	host.typ(frame.TWelcome)

	answer := func(to, from, id, extra string) error {
		return w.relay.Reply(t.Context(), to, strings.NewReader("From: Kim <"+from+">\r\nTo: <"+to+
			">\r\nSubject: Re: x\r\nMessage-ID: <"+id+
			">\r\nDate: Mon, 1 Jan 2001 00:00:00 +0000\r\n"+extra+"Content-Type: text/plain; charset=utf-8\r\n"+
			"\r\nBy all means\u202e!\r\n\r\n"+
			"On Mon, 1 Jan 2001 at 10:00, CHmail <postmaster@mall.example> wrote:\r\n"+
			strings.ReplaceAll("> "+first.Text, "\n", "\r\n> ")+strings.Repeat("> more\r\n", 10)))
	}
	for range 2 { // it comes twice
		if err := answer(strings.ToUpper(first.ReplyTo), "Kim@far.example", "r1@far", ""); err != nil {
			t.Fatal(err)
		}
	}
	m := host.kind(chat.KindText).Msg
	for m.Via != chat.ViaMail {
		m = host.kind(chat.KindText).Msg
	}
	if m.Text != "By all means!" || m.Via != chat.ViaMail || time.Since(m.At) > time.Hour {
		t.Errorf("the answer is %+v", m)
	}
	if err := answer(first.ReplyTo, "kim@far.example", "auto@far", "Auto-Submitted: auto-replied\r\n"); err != nil {
		t.Errorf("a machine's answer: %v", err)
	}
	for name, c := range map[string]struct {
		to, from string
		want     error
	}{
		"another sender": {first.ReplyTo, "eve@far.example", transcript.ErrSender},
		"a bad seal":     {strings.Replace(first.ReplyTo, "@", "a@", 1), "kim@far.example", transcript.ErrAddress},
		"another domain": {strings.Replace(first.ReplyTo, "mall.example", "far.example", 1),
			"kim@far.example", transcript.ErrAddress},
	} {
		err := answer(c.to, c.from, name+"@far", "")
		if !errors.Is(err, c.want) || transcript.Refusal(err) == "" {
			t.Errorf("%s: %v, %q", name, err, transcript.Refusal(err))
		}
	}
	old, err := w.relay.answers.Sealer.Seal(transcript.Address{Room: w.room, Participant: m.From,
		Expires: time.Now().Add(-2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := answer(old, "kim@far.example", "old@far", ""); !errors.Is(err, transcript.ErrExpired) {
		t.Errorf("an old address: %v", err)
	}
	list, err := w.rooms.Messages(t.Context(), w.room, m.Offset, 0)
	if err != nil || len(list) != 0 {
		t.Errorf("more was said: %+v, %v", list, err)
	}
	// The stretch that the answer began gets a transcript of its own, with
	// what is new alone.
	host.send(frame.Frame{T: frame.TSay, ID: "h", Text: "well then"})
	host.ack("h")
	host.send(frame.Frame{T: frame.TLeave})
	second := w.mails("kim@far.example", 2)[1]
	if strings.Contains(second.Text, "mended") || !strings.Contains(second.Text, "By all means!") ||
		!strings.Contains(second.Text, "well then") {
		t.Errorf("the second transcript:\n%s", second.Text)
	}
	if n := len(w.mail.all()); n != 2 {
		t.Errorf("%d mails", n)
	}
}

// What a relay that has ended left to be sent goes out after the silence,
// once, whichever relay is left.
func TestTranscriptSurvivesItsRelay(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, func(o *Options) { o.Files, o.Replies, o.Silence = "", "mall.example", 3*time.Second })
	home, other := all[0], all[1]
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TTranscript, On: true})
	kim.typ(frame.TTranscript)
	kim.send(frame.Frame{T: frame.TSay, ID: "1", Text: "remember this"})
	kim.ack("1")
	if err := home.relay.Close(); err != nil {
		t.Fatal(err)
	}
	m := other.mails("kim@far.example", 1)[0]
	if !strings.Contains(m.Text, "remember this") || len(home.mail.all()) != 0 {
		t.Errorf("transcript %+v", m)
	}
	// Its reply address is good at this relay too.
	if _, err := other.relay.ReplyAddress(t.Context(), m.ReplyTo); err != nil {
		t.Error(err)
	}
}
