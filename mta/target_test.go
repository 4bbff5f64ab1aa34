// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/presence"
)

// sink is a next target that keeps what is committed. Like a store on SQLite
// it lets one delivery be between Body and its end.
type sink struct {
	mu     sync.Mutex
	ids    map[string]bool
	mails  []received
	open   int
	aborts int
	fail   func(rcpt string, try int) error // of Body
	tries  map[string]int
}

type received struct {
	rcpt   string
	header textproto.Header
	body   string
}

func (m received) String() string {
	var b bytes.Buffer
	_ = textproto.WriteHeader(&b, m.header)
	return b.String() + m.body
}

type sinkDelivery struct {
	s    *sink
	m    received
	busy bool
}

func (s *sink) Start(_ context.Context, meta *module.MsgMetadata, _ string) (module.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[meta.ID] {
		return nil, errors.New("a message ID twice")
	}
	if s.ids == nil {
		s.ids, s.tries = map[string]bool{}, map[string]int{}
	}
	s.ids[meta.ID] = true
	return &sinkDelivery{s: s}, nil
}

func (d *sinkDelivery) AddRcpt(_ context.Context, rcpt string, _ smtp.RcptOptions) error {
	if strings.HasPrefix(rcpt, "nobody@") {
		return &exterrors.SMTPError{Code: 550, EnhancedCode: exterrors.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	d.m.rcpt += rcpt
	return nil
}

func (d *sinkDelivery) Body(_ context.Context, h textproto.Header, b buffer.Buffer) error {
	if d.s.open++; d.s.open > 1 {
		return errors.New("two bodies at once")
	}
	d.busy = true
	d.s.tries[d.m.rcpt]++
	if d.s.fail != nil {
		if err := d.s.fail(d.m.rcpt, d.s.tries[d.m.rcpt]); err != nil {
			return err
		}
	}
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(body) != b.Len() {
		return fmt.Errorf("%d bytes, Len says %d", len(body), b.Len())
	}
	d.m.header, d.m.body = h, string(body)
	return nil
}

func (d *sinkDelivery) end() {
	if d.busy {
		d.s.open--
	}
	d.busy = false
}

func (d *sinkDelivery) Abort(context.Context) error { d.end(); d.s.aborts++; return nil }
func (d *sinkDelivery) Commit(context.Context) error {
	d.end()
	d.s.mails = append(d.s.mails, d.m)
	return nil
}

type fakePresence struct {
	hang, obeys bool
	end         chan struct{}
	renewed     chan presence.Address
	direct      netip.AddrPort // of the login's computer
}

func (p *fakePresence) Devices(_ context.Context, login string) ([]presence.Device, error) {
	return []presence.Device{{Login: login, Source: presence.Desk}, {Login: login, Direct: p.direct}}, nil
}

func (p *fakePresence) Renew(_ context.Context, a presence.Address) error {
	if p.renewed != nil {
		p.renewed <- a
	}
	return nil
}

func (p *fakePresence) Grant(ctx context.Context, login string) (presence.Grant, error) {
	if p.hang {
		if !p.obeys {
			ctx = context.Background()
		}
		select {
		case <-ctx.Done():
			return presence.Grant{}, ctx.Err()
		case <-p.end:
		}
	}
	return presence.Grant{Login: login, Host: "relay.mall.example", Port: 20017}, nil
}

type fakeRooms struct {
	err        error
	mail       chat.Mail
	lang, text string // of the sender's settings
}

func (r *fakeRooms) OpenFromMail(_ context.Context, m chat.Mail) (chat.Opened, error) {
	r.mail = m
	o := chat.Opened{Room: "r", Sender: m.Sender, Lang: r.lang, StampText: r.text, Invites: map[string]string{}}
	if m.Sender.Addr != m.Sender.Login && !m.Alias {
		o.Sender = chat.Person{Login: m.Sender.Login, Addr: m.Sender.Login}
	}
	for i, p := range m.Recipients {
		o.Invites[p.Addr] = fmt.Sprintf("%022d", i+1)
	}
	return o, r.err
}

const message = "From: =?iso-8859-1?Q?J=FCrgen?= <Host@mall.example>\r\nTo: \"Kim, M\" <customer@mall.example>\r\n" +
	"Cc: Third <third@mall.example>\r\n" +
	"Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\nMessage-ID: <3@x>\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n" +
	"Date: Mon, 02 Jan 2006 15:04:05 -0700\r\nCHmail-Port: 1\r\n"

func target(s *sink) (*Target, *fakeRooms) {
	r := &fakeRooms{}
	return &Target{Log: slog.New(slog.DiscardHandler), Next: s, Presence: &fakePresence{}, Rooms: r,
		Host: "chat.mall.example", Link: "https://chat.mall.example"}, r
}

// send submits as maddy's endpoint does.
func send(t *Target, extra, login, from string, rcpts ...string) error {
	return sendRaw(t, message+extra+"\r\n", login, from, rcpts...)
}

func sendRaw(t *Target, header, login, from string, rcpts ...string) error {
	return sendText(t, header, "Hello\r\n", login, from, rcpts...)
}

func sendText(t *Target, header, text, login, from string, rcpts ...string) error {
	ctx := context.Background()
	h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader(header)))
	if err != nil {
		return err
	}
	meta := &module.MsgMetadata{ID: "id", Conn: &module.ConnState{AuthUser: login, Hostname: "laptop",
		RemoteAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4}}}
	d, err := t.Start(ctx, meta, from)
	if err != nil {
		return err
	}
	for _, r := range rcpts {
		if err := d.AddRcpt(ctx, r, smtp.RcptOptions{}); err != nil {
			_ = d.Abort(ctx)
			return err
		}
	}
	if err = d.Body(ctx, h, buffer.MemoryBuffer{Slice: []byte(text)}); err == nil {
		err = d.Commit(ctx)
	}
	if err != nil {
		_ = d.Abort(ctx)
	}
	return err
}

const login, customer, third = "host@mall.example", "customer@mall.example", "third@mall.example"

func code(err error) int {
	c, _ := exterrors.Fields(err)["smtp_code"].(int)
	return c
}

func TestCopies(t *testing.T) {
	t.Parallel()
	s := &sink{}
	target, rooms := target(s)
	seen := make(chan presence.Address, 1)
	target.Presence = &fakePresence{renewed: seen}
	if err := send(target, "", login, login, customer, third, customer); err != nil {
		t.Fatal(err)
	}
	if len(s.mails) != 2 {
		t.Fatalf("%d copies", len(s.mails))
	}
	for i, rcpt := range []string{customer, third} {
		m := s.mails[i]
		link := fmt.Sprintf("https://chat.mall.example/c/%022d", i+1)
		if m.rcpt != rcpt || m.header.Get("CHmail-Chat") != "<"+link+">" || len(m.header.Values("CHmail-Port")) != 1 ||
			m.header.Get("CHmail-Port") != "20017" || m.header.Get("CHmail-Host") != "relay.mall.example" ||
			m.header.Get("CHmail-Login") != login ||
			!strings.Contains(m.body, link+"\r\n") {
			t.Errorf("%s", m)
		}
	}
	m := rooms.mail
	if m.MessageID != "3@x" || strings.Join(m.References, " ") != "1@x 2@x" ||
		m.Subject != "Grüße" || m.Date.IsZero() ||
		m.Sender != (chat.Person{Login: login, Addr: login, Name: "Jürgen"}) ||
		m.Recipients[0].Name != "Kim, M" || m.Recipients[1].Name != "Third" {
		t.Errorf("%+v", m)
	}
	if a := <-seen; a.Login != login || a.IP.String() != "127.0.0.1" ||
		a.Host != "laptop" || a.Source != presence.Submission {
		t.Errorf("%+v", a)
	}
}

func TestNotStamped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ extra, login, from string }{
		"not submitted": {"", "", login}, "asked": {"CHmail-Stamp: no\r\n", login, login},
		"automatic": {"Auto-Submitted: auto-replied\r\n", login, login}, "null sender": {"", login, ""},
	} {
		s := &sink{}
		target, _ := target(s)
		if err := send(target, c.extra, c.login, c.from, customer); err != nil {
			t.Fatal(err)
		}
		m := s.mails[0]
		if m.body != "Hello\r\n" || m.header.Has("CHmail-Chat") || m.header.Has("CHmail-Stamp") ||
			m.header.Has("CHmail-Port") != (c.login == "") {
			t.Errorf("%s: %s", name, m)
		}
	}
}

// TestOthersName: the link speaks of the login, whatever the From field says.
func TestOthersName(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]string{
		"another's address":  "From: Boss <boss@mall.example>\r\nSender: host@mall.example\r\n",
		"two fields":         "From: Me <host@mall.example>\r\nFrom: Boss <boss@mall.example>\r\n",
		"two addresses":      "From: Boss <host@mall.example>, boss@mall.example\r\n",
		"the other way":      "From: boss@mall.example, Boss <host@mall.example>\r\n",
		"one in a group":     "From: Boss: boss@mall.example;\r\n",
		"none":               "",
		"one without a name": "From: host@mall.example\r\n",
	} {
		s := &sink{}
		target, rooms := target(s)
		if err := sendRaw(target, from+"To: customer@mall.example\r\n\r\n", login, login, customer); err != nil {
			t.Fatal(err)
		}
		if m := s.mails[0]; !strings.Contains(m.body, "\r\nChat now with host@mall.example\r\n") ||
			rooms.mail.Sender.Login != login || m.header.Get("CHmail-Login") != login {
			t.Errorf("%s: %+v\n%s", name, rooms.mail.Sender, m)
		}
	}
}

// TestOlderStamps: what is quoted loses them, whether a new one comes or not.
func TestOlderStamps(t *testing.T) {
	t.Parallel()
	const older = "https://chat.mall.example/c/AAAAAAAAAAAAAAAAAAAAAA"
	for name, c := range map[string]struct {
		header string
		err    error
		stamps int
	}{
		"stamped":   {"", nil, 1},
		"not asked": {"CHmail-Stamp: no\r\n", nil, 0},
		"unwanted":  {"", chat.ErrUnwanted, 0},
		"no rooms":  {"", errors.New("away"), 0},
	} {
		s := &sink{}
		target, rooms := target(s)
		rooms.err = c.err
		err := sendText(target, c.header+"From: host@mall.example\r\nTo: customer@mall.example\r\n\r\n",
			"Yes.\r\n\r\n> Offer\r\n> "+older+"\r\n", login, login, customer)
		if err != nil {
			t.Fatal(err)
		}
		m := s.mails[0]
		if strings.Contains(m.body, older) || strings.Count(m.body, "/c/") != c.stamps ||
			m.header.Has("CHmail-Chat") != (c.stamps > 0) || !strings.Contains(m.body, "> Offer\r\n") {
			t.Errorf("%s: %s", name, m.body)
		}
	}
}

// TestWording: words of the domain, before them the sender's, stand on the link.
func TestWording(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sender, lang, want string }{
		"the domain's": {"", "", "Ask host@mall.example"},
		"in Korean":    {"", "ko", "host@mall.example님에게"},
		"the sender's": {"Talk to {name}", "ko", "Talk to host@mall.example"},
	} {
		s := &sink{}
		target, rooms := target(s)
		target.Wording = Wording{"mall.example": {"": "Ask {name}", "ko": "{name}님에게"}, "*": {"": "Everybody"}}
		rooms.lang, rooms.text = c.lang, c.sender
		err := sendRaw(target, "From: host@mall.example\r\nContent-Type: text/plain; charset=utf-8\r\n"+
			"Content-Transfer-Encoding: 8bit\r\n\r\n", login, login, customer)
		if err != nil || !strings.Contains(s.mails[0].body, "\r\n"+c.want+"\r\n") {
			t.Errorf("%s: %v, %s", name, err, s.mails[0].body)
		}
	}
	if got := (Wording{"*": {"": "Everybody"}}).of("host@mall.example", "en"); got != "Everybody" {
		t.Error(got)
	}
}

// TestAlias: the name beside an alias of the login is the login's.
func TestAlias(t *testing.T) {
	t.Parallel()
	s := &sink{}
	target, rooms := target(s)
	target.Aliases = func(_ context.Context, login, addr string) (bool, error) {
		return login == "host@mall.example" && addr == "orders@mall.example", nil
	}
	for from, want := range map[string]string{"orders": "Orders", "other": login} {
		s.ids, s.mails = nil, nil
		header := "From: Orders <" + from + "@mall.example>\r\nTo: customer@mall.example\r\n\r\n"
		if err := sendRaw(target, header, login, login, customer); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.mails[0].body, "\r\nChat now with "+want+"\r\n") || rooms.mail.Sender.Login != login {
			t.Errorf("%s: %+v\n%s", from, rooms.mail.Sender, s.mails[0])
		}
	}
}

func TestUnknownRecipient(t *testing.T) {
	t.Parallel()
	s := &sink{}
	target, _ := target(s)
	if err := send(target, "", login, login, customer, "nobody@mall.example"); code(err) != 550 || s.aborts != 2 {
		t.Errorf("%v, %d aborts", err, s.aborts)
	}
}

func TestRoomsDown(t *testing.T) {
	t.Parallel()
	s := &sink{}
	target, rooms := target(s)
	rooms.err = errors.New("no database")
	if err := send(target, "", login, login, customer); err != nil || s.mails[0].body != "Hello\r\n" ||
		s.mails[0].header.Has("CHmail-Login") {
		t.Errorf("%v %v", err, s.mails)
	}
	ctx := context.Background()
	d, err := target.Start(ctx, &module.MsgMetadata{ID: OnceID + "x", Conn: &module.ConnState{AuthUser: login}}, login)
	if err == nil {
		err = d.AddRcpt(ctx, customer, smtp.RcptOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Body(ctx, textproto.Header{}, buffer.MemoryBuffer{}); code(err) != 451 {
		t.Errorf("publicity without a link: %v", err)
	}
	s.ids, target.Require = nil, true
	if err := send(target, "", login, login, customer); code(err) != 451 {
		t.Errorf("%v", err)
	}
}

// hangingRooms do not answer while hang is set.
type hangingRooms struct {
	fakeRooms
	hang bool
}

func (r *hangingRooms) OpenFromMail(ctx context.Context, m chat.Mail) (chat.Opened, error) {
	if r.hang {
		<-ctx.Done()
		return chat.Opened{}, ctx.Err()
	}
	return r.fakeRooms.OpenFromMail(ctx, m)
}

// TestRoomsHang: one mail waits long for rooms that do not answer, those after
// it 50 ms, and when the rooms answer again, mails are stamped at once.
func TestRoomsHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		target, _ := target(s)
		rooms := &hangingRooms{hang: true}
		target.Rooms = rooms
		took := func() time.Duration {
			t.Helper()
			s.ids, s.mails = nil, nil
			began := time.Now()
			if err := send(target, "", login, login, customer); err != nil {
				t.Fatal(err)
			}
			if stamped := s.mails[0].header.Has("CHmail-Login"); stamped == rooms.hang {
				t.Errorf("stamped: %v", stamped)
			}
			return time.Since(began)
		}
		for range 2 {
			if d := took(); d > 2*time.Second+50*time.Millisecond {
				t.Errorf("the first mail took %v", d)
			}
			for range 10 {
				if d := took(); d > 50*time.Millisecond {
					t.Errorf("a mail behind it took %v", d)
				}
			}
			time.Sleep(roomsPause)
		}
		rooms.hang = false
		if d := took(); d != 0 {
			t.Errorf("after the rooms' return a mail took %v", d)
		}
	})
}

// TestPresenceHangs: mail goes out without a port, and soon, whether the store
// obeys its context or not.
func TestPresenceHangs(t *testing.T) {
	t.Parallel()
	for _, obeys := range []bool{true, false} {
		s := &sink{}
		target, _ := target(s)
		p := &fakePresence{hang: true, obeys: obeys, end: make(chan struct{})}
		t.Cleanup(func() { close(p.end) })
		target.Presence = p
		began := time.Now()
		for i := range maxWaiting + 3 {
			if i > 3 {
				target.waiting.Store(maxWaiting) // the rest fail at once
			}
			s.ids = nil
			if err := send(target, "", login, login, customer); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); i == 0 && took > presenceTimeout+400*time.Millisecond {
				t.Errorf("took %v", took)
			}
		}
		if m := s.mails[0]; m.header.Has("CHmail-Port") || !m.header.Has("CHmail-Chat") {
			t.Errorf("%s", m)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	quota := &exterrors.SMTPError{Code: 552, EnhancedCode: exterrors.EnhancedCode{5, 2, 2}, Message: "full"}
	for name, c := range map[string]struct {
		fail  func(rcpt string, try int) error
		code  int
		mails int
	}{
		"first, its own answer": {func(string, int) error { return quota }, 552, 0},
		"first, unspecified":    {func(string, int) error { return errors.New("busy") }, 451, 0},
		"second, then well": {func(r string, try int) error {
			if r == third && try < 3 {
				return errors.New("busy")
			}
			return nil
		}, 0, 2},
		"second for good": {func(r string, _ int) error {
			if r == third {
				return quota
			}
			return nil
		}, 451, 1},
	} {
		s := &sink{fail: c.fail}
		target, _ := target(s)
		err := send(target, "", login, login, customer, third)
		if code(err) != c.code || len(s.mails) != c.mails || s.open != 0 {
			t.Errorf("%s: %v, %d mails, %d open", name, err, len(s.mails), s.open)
		}
	}
}

// TestDKIM signs what leaves, as the next target does, and verifies it.
func TestDKIM(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	target, _ := target(s)
	if err := send(target, "", login, login, customer); err != nil {
		t.Fatal(err)
	}
	var signed bytes.Buffer
	fields := []string{"From", "To", "Subject", "CHmail-Login", "CHmail-Host", "CHmail-Port", "CHmail-Chat"}
	err = dkim.Sign(&signed, strings.NewReader(s.mails[0].String()), &dkim.SignOptions{Domain: "mall.example",
		Selector: "s", Signer: private, HeaderKeys: fields})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(msg string) error {
		v, err := dkim.VerifyWithOptions(strings.NewReader(msg),
			&dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) {
				return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
			}})
		if err == nil && len(v) != 1 {
			err = fmt.Errorf("%d signatures", len(v))
		}
		if err == nil {
			err = v[0].Err
		}
		return err
	}
	if err := verify(signed.String()); err != nil {
		t.Error(err)
	}
	if verify(strings.Replace(signed.String(), "20017", "20018", 1)) == nil {
		t.Error("a changed port verifies")
	}
}

// broad is a next target that takes bodies side by side, as long as one lasts.
type broad struct {
	mu        sync.Mutex
	now, most int
	delivered map[string]int
	fail      string // this recipient's copy
	panics    string // and this one's
}

type broadDelivery struct {
	b    *broad
	rcpt string
}

func (b *broad) Start(context.Context, *module.MsgMetadata, string) (module.Delivery, error) {
	return &broadDelivery{b: b}, nil
}

func (d *broadDelivery) AddRcpt(_ context.Context, rcpt string, _ smtp.RcptOptions) error {
	d.rcpt = rcpt
	return nil
}

func (d *broadDelivery) Body(_ context.Context, _ textproto.Header, body buffer.Buffer) error {
	d.b.mu.Lock()
	d.b.now++
	d.b.most = max(d.b.most, d.b.now)
	d.b.mu.Unlock()
	time.Sleep(time.Second / 2) // of the bubble
	switch d.rcpt {
	case d.b.panics:
		panic("a fault")
	case d.b.fail:
		return &exterrors.SMTPError{Code: 552, EnhancedCode: exterrors.EnhancedCode{5, 2, 2}, Message: "full"}
	}
	time.Sleep(time.Second / 2)
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	d.b.now--
	return nil
}

func (d *broadDelivery) Abort(context.Context) error { return nil }
func (d *broadDelivery) Commit(context.Context) error {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	d.b.delivered[d.rcpt]++
	return nil
}

// TestAtOnce: after the first copy as many as are allowed go side by side; one that
// fails, or panics, leaves the message to be sent again, and the process alive.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	rcpts := []string{"a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x", "i@x"}
	for name, c := range map[string]struct {
		atOnce, most    int
		took            time.Duration
		fail, panics    string
		code, delivered int
	}{
		"one by one":           {atOnce: 0, most: 1, took: 9 * time.Second, delivered: 9},
		"four":                 {atOnce: 4, most: 4, took: 3 * time.Second, delivered: 9},
		"all":                  {atOnce: 100, most: 8, took: 2 * time.Second, delivered: 9},
		"one fails":            {atOnce: 4, most: 4, took: 2 * time.Second, fail: "c@x", code: 451, delivered: 4},
		"one fails, by itself": {atOnce: 1, most: 1, took: 5 * time.Second / 2, fail: "c@x", code: 451, delivered: 2},
		"one panics":           {atOnce: 4, most: 4, took: 2 * time.Second, panics: "d@x", code: 451, delivered: 4},
		"the first":            {atOnce: 4, most: 1, took: time.Second / 2, fail: "a@x", code: 552},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &broad{delivered: map[string]int{}, fail: c.fail, panics: c.panics}
			target, _ := target(&sink{})
			target.Next, target.AtOnce = b, c.atOnce
			began := time.Now()
			err := send(target, "", login, login, rcpts...)
			if code(err) != c.code || b.most != c.most || len(b.delivered) != c.delivered ||
				time.Since(began) != c.took {
				t.Errorf("%s: %v, %d at once, %d delivered after %v",
					name, err, b.most, len(b.delivered), time.Since(began))
			}
		})
	}
}

// TestHost: the host is the sender's computer where that is reached at the granted port, and else the relay.
func TestHost(t *testing.T) {
	t.Parallel()
	for direct, want := range map[string]string{"203.0.113.5:20017": "203.0.113.5",
		"203.0.113.5:40001": "relay.mall.example", "": "relay.mall.example", "[2001:db8::5]:20017": "2001:db8::5"} {
		s := &sink{}
		target, _ := target(s)
		p := &fakePresence{}
		p.direct, _ = netip.ParseAddrPort(direct)
		target.Presence = p
		if err := send(target, "", login, login, customer); err != nil {
			t.Fatal(err)
		}
		if got := s.mails[0].header.Get("CHmail-Host"); got != want {
			t.Errorf("reached at %q: CHmail-Host: %s, want %s", direct, got, want)
		}
	}
}
