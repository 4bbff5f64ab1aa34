// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// far is the other servers: what each address answers, and what it got.
type far struct {
	mu      sync.Mutex
	answers map[string]Answer // by address; none: 250
	got     []string          // "address content", in order
	tries   map[string][]time.Time
	open    map[string]int // lanes of a domain
	most    int            // at once
	took    time.Duration  // for a mail
	notices []Notice
	refuse  error // of notices
}

func newFar() *far {
	return &far{answers: map[string]Answer{}, tries: map[string][]time.Time{}, open: map[string]int{}}
}

type farLane struct {
	*far
	domain string
}

func (f *far) lane(domain string) Lane {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[domain]++
	f.most = max(f.most, f.open[domain])
	return farLane{f, domain}
}

func (l farLane) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[l.domain]--
}

func (l farLane) Send(_ context.Context, _ *Mail, to []Recipient, content *os.File) (answers []Answer) {
	text, err := io.ReadAll(content)
	if err != nil {
		panic(err)
	}
	time.Sleep(l.took)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range to {
		l.tries[r.To] = append(l.tries[r.To], time.Now())
		a, ok := l.answers[r.To]
		if !ok {
			a = Answer{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "Ok: queued as 4F1", Server: "mx." + l.domain}
			l.got = append(l.got, r.To+" "+string(text))
		}
		answers = append(answers, a)
	}
	return answers
}

func (f *far) notify(_ context.Context, n Notice) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.notices = append(f.notices, n)
	return nil
}

// pass lets time pass, and what is due then be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (f *far) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notices = nil
}

func (f *far) refuseNotices(with error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = with
}

func (f *far) set(address string, a Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[address] = a
}

func (f *far) clear(address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.answers, address)
}

func (f *far) tried(address string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tries[address])
}

func (f *far) addresses() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.tries)
}

func (f *far) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

func (f *far) told() []Notice {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.notices)
}

var (
	greylisted = Answer{Code: 451, Enhanced: [3]int{4, 7, 1}, Text: "Greylisted", Server: "mx.far.example"}
	never      = Answer{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "No such user", Server: "mx.far.example",
		Recipient: true}
)

func options(t *testing.T, f *far) Options {
	return Options{Folder: t.TempDir(), Host: "mx.mall.example", Domain: "mall.example", Lane: f.lane, Notify: f.notify,
		HardBounces: DefaultHardBounces}
}

func open(t *testing.T, o Options) *Queue {
	t.Helper()
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

const content = "From: kim@mall.example\r\nSubject: Boots\r\n\r\nHello\r\n"

func add(t *testing.T, q *Queue, id string, to ...string) {
	t.Helper()
	m := Mail{ID: id, From: "kim@mall.example", MessageID: "<1@mall.example>"}
	for _, a := range to {
		m.Recipients = append(m.Recipients, Recipient{To: a})
	}
	addMail(t, q, m)
}

func addMail(t *testing.T, q *Queue, m Mail) {
	t.Helper()
	a, err := q.Add(m, strings.NewReader(content), false)
	if err == nil {
		err = a.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantFiles says how many mails the folder holds.
func wantFiles(t *testing.T, dir string, want int) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.*"))
	if len(files) != 2*want {
		t.Errorf("the folder has %v, want %d mails", files, want)
	}
}

// TestSchedule: a mail that is deferred is tried again ever more slowly, the sender is told
// after four hours and after five days, and then it is gone.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		o := options(t, f)
		q := open(t, o)
		const lee, ann = "lee@far.example", "ann@far.example"
		f.set(lee, greylisted)
		begin := time.Now()
		add(t, q, "a", lee, ann)
		pass(4*time.Hour + time.Second)
		var after []time.Duration
		for _, at := range f.tried(lee) {
			after = append(after, at.Sub(begin).Round(time.Minute))
		}
		m := time.Minute
		if want := []time.Duration{0, 5 * m, 15 * m, 35 * m, 75 * m, 155 * m, 240 * m}; !slices.Equal(after, want) {
			t.Errorf("tried after %v, want %v", after, want)
		}
		if len(f.tried(ann)) != 1 {
			t.Errorf("a recipient who has the mail was tried %d times", len(f.tried(ann)))
		}
		if len(f.told()) != 1 || f.told()[0].To != "kim@mall.example" {
			t.Fatalf("after four hours the notices are %v", f.told())
		}
		text := string(f.told()[0].Content)
		for _, want := range []string{"Subject: Your mail is delayed", "Auto-Submitted: auto-replied",
			"multipart/report; report-type=delivery-status", "Final-Recipient: rfc822; " + lee, "Action: delayed",
			"Status: 4.7.1", "Will-Retry-Until: ", "Remote-MTA: dns; mx.far.example", "Subject: Boots",
			"Diagnostic-Code: smtp; 451 4.7.1 Greylisted"} {
			if !strings.Contains(text, want) {
				t.Errorf("the notice has no %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, "Hello") || strings.Contains(text, ann) {
			t.Errorf("the notice says too much:\n%s", text)
		}
		pass(5 * 24 * time.Hour)
		if n := len(f.tried(lee)); n < 40 || n > 80 {
			t.Errorf("%d tries in five days", n)
		}
		last := f.tried(lee)[len(f.tried(lee))-1].Sub(begin)
		if last.Round(time.Minute) != DefaultLife {
			t.Errorf("the last try was after %v", last)
		}
		if len(f.told()) != 2 || !strings.Contains(string(f.told()[1].Content), "Action: failed") ||
			!strings.Contains(string(f.told()[1].Content), "Status: 5.4.7") {
			t.Errorf("after five days the notices are %v", f.told())
		}
		wantFiles(t, o.Folder, 0)
	})
}

// TestNotify: NOTIFY of RFC 3461 decides who is told; a report is never answered.
func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		q := open(t, options(t, f))
		f.set("no@far.example", never)
		send := func(from string, notify ...string) (n int) {
			f.forget()
			addMail(t, q, Mail{ID: "n", From: from, EnvelopeID: "E1", Recipients: []Recipient{{To: "no@far.example",
				Original: "boots@mall.example", ORCPT: "rfc822;b@x", Notify: notify}}})
			pass(time.Second)
			return len(f.told())
		}
		for want, notify := range [][]string{0: {"NEVER"}, 1: nil} {
			if n := send("kim@mall.example", notify...); n != want {
				t.Errorf("NOTIFY=%v: %d reports", notify, n)
			}
		}
		if n := send("kim@mall.example", "SUCCESS", "DELAY"); n != 0 {
			t.Errorf("NOTIFY=SUCCESS,DELAY: %d reports of a failure", n)
		}
		if n := send("", "FAILURE"); n != 0 {
			t.Errorf("a report was answered %d times", n)
		}
		if n := send("kim@mall.example", "FAILURE"); n != 1 {
			t.Fatalf("NOTIFY=FAILURE: %d reports", n)
		}
		text := string(f.told()[0].Content)
		for _, want := range []string{"Original-Envelope-Id: E1", "Original-Recipient: rfc822;b@x",
			"Final-Recipient: rfc822; boots@mall.example"} { // not what the alias leads to
			if !strings.Contains(text, want) {
				t.Errorf("the report has no %q:\n%s", want, text)
			}
		}
		relayed := Answer{Code: 250, Text: "Ok", Relayed: true}
		f.set("ok@far.example", relayed)
		f.forget()
		addMail(t, q, Mail{ID: "s", From: "kim@mall.example", Recipients: []Recipient{
			{To: "ok@far.example", Notify: []string{"SUCCESS"}}}})
		pass(time.Second)
		if len(f.told()) != 1 || !strings.Contains(string(f.told()[0].Content), "Action: relayed") {
			t.Errorf("NOTIFY=SUCCESS: %v", f.told())
		}
	})
}

// TestReportLater: a report whose mailbox is full is delivered later, under the same ID;
// one that never can be is dropped.
func TestReportLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		o := options(t, f)
		q := open(t, o)
		f.set("no@far.example", never)
		f.refuseNotices(errors.New("the mailbox is full"))
		add(t, q, "a", "no@far.example")
		pass(time.Second)
		wantFiles(t, o.Folder, 1)
		f.refuseNotices(nil)
		pass(10 * time.Minute)
		if len(f.told()) != 1 || len(f.tried("no@far.example")) != 1 {
			t.Errorf("%d reports, %d tries", len(f.told()), len(f.tried("no@far.example")))
		}
		wantFiles(t, o.Folder, 0)
		f.refuseNotices(fmt.Errorf("%w: no such user", ErrNoNotice))
		add(t, q, "b", "no@far.example")
		pass(time.Second)
		wantFiles(t, o.Folder, 0)
	})
}

// TestLimits: one domain gets its connections and its rate, and does not keep others waiting.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		f.took = 20 * time.Second
		o := options(t, f)
		o.Concurrency, o.Rate, o.Parallel = 2, 60, 4
		o.Limits = map[string]Limit{"slow.example": {Concurrency: 1, Rate: 2}}
		q := open(t, o)
		begin := time.Now()
		for i := range 20 {
			add(t, q, fmt.Sprint("f", i), fmt.Sprintf("u%d@fast.example", i))
		}
		for i := range 3 {
			add(t, q, fmt.Sprint("s", i), fmt.Sprintf("u%d@slow.example", i))
		}
		add(t, q, "o", "u@other.example")
		pass(21 * time.Second)
		if len(f.tried("u@other.example")) != 1 {
			t.Error("a domain waits for another")
		}
		pass(10 * time.Minute)
		if f.most != 2 {
			t.Errorf("%d connections to one domain at once, want 2", f.most)
		}
		if len(f.taken()) != 24 {
			t.Errorf("%d mails arrived of 24", len(f.taken()))
		}
		if at := f.tried("u2@slow.example")[0].Sub(begin); at < time.Minute {
			t.Errorf("the third mail of 2 a minute left after %v", at)
		}
	})
}

// TestUnreached: what is due for a domain without a server shares one try.
func TestUnreached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		q := open(t, options(t, f))
		for i := range 3 {
			a := fmt.Sprintf("u%d@gone.example", i)
			f.set(a, Answer{Code: 451, Text: "connection refused", Unreached: true})
			add(t, q, fmt.Sprint(i), a)
			pass(time.Second)
		}
		synctest.Wait()
		if n := f.addresses(); n != 1 {
			t.Errorf("%d mails asked a server that is away", n)
		}
		for i := range 3 {
			f.clear(fmt.Sprintf("u%d@gone.example", i))
		}
		if n, err := q.Do(Retry, "gone.example"); n != 3 || err != nil {
			t.Fatalf("retry: %d, %v", n, err)
		}
		pass(time.Second)
		if len(f.taken()) != 3 {
			t.Errorf("after the command %d mails arrived of 3", len(f.taken()))
		}
	})
}

// TestCommands: hold, release, drop and show, also over a restart.
func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar()
		o := options(t, f)
		q := open(t, o)
		f.set("a@far.example", greylisted)
		f.set("b@other.example", greylisted)
		add(t, q, "one", "a@far.example", "b@other.example")
		add(t, q, "two", "a@far.example")
		add(t, q, "two", "a@far.example") // the ID again
		pass(time.Second)
		if list := q.List("far.example"); len(list) != 3 || list[2].ID != "two.2" {
			t.Fatalf("the list is %v", list)
		}
		if n, err := q.Do(Hold, "two"); n != 1 || err != nil {
			t.Fatalf("hold: %d, %v", n, err)
		}
		if _, err := q.Do(Retry, "two"); !errors.Is(err, ErrNoMail) {
			t.Errorf("retrying a held mail: %v", err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		f.clear("a@far.example")
		q = open(t, o)
		pass(time.Hour)
		if len(f.taken()) != 2 {
			t.Errorf("%v arrived, want two mails: one is held", f.taken())
		}
		m, header, err := q.Show("two")
		if err != nil || !m.Held || !strings.Contains(header, "Subject: Boots") || strings.Contains(header, "Hello") {
			t.Errorf("show: %v, %q, %v", m, header, err)
		}
		if n, err := q.Do(Release, All); n != 1 || err != nil {
			t.Fatalf("release: %d, %v", n, err)
		}
		pass(time.Second)
		if len(f.taken()) != 3 {
			t.Errorf("a released mail was not sent: %v", f.taken())
		}
		if n, err := q.Do(Drop, "other.example"); n != 1 || err != nil {
			t.Fatalf("drop: %d, %v", n, err)
		}
		if _, err := q.Do(Drop, "other.example"); !errors.Is(err, ErrNoMail) {
			t.Errorf("dropping nothing: %v", err)
		}
		if _, _, err := q.Show("one"); !errors.Is(err, ErrNoMail) {
			t.Errorf("showing a dropped mail: %v", err)
		}
		wantFiles(t, o.Folder, 0)
		if len(f.told()) != 0 {
			t.Errorf("a dropped mail was reported: %v", f.told())
		}
	})
}

// TestSuppress: an address that refuses three mails in a row is suppressed, over a restart,
// until it expires or is taken off; a mail that arrives, or a spam filter's refusal, is none.
func TestSuppress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const no = "No@far.example"
		f := newFar()
		o := options(t, f)
		q := open(t, o)
		send := func(a Answer) {
			f.set(no, a)
			add(t, q, "m", no)
			pass(time.Second)
		}
		spam := Answer{Code: 550, Enhanced: [3]int{5, 7, 1}, Text: "Spam", Recipient: true}
		blocked := Answer{Code: 550, Text: "Your server is listed"} // after DATA
		for _, a := range []Answer{never, never, {Code: 250, Text: "Ok"}, never, never, spam, blocked} {
			send(a)
			if err := q.Check(no); err != nil {
				t.Fatalf("suppressed too early: %v", err)
			}
		}
		send(never)
		var s *SuppressedError
		if err := q.Check("no@FAR.example"); !errors.As(err, &s) || s.Bounces != 3 {
			t.Fatalf("after three refusals in a row: %v", err)
		}
		_ = q.Close()
		q = open(t, o)
		if err := q.Check(no); err == nil || len(q.Suppressed()) != 1 {
			t.Error("a restart forgets a suppressed address")
		}
		if err := q.Unsuppress(no); err != nil || q.Check(no) != nil {
			t.Errorf("taking it off: %v", err)
		}
		if err := q.Unsuppress(no); !errors.Is(err, ErrNotSuppressed) {
			t.Errorf("taking it off twice: %v", err)
		}
		for range 3 {
			send(never)
		}
		pass(91 * 24 * time.Hour)
		if q.Check(no) != nil || len(q.Suppressed()) != 0 {
			t.Error("it does not expire")
		}
	})
}

// TestUnfinished: what a process left that was killed is read as far as it was acknowledged.
func TestUnfinished(t *testing.T) {
	f := newFar()
	o := options(t, f)
	o.Lane = nil
	for name, text := range map[string]string{
		"new.mail":   content, // before its note: the client was told nothing
		".x.json.12": "{",     // a note that was being written
		"bad.json":   "{", "bad.mail": content,
		"old.meta": `{"MsgMeta":{"ID":"old","OriginalRcpts":{"lee@far.example":"l@x"}},"From":"kim@mall.example",` +
			`"To":["lee@far.example"],"TriesCount":{"lee@far.example":2},"FirstAttempt":"2026-11-01T00:00:00Z"}`,
		"old.header": "Subject: x\r\n\r\n", "old.body": "Hello\r\n",
	} {
		if err := os.WriteFile(filepath.Join(o.Folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	q := open(t, o)
	list := q.List("")
	if len(list) != 1 || list[0].ID != "old" || list[0].Recipients[0].Tries != 2 ||
		list[0].Recipients[0].Original != "l@x" {
		t.Errorf("the list is %v", list)
	}
	text, err := os.ReadFile(filepath.Join(o.Folder, "old.mail"))
	if string(text) != "Subject: x\r\n\r\nHello\r\n" {
		t.Errorf("maddy's mail became %q, %v", text, err)
	}
	for _, gone := range []string{"new.mail", ".x.json.12", "old.meta", "old.body"} {
		if _, err := os.Stat(filepath.Join(o.Folder, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if _, err := os.Stat(filepath.Join(o.Folder, "bad.mail")); err != nil {
		t.Error("a mail whose note cannot be read was removed")
	}
}
