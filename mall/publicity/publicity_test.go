// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/mall/store"
)

// TestSegments: only members who agreed and are not suppressed get a campaign, and
// only those of its segment.
func TestSegments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(8)
		for _, q := range []string{
			"UPDATE members SET publicity = FALSE WHERE id = 'm00000'",
			"UPDATE members SET state = 'erased' WHERE id = 'm00001'",
			"INSERT INTO suppressions (addr_hash, shop, why, at) VALUES ('hash-m00002', '', 'bounced', 0)",
			"INSERT INTO suppressions (addr_hash, shop, why, at) VALUES ('hash-m00003', '" + w.shop.ID +
				"', 'unsubscribed', 0)",
			"INSERT INTO suppressions (addr_hash, shop, why, at) VALUES ('hash-m00004', 'another', 'unsubscribed', 0)",
			"INSERT INTO suppressions (addr_hash, shop, why, at, expires) VALUES ('hash-m00005', '', 'bounced', 0, 1)",
			"INSERT INTO inquiries (shop, id, member, subject, created) VALUES ('" + w.shop.ID +
				"', 'i', 'm00006', 's', 0)",
			"INSERT INTO orders (shop, id, number, member, state, currency, total, created, changed)" +
				" VALUES ('" + w.shop.ID + "', 'o', '1', 'm00007', 'paid', 'KRW', 1, 0, 0)",
			"INSERT INTO goods (shop, id, sku, title, text, state, price, created, changed)" +
				" VALUES ('" + w.shop.ID + "', 'g', 'g', 'Lamp', '', 'shown', 1, 0, 0)",
		} {
			w.exec(q)
		}
		for _, member := range []string{"m00000", "m00005"} { // the first did not agree
			if err := w.s.SetBookmark(context.Background(), member, "g", true); err != nil {
				t.Fatal(err)
			}
		}
		for segment, want := range map[string][]string{
			store.SegmentAll:        {"m00004", "m00005", "m00006", "m00007"},
			store.SegmentAsked:      {"m00006"},
			store.SegmentBought:     {"m00007"},
			store.SegmentBookmarked: {"m00005"},
		} {
			n, err := w.s.CountSegment(context.Background(), w.shop.ID, segment)
			if err != nil || n != len(want) {
				t.Errorf("%s: %d members are counted, %v", segment, n, err)
			}
			w.sent = nil
			c := w.campaign(store.Campaign{Segment: segment})
			w.rounds(w.start())
			var got []string
			for _, l := range w.sent {
				got = append(got, strings.TrimSuffix(l.To.Addr, "@mall.example"))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s went to %v, want %v", segment, got, want)
			}
			if state, _ := w.state(c); state != store.CampaignDone {
				t.Errorf("%s is %s", segment, state)
			}
		}
	})
}

// TestKeyset: more members than a transaction chooses.
func TestKeyset(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(2*chooseBatch + 1)
		c := w.campaign(store.Campaign{})
		w.rounds(w.start())
		if f := w.figures(c); f.Queued != 2*chooseBatch+1 || f.All() != f.Queued {
			t.Errorf("figures %+v", f)
		}
		to := make(map[string]bool)
		for _, l := range w.sent {
			to[l.To.Addr] = true
		}
		if len(to) != len(w.sent) {
			t.Errorf("%d mails to %d members", len(w.sent), len(to))
		}
	})
}

// TestPace: by the hour, by who is there, by the night.
func TestPace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(400)
		w.campaign(store.Campaign{PerHour: 60})
		p := w.start()
		pass := func(d time.Duration) {
			for range int(d / time.Minute) {
				w.now = w.now.Add(time.Minute)
				w.rounds(p)
			}
		}
		if w.rounds(p); len(w.sent) != 1 {
			t.Errorf("%d mails at once", len(w.sent))
		}
		if pass(2 * time.Hour); len(w.sent) < 119 || len(w.sent) > 121 {
			t.Errorf("%d mails in two hours", len(w.sent))
		}
		w.exec("UPDATE campaigns SET by_staff = TRUE, per_hour = 0")
		before := len(w.sent)
		if pass(time.Hour); len(w.sent) != before {
			t.Errorf("%d mails while nobody was there", len(w.sent)-before)
		}
		w.here = 2
		if pass(time.Hour); len(w.sent)-before < 59 || len(w.sent)-before > 61 {
			t.Errorf("%d mails in an hour with two who answer", len(w.sent)-before)
		}
		w.exec("UPDATE campaigns SET by_staff = FALSE")
		before, w.now = len(w.sent), time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC) // 21:00 in Korea
		if pass(10 * time.Hour); len(w.sent) != before {
			t.Errorf("%d mails in the night", len(w.sent)-before)
		}
		w.now = w.now.Add(time.Hour)
		if w.rounds(p); len(w.sent) == before {
			t.Error("no mail in the morning")
		}
	})
}

// TestFailing: a mail that cannot be taken is tried again; a refused one is not;
// many of them stop the campaign.
func TestFailing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(300)
		w.submit = func(l chat.Letter) error {
			switch l.To.Addr {
			case "m00003@mall.example":
				return &chat.RefusedError{Text: "No such user here", Status: "5.1.1"}
			case "m00005@mall.example":
				return &chat.RefusedError{Text: "You may not send that", Status: "5.7.1"}
			case "m00004@mall.example":
				return errors.New("the disk is slow")
			}
			return nil
		}
		c := w.campaign(store.Campaign{})
		p := w.start()
		w.rounds(p)
		w.now = w.now.Add(rest)
		w.rounds(p)
		if f := w.figures(c); f.Queued != 297 || f.Refused != 2 || f.Waiting != 1 {
			t.Errorf("figures %+v", f)
		}
		w.submit = nil
		w.now = w.now.Add(time.Hour)
		w.rounds(p)
		if f := w.figures(c); f.Queued != 298 || f.Waiting != 0 {
			t.Errorf("after the retry: %+v", f)
		}
		w.submit = func(chat.Letter) error { return &chat.RefusedError{Text: "554 blocked"} }
		c = w.campaign(store.Campaign{})
		w.rounds(p)
		if state, why := w.state(c); state != store.CampaignStopped || why != store.WhyFailures {
			t.Errorf("it is %s: %s", state, why)
		}
		// Who is not there has not got it again; who was refused for another reason has.
		if f := w.figures(c); f.Refused != batch || f.All() != 299 {
			t.Errorf("stopped: %+v", f)
		}
	})
}

// copyOf is a copy of the state of a mall: its database and the file of the mark.
func (w *world) copyOf() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: w.t.TempDir(), now: w.now, shop: w.shop}
	w.exec("VACUUM INTO '" + filepath.Join(c.dir, "mall.db") + "'")
	said, err := os.ReadFile(MarkFile(w.dir))
	if err == nil {
		err = os.WriteFile(MarkFile(c.dir), said, 0o600)
	}
	if err == nil {
		c.s, err = store.Open(context.Background(), "sqlite:"+filepath.Join(c.dir, "mall.db"), nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.s.Close() })
	return c
}

// TestRestored: a restored backup sends nothing, whether the database alone was brought
// back or the whole state was copied; a killed server's database does.
func TestRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "mall.db"))
	w.members(500)
	c := w.campaign(store.Campaign{})
	p := w.start()
	p.round(context.Background())
	p.round(context.Background())
	whole := w.copyOf()
	b := w.start() // the same database and the same file
	b.round(context.Background())
	if state, _ := w.state(c); state != store.CampaignSending || len(w.sent) != 300 {
		t.Fatalf("after a start of the same state the campaign is %s, %d mails", state, len(w.sent))
	}
	part := w.copyOf()
	part.dir = w.dir // an older database beside the newer file
	b.round(context.Background())
	for name, old := range map[string]*world{"copied whole": whole, "the database alone": part} {
		old.rounds(old.start())
		if len(old.sent) != 0 {
			t.Errorf("%s: it sent %d mails", name, len(old.sent))
		}
		if state, why := old.state(c); state != store.CampaignPaused || why != store.WhyRestored {
			t.Errorf("%s: the campaign is %s: %s", name, state, why)
		}
		// A new campaign goes out all the same, also after the next start.
		after := old.campaign(store.Campaign{Subject: "After"})
		old.rounds(old.start())
		if f := old.figures(after); f.Queued != 500 {
			t.Errorf("%s: a new campaign: %+v", name, f)
		}
	}
	// On a new machine there is no mark at all.
	if err := os.Remove(MarkFile(whole.dir)); err != nil {
		t.Fatal(err)
	}
	c = whole.campaign(store.Campaign{Subject: "Elsewhere"})
	whole.rounds(whole.start())
	if state, why := whole.state(c); state != store.CampaignPaused || why != store.WhyRestored {
		t.Errorf("on a new machine: %s %s", state, why)
	}
}

// TestHosts: one of two hosts sends a campaign, and the other takes it over when the
// first is dead; what was cut off there goes out under the same Message-ID.
func TestHosts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(250)
		other := &world{t: t, s: w.s, dir: t.TempDir(), now: w.now, shop: w.shop}
		second := other.start()
		second.round(context.Background()) // it is there before anything is sent
		c := w.campaign(store.Campaign{})
		first := w.start()
		first.round(context.Background())
		other.rounds(second)
		if len(w.sent) != batch || len(other.sent) != 0 {
			t.Fatalf("the first sent %d mails, the second %d", len(w.sent), len(other.sent))
		}
		// The first dies while it hands its second batch over.
		dying, die := context.WithCancel(context.Background())
		w.submit = func(chat.Letter) error {
			die()
			return context.Canceled
		}
		first.round(dying)
		other.now = w.now.Add(lease - time.Second)
		if other.rounds(second); len(other.sent) != 0 {
			t.Errorf("within the lease the second sent %d mails", len(other.sent))
		}
		other.now = w.now.Add(lease)
		other.rounds(second)
		got := make(map[string]string)
		for _, l := range append(w.sent, other.sent...) {
			if got[l.To.Addr] != "" {
				t.Errorf("%s got it twice", l.To.Addr)
			}
			got[l.To.Addr] = l.MessageID
		}
		if state, _ := w.state(c); len(got) != 250 || state != store.CampaignDone {
			t.Errorf("%d members got it, it is %s", len(got), state)
		}
		w.now, w.submit = other.now, nil
		if w.rounds(first); len(w.sent) != batch {
			t.Errorf("the first came back and sent %d mails", len(w.sent))
		}
	})
}

// TestMail: what a member gets, and the link that unsubscribes.
func TestMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "mall.db"))
	w.members(1)
	w.campaign(store.Campaign{Subject: "Lamps", AdMark: true,
		Text: "# Hello\n\nNew *lamps*, [all](https://a.example/x).\n\n" +
			"1. one\n2. two\n\n<script>alert(1)</script>[bad](javascript:alert(1))"})
	w.rounds(w.start())
	l := w.sent[0]
	if l.Subject != "(광고) Lamps" || l.Login != "host@mall.example" || l.From.Addr != "lamps@mall.example" || !l.Once {
		t.Errorf("the letter: %+v", l)
	}
	for _, want := range []string{"Hello\n\nNew lamps, all (https://a.example/x).", "1. one\n2. two", "\n-- \nLamps · 1 Jongno, Seoul",
		"http://mall.localhost/unsubscribe/"} {
		if !strings.Contains(l.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, l.Text)
		}
	}
	if strings.Contains(l.HTML, "alert(1)") || !strings.Contains(l.HTML, `href="https://a.example/x"`) ||
		!strings.Contains(l.HTML, "1 Jongno, Seoul") {
		t.Errorf("the HTML:\n%s", l.HTML)
	}
	fields := map[string]string{}
	for _, f := range l.Header {
		fields[f[0]] = f[1]
	}
	if fields["List-Unsubscribe-Post"] != "List-Unsubscribe=One-Click" {
		t.Errorf("fields %v", fields)
	}
	p := w.start()
	token := strings.TrimSuffix(strings.TrimPrefix(fields["List-Unsubscribe"], "<http://mall.localhost/unsubscribe/"),
		">")
	u, err := p.ReadUnsubscription(token)
	if err != nil || u.Member != "m00000" || u.Shop != w.shop.ID {
		t.Errorf("the link says %+v, %v", u, err)
	}
	if _, err := p.ReadUnsubscription(token + "A"); !errors.Is(err, ErrLink) {
		t.Errorf("a link that was changed: %v", err)
	}
	if id, ok := p.MailOf(l.ReturnPath); !ok || id != l.MessageID {
		t.Errorf("bounces at %s are of %q, want %q", l.ReturnPath, id, l.MessageID)
	}
}

func dsn(status, diagnostic, id string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: MAILER-DAEMON@far.example
To: x
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; far.example

Final-Recipient: rfc822; m@far.example
Action: failed
Status: %s
Diagnostic-Code: smtp; %s
--b
Content-Type: message/rfc822-headers

Message-ID: <%s>
Subject: New lamps

--b--
`, status, diagnostic, id), "\n", "\r\n")
}

func complaint(id string) string {
	return strings.ReplaceAll(`From: feedback@far.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

Somebody did not want it.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: far/1
Version: 1

--b
Content-Type: message/rfc822

Message-ID: <`+id+`>
Subject: New lamps

Hello
--b--
`, "\n", "\r\n")
}

// TestReturned: bounces and complaints come back to their row and stop further mail;
// soft ones expire.
func TestReturned(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.members(100)
		c := w.campaign(store.Campaign{})
		p := w.start()
		w.rounds(p)
		slices.SortFunc(w.sent, func(a, b chat.Letter) int { return strings.Compare(a.To.Addr, b.To.Addr) })
		hard, soft, angry := w.sent[0], w.sent[1], w.sent[2]
		for _, r := range []struct{ to, mail string }{
			{hard.ReturnPath, dsn("5.1.1", "550 5.1.1 no such user", "unknown@far.example")},
			{"lamps@mall.example", dsn("5.2.2", "552 mailbox full", soft.MessageID)},
			{"feedback@mall.example", complaint(angry.MessageID)},
		} {
			if err := p.Returned(ctx, r.to, strings.NewReader(r.mail)); err != nil {
				t.Errorf("%s: %v", r.to, err)
			}
		}
		if err := p.Returned(ctx, "lamps@mall.example", strings.NewReader(dsn("5.1.1", "no",
			"made-up.talk@mall.example"))); !errors.Is(
			err, store.ErrUnknown) {
			t.Errorf("a report about no mail of ours: %v", err)
		}
		if err := p.Returned(ctx, hard.ReturnPath, strings.NewReader("Subject: on holiday\r\n\r\nx\r\n")); !errors.Is(err, ErrNoReport) {
			t.Errorf("an answer of a machine: %v", err)
		}
		if f := w.figures(c); f.Bounced != 2 || f.Complained != 1 || f.Queued != 97 {
			t.Errorf("figures %+v", f)
		}
		next := func() (n int, to string) {
			w.sent = nil
			w.campaign(store.Campaign{})
			w.rounds(p)
			for _, l := range w.sent {
				to += l.To.Addr + " "
			}
			return len(w.sent), to
		}
		if n, to := next(); n != 97 || strings.Contains(to, "m00000@") || strings.Contains(to, "m00001@") {
			t.Errorf("the next campaign went to %d", n)
		}
		w.exec("UPDATE suppressions SET expires = 1 WHERE expires > 0") // a week later
		if n, to := next(); n != 98 || !strings.Contains(to, soft.To.Addr) {
			t.Errorf("after the soft bounce expired the next went to %d", n)
		}
	})
}

// TestManyBounces stop the campaign that they are of.
func TestManyBounces(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.members(300)
		c := w.campaign(store.Campaign{PerHour: 6000})
		p := w.start()
		w.now = w.now.Add(time.Minute)
		p.round(context.Background())
		w.now = w.now.Add(time.Minute)
		p.round(context.Background())
		for _, l := range w.sent[:min(len(w.sent), 15)] {
			if err := p.Returned(context.Background(), l.ReturnPath,
				strings.NewReader(dsn("5.1.1", "no", "x"))); err != nil {
				t.Fatal(err)
			}
		}
		if state, why := w.state(c); state != store.CampaignStopped || why != store.WhyFailures {
			t.Errorf("%d sent, 15 back: it is %s %s", len(w.sent), state, why)
		}
	})
}

// TestUnsubscribe: once is enough, of one shop or of all, with proof.
func TestUnsubscribe(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.members(3)
		c := w.campaign(store.Campaign{})
		p := w.start()
		w.rounds(p)
		for _, proof := range []store.Consent{
			{Member: "m00000", Shop: w.shop.ID, Addr: "192.0.2.1", Wording: "Unsubscribe"},
			{Member: "m00000", Shop: w.shop.ID, Addr: "192.0.2.1", Wording: "Unsubscribe"},
			{Member: "m00001", Addr: "192.0.2.2", Wording: "From all"},
		} {
			if err := w.s.Unsubscribe(ctx, w.shop.ID, c.ID, proof); err != nil {
				t.Fatal(err)
			}
		}
		if f := w.figures(c); f.Unsubscribed != 2 || f.Queued != 1 {
			t.Errorf("figures %+v", f)
		}
		w.sent = nil
		w.campaign(store.Campaign{})
		if w.rounds(p); len(w.sent) != 1 || w.sent[0].To.Addr != "m00002@mall.example" {
			t.Errorf("the next went to %v", w.sent)
		}
		proofs, err := w.s.Consents(ctx, "m00000")
		if err != nil || len(proofs) != 1 || proofs[0].Given || proofs[0].Addr != "192.0.2.1" ||
			proofs[0].Shop != w.shop.ID {
			t.Errorf("proofs %+v, %v", proofs, err)
		}
		err = w.s.SetConsent(ctx, store.Consent{Member: "m00001", What: store.ConsentPublicity, Given: true,
			Addr: "192.0.2.2", Wording: "Yes"})
		if a, err2 := w.s.MemberByID(ctx, "m00001"); err != nil || err2 != nil || !a.Publicity {
			t.Errorf("agreed again: %+v %v %v", a, err, err2)
		}
		w.sent = nil
		w.campaign(store.Campaign{})
		if w.rounds(p); len(w.sent) != 2 {
			t.Errorf("the next but one went to %d", len(w.sent))
		}
	})
}

// TestTalks: the talk in the room of a campaign's mail is an inquiry of the campaign, once,
// and so are the orders out of it.
func TestTalks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.members(3)
		c := w.campaign(store.Campaign{})
		p := w.start()
		p.opt.Room = func(_ context.Context, from, mail string) (string, error) {
			if from != w.shop.Addr {
				t.Errorf("the mail is from %s", from)
			}
			return "room of " + mail, nil
		}
		w.rounds(p)
		l := w.sent[0]
		var talk store.Inquiry
		for range 2 {
			i, err := w.s.CampaignTalk(ctx, "room of "+l.MessageID)
			if err != nil || i.Campaign != c.ID || i.Shop != w.shop.ID || i.Subject != "New lamps" ||
				i.Mail != l.MessageID ||
				i.Member+"@mall.example" != l.To.Addr || talk.ID != "" && i.ID != talk.ID {
				t.Fatalf("the talk is %+v, %v", i, err)
			}
			talk = i
		}
		if _, err := w.s.CampaignTalk(ctx, "another room"); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("a room of no campaign: %v", err)
		}
		if f := w.figures(c); f.Talks != 1 || f.Answered != 0 {
			t.Errorf("asked: %+v", f)
		}
		if _, err := w.s.Answered(ctx, talk, w.now); err != nil {
			t.Fatal(err)
		}
		for _, o := range []struct{ id, inquiry, state string }{
			{"1", talk.ID, "paid"}, {"2", talk.ID, "offered"}, {"3", talk.ID, "done"}, {"4", "", "paid"},
		} {
			w.exec("INSERT INTO orders (shop, id, number, member, state, currency, total, inquiry, created, changed) VALUES ('" +
				w.shop.ID + "', '" + o.id + "', '" + o.id + "', '" + talk.Member + "', '" + o.state +
				"', 'KRW', 500, '" +
				o.inquiry + "', 0, 0)")
		}
		if f := w.figures(c); f.Talks != 1 || f.Answered != 1 || f.Orders != 2 || f.Revenue != 1000 {
			t.Errorf("answered, two bought: %+v", f)
		}
	})
}
