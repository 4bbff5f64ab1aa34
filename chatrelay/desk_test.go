// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// looked waits for a frame that says who looks after a room.
func (c *client) looked(room, assignee string) {
	c.t.Helper()
	c.listed("that "+assignee+" has it", room, func(c chat.Summary) bool {
		return len(c.Teams) == 1 && c.Teams[0].Assignee == assignee
	})
}

// Whoever answers looks after the room; all desks learn of it at once, and of
// what becomes of it, also at other relays. What is noted comes to the team alone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, withSales)
	home, other := all[0], all[1]
	roomID, token := home.salesMail()
	kim := home.come(home.chat(token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	one, two := home.deviceOf(mina, "one"), other.deviceOf(joon, "two")
	kim.send(frame.Frame{T: frame.TAttempt})
	two.send(frame.Frame{T: frame.TAnswer, AttemptID: two.typ(frame.TRing).Ring.Attempt})
	one.looked(roomID, joon)
	two.looked(roomID, joon)
	if err := home.relay.Assign(t.Context(), mina, roomID, "", mina, new(joon)); err != nil {
		t.Fatal(err)
	}
	one.looked(roomID, mina)
	two.looked(roomID, mina)
	if err := home.relay.Assign(t.Context(), mina, roomID, sales, "", nil); err != nil {
		t.Fatal(err)
	}
	two.looked(roomID, "")
	e, err := other.relay.Enter(t.Context(), signedIn(joon, ""), roomID)
	if err != nil {
		t.Fatal(err)
	}
	member := other.come(e, frame.Frame{})
	member.send(frame.Frame{T: frame.TSay, ID: "a", Text: "good day"})
	one.looked(roomID, joon)
	if got := other.relay.Colleagues(t.Context(), mina); len(got) != 1 || got[0].Group != sales ||
		got[0].Members[0] != (Colleague{mina, frame.Available, false}) || got[0].Members[1].Login != joon {
		t.Errorf("colleagues %+v", got)
	}

	n, err := home.relay.AddTeamNote(t.Context(), mina, roomID, chat.TeamNote{ID: "1", Text: "secret rebate\u202e"})
	if err != nil || n.Text != "secret rebate" {
		t.Fatalf("note %+v, %v", n, err)
	}
	two.listed("a note", roomID, func(c chat.Summary) bool { return c.Notes == 1 })
	if list, err := other.relay.TeamNotes(t.Context(), joon, roomID); err != nil || len(list) != 1 {
		t.Errorf("notes %+v, %v", list, err)
	}
	kim.text("good day")
	kim.settle()
	again := home.come(home.chat(token, 1), frame.Frame{}) // the whole history
	again.text("good day")
	again.settle()
	for _, f := range append(kim.seen, again.seen...) {
		if b := frame.Encode(f); bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("assignee")) {
			t.Errorf("the customer gets %s", b)
		}
	}
	for _, m := range home.mail.all() {
		if strings.Contains(m.Text+m.HTML+m.Subject, "secret") {
			t.Errorf("mail %+v", m)
		}
	}
}

// The figures are of whole days of the login's time zone.
func TestFigures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Alarmed)
	w.set(func(s *chat.Settings) { s.Zone = "Pacific/Kiritimati" }) // 14 hours ahead
	zone, err := time.LoadLocation("Pacific/Kiritimati")
	if err != nil {
		t.Fatal(err)
	}
	today := time.Now().In(zone).Format(time.DateOnly)
	f, err := w.relay.Figures(t.Context(), w.host, 3, "")
	if err != nil || len(f.Days) != 3 || f.Days[2] != (chat.Figure{Name: today, Asked: 1, Missed: 1}) {
		t.Errorf("figures %+v, %v", f, err)
	}
	if f, err := w.relay.Figures(t.Context(), w.host, 1, "2026-02-01"); err != nil || len(f.Days) != 1 ||
		f.Days[0].Name != "2026-02-01" {
		t.Errorf("figures %+v, %v", f, err)
	}
	for until, days := range map[string]int{"": 0, "yesterday": 7, "2026-02-30": 7, "2026-02-01": 101} {
		if _, err := w.relay.Figures(t.Context(), w.host, days, until); !errors.Is(err, chat.ErrQuery) {
			t.Errorf("%d days until %q: %v", days, until, err)
		}
	}
}

// An answer to a message comes with where that is, but not when whoever answers may
// not read that.
func TestQuoteReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	host := w.in(w.desk(), frame.Frame{})
	host.send(frame.Frame{T: frame.TSay, ID: "a", Text: "red or blue?"})
	asked := host.typ(frame.TAck).Offset
	kim := w.in(w.chat(w.token, 1), frame.Frame{}) // unproven: what was said before is not theirs to read
	kim.typ(frame.TWelcome)
	host.send(frame.Frame{T: frame.TSay, ID: "b", Text: "or green?"})
	later := kim.text("or green?").Msg.Offset
	for text, ref := range map[string]int64{"blue": later, "neither": asked, "nothing": 99} {
		kim.send(frame.Frame{T: frame.TSay, ID: text, Text: text, Ref: ref})
		if got := host.text(text).Msg.Ref; got != ref && text == "blue" || got != 0 && text != "blue" {
			t.Errorf("%s answers %d", text, got)
		}
	}
}

// stamping is a mail system that opens the room of each mail, as the stamp does.
type stamping struct {
	w     *world
	mails []chat.Letter
	err   error
	plain bool // mails get no room
}

func (s *stamping) submit(ctx context.Context, l chat.Letter) error {
	if s.err != nil {
		return s.err
	}
	s.mails = append(s.mails, l)
	if s.plain {
		return nil
	}
	_, err := s.w.rooms.OpenFromMail(ctx, chat.Mail{MessageID: l.MessageID,
		Sender: chat.Person{Login: l.Login, Addr: l.From.Addr, Name: l.From.Name}, Recipients: []chat.Person{l.To},
		Subject: l.Subject, Date: time.Now()})
	return err
}

func TestWriteFirst(t *testing.T) {
	t.Parallel()
	mails := &stamping{}
	w := newWorld(t, func(o *Options) {
		withSales(o)
		o.Submit = mails.submit
	})
	mails.w = w
	ctx, one := t.Context(), w.deviceOf(mina, "one")
	letter := Writing{ID: "1", Group: sales, To: "Kim <Kim@far.example>", Subject: "Your order\n",
		Text: "It is here.\u202e", From: netip.MustParseAddr("192.0.2.1")}
	room, err := w.relay.Write(ctx, mina, letter)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.relay.Write(ctx, mina, letter)
	if err != nil || again != room || len(mails.mails) != 1 {
		t.Errorf("again: %s, %v, mails %+v", again, err, mails.mails)
	}
	l := mails.mails[0]
	if l.From.Addr != sales || l.To.Addr != "Kim@far.example" || l.To.Name != "Kim" || l.Subject != "Your order" ||
		l.Text != "It is here." || l.Login != mina || l.IP != letter.From ||
		!strings.HasSuffix(l.MessageID, "@mall.example") {
		t.Errorf("letter %+v", l)
	}
	c := one.listed("the conversation", room, func(c chat.Summary) bool { return c.Last.Kind == chat.KindText })
	if c.Last.Text != "It is here." || !c.Talked || c.Missed != nil || len(c.Teams) != 1 || c.Teams[0].Assignee != mina {
		t.Errorf("summary %+v", c)
	}
	if one.settle().had(frame.TRing) {
		t.Error("it rings")
	}

	for name, wrong := range map[string]func(*Writing){
		"no address": func(w *Writing) { w.To = "Kim" }, "two": func(w *Writing) { w.To = "a@b.example, c@d.example" },
		"a header":    func(w *Writing) { w.To = "kim@far.example\r\nBcc: x@y.example" },
		"oneself":     func(w *Writing) { w.To = sales },
		"no subject":  func(w *Writing) { w.Subject = " \n" },
		"no text":     func(w *Writing) { w.Text = "\u202e" },
		"a long text": func(w *Writing) { w.Text = strings.Repeat("x", frame.MaxText+1) },
		"no id":       func(w *Writing) { w.ID = "" },
	} {
		l := letter
		if wrong(&l); l.ID != "" {
			l.ID = name
		}
		if _, err := w.relay.Write(ctx, mina, l); !errors.Is(err, ErrWriting) {
			t.Errorf("%s: %v", name, err)
		}
	}
	letter.ID, letter.Group = "2", "press@mall.example"
	if _, err := w.relay.Write(ctx, mina, letter); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("another's group: %v", err)
	}
	letter.Group, mails.plain = "", true
	if _, err := w.relay.Write(ctx, mina, letter); !errors.Is(err, ErrNoRoom) {
		t.Errorf("no room: %v", err)
	}
	letter.ID, mails.err = "3", &chat.RefusedError{Text: "no such user"}
	if _, err := w.relay.Write(ctx, mina, letter); !errors.As(err, new(*chat.RefusedError)) {
		t.Errorf("refused: %v", err)
	}
	w.set(func(s *chat.Settings) { s.Stamp = false })
	if _, err := w.relay.Write(ctx, w.host, letter); !errors.Is(err, chat.ErrUnwanted) {
		t.Errorf("no links: %v", err)
	}
	if _, err := newWorld(t, nil).relay.Write(ctx, mina, letter); !errors.Is(err, ErrNoWriting) {
		t.Errorf("no mail system: %v", err)
	}
}

// TestTestMail: somebody mails themselves, in their own name and language.
func TestTestMail(t *testing.T) {
	t.Parallel()
	mails := &stamping{}
	w := newWorld(t, func(o *Options) { o.Submit = mails.submit })
	mails.w, mails.plain = w, true
	ctx, ip := t.Context(), netip.MustParseAddr("192.0.2.1")
	if err := w.relay.TestMail(ctx, mina, "en", ip); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rooms.ChangeSettings(ctx, mina, func(s *chat.Settings) error {
		s.Lang, s.Name = "ko", "Mina  Kim\n"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.relay.TestMail(ctx, mina, "en", ip); err != nil {
		t.Fatal(err)
	}
	first, second := mails.mails[0], mails.mails[1]
	if first.From != first.To || first.From.Addr != mina || first.Login != mina || first.IP != ip ||
		first.Subject != "Your mail works" || first.MessageID == second.MessageID {
		t.Errorf("the first mail: %+v", first)
	}
	if second.From.Name != "Mina Kim" || second.Subject != "메일이 잘 작동합니다" {
		t.Errorf("the second mail: %+v", second)
	}
	if err := w.relay.TestMail(ctx, "mina", "en", ip); !errors.Is(err, ErrWriting) {
		t.Errorf("a login that is no address: %v", err)
	}
}

// TestInvite: a member of the group that owns a room invites somebody, who gets a mail
// with a link; nobody else does.
func TestInvite(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	roomID, _ := w.salesMail()
	one := w.deviceOf(mina, "one")
	ctx := t.Context()
	if err := w.relay.Invite(ctx, mina, roomID, "Lee <lee@far.example>"); err != nil {
		t.Fatal(err)
	}
	one.listed("the guest", roomID, func(c chat.Summary) bool { return len(c.Participants) == 3 })
	m := w.mails("lee@far.example", 1)[0]
	_, token, _ := strings.Cut(m.Text, "/c/")
	token, _, _ = strings.Cut(token, "\n")
	i, err := w.rooms.Invite(ctx, token)
	if err != nil || i.Room != roomID || i.Recipient.Name != "Lee" || i.Callee.Login != sales ||
		!strings.Contains(m.Subject, "Offer") {
		t.Errorf("the link %q opens %+v, %v; subject %q", token, i, err, m.Subject)
	}
	lee := w.in(w.chat(token, 2), frame.Frame{})
	lee.typ(frame.TWelcome)
	for to, want := range map[string]error{"Lee": ErrWriting, "a@b.example, c@d.example": ErrWriting, mina: ErrWriting,
		sales: ErrWriting} {
		if err := w.relay.Invite(ctx, mina, roomID, to); !errors.Is(err, want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := w.relay.Invite(ctx, w.host, roomID, "x@far.example"); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("by somebody else: %v", err)
	}
	o, err := w.rooms.OpenFromMail(ctx, chat.Mail{MessageID: "theirs@mall.example",
		Sender: chat.Person{Login: w.host, Addr: w.host}, Recipients: []chat.Person{{Addr: joon}}, Date: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.relay.Invite(ctx, joon, o.Room, "x@far.example"); !errors.Is(err, chat.ErrForbidden) {
		t.Errorf("into somebody else's: %v", err)
	}
}

// TestGroupReplies: the members of a group share saved replies; all their desks learn
// of a change.
func TestGroupReplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withSales)
	ctx, two := t.Context(), w.deviceOf(joon, "two")
	hours := []chat.Canned{{Title: "Hours", Text: "9 to 18"}}
	if err := w.relay.ChangeGroupReplies(ctx, mina, "Sales@mall.example", hours); err != nil {
		t.Fatal(err)
	}
	two.typ(frame.TSettings)
	d, err := w.relay.Settings(ctx, joon)
	if err != nil || len(d.GroupCanned[sales]) != 1 || d.GroupCanned[sales][0] != hours[0] || len(d.Canned) != 0 {
		t.Errorf("settings %+v, %v", d, err)
	}
	if d, err := w.relay.Settings(ctx, w.host); err != nil || len(d.GroupCanned) != 0 {
		t.Errorf("somebody else's: %+v, %v", d.GroupCanned, err)
	}
	for _, group := range []string{sales, w.host} {
		if err := w.relay.ChangeGroupReplies(ctx, w.host, group, nil); !errors.Is(err, chat.ErrUnknown) {
			t.Errorf("by no member of %s: %v", group, err)
		}
	}
	var wrong *chat.SettingError
	if err := w.relay.ChangeGroupReplies(ctx, mina, sales, []chat.Canned{{}}); !errors.As(err, &wrong) {
		t.Errorf("an empty reply: %v", err)
	}
}
