// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/pop3d"
)

// onePassword is everybody's.
type onePassword struct{}

func (onePassword) Verify(_ context.Context, _, password string) error {
	if password != "secret" {
		return signin.ErrWrong
	}
	return nil
}

// servePOP3 serves a store over POP3 to who says "secret".
func servePOP3(t testing.TB, s *Store) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &pop3d.Server{
		Maildrops: s.Maildrops(), InsecureAuth: true, MaxConnectionsPerIP: 10_000,
		SignIns: signin.New(signin.Options{Accounts: onePassword{}}),
	}
	done := make(chan struct{})
	go func() { srv.Serve(l); close(done) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return l.Addr().String()
}

type popClient struct {
	*textproto.Conn
	t testing.TB
}

func popSignIn(t testing.TB, address, login string) *popClient {
	t.Helper()
	conn, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &popClient{conn, t}
	c.answer("+OK")
	c.ask("+OK", "USER %s", login)
	c.ask("+OK", "PASS secret")
	return c
}

func (c *popClient) answer(want string) string {
	c.t.Helper()
	line, err := c.ReadLine()
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("got %q, %v; want %q", line, err, want)
	}
	return line
}

func (c *popClient) ask(want, format string, args ...any) string {
	c.t.Helper()
	if err := c.PrintfLine(format, args...); err != nil {
		c.t.Fatal(err)
	}
	return c.answer(want)
}

func (c *popClient) lines() []string {
	c.t.Helper()
	lines, err := c.ReadDotLines()
	if err != nil {
		c.t.Fatal(err)
	}
	return lines
}

func TestPOP3(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{LargeBody: 100_000})
	address := servePOP3(t, s)
	addAccounts(t, s, "a@x")
	texts := []string{text("one", 100), text("two", 3*chunkSize), text("three", 200_000), "Subject: bare\n\nLF\n"}
	for _, text := range texts {
		mustPut(t, s, text, "a@x")
	}
	st := mustStatus(t, inbox(t, s, "a@x"))
	c := popSignIn(t, address, "a@x")
	c.ask(fmt.Sprintf("+OK 4 %d", st.Octets), "STAT")
	c.ask("+OK", "UIDL")
	want := []string{}
	for n := 1; n <= 4; n++ {
		want = append(want, fmt.Sprintf("%d %d.%d", n, st.Validity, n))
	}
	if got := c.lines(); !slices.Equal(got, want) {
		t.Errorf("UIDL %q, want %q", got, want)
	}
	for n, text := range texts {
		text = "Delivered-To: a@x\r\n" + strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		c.ask(fmt.Sprintf("+OK %d %d", n+1, len(text)), "LIST %d", n+1)
		c.ask("+OK", "RETR %d", n+1)
		if got := strings.Join(c.lines(), "\r\n") + "\r\n"; got != text {
			t.Errorf("message %d has %d octets, want %d", n+1, len(got), len(text))
		}
		c.ask("+OK", "TOP %d 0", n+1)
		head, _, _ := strings.Cut(text, "\r\n\r\n")
		if got := strings.Join(c.lines(), "\r\n"); got != head+"\r\n" {
			t.Errorf("TOP %d 0 gave %q", n+1, got)
		}
	}
	// The session is not disturbed by mail that comes, nor by a second one.
	mustPut(t, s, "late\r\n", "a@x")
	c.ask(fmt.Sprintf("+OK 4 %d", st.Octets), "STAT")
	second, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	c2 := &popClient{second, t}
	c2.answer("+OK")
	c2.ask("+OK", "USER a@x")
	c2.ask("-ERR [IN-USE]", "PASS secret")
	c.ask("+OK", "DELE 2")
	c.ask("+OK", "DELE 3")
	c.ask("+OK 2", "STAT")
	c.ask("+OK", "QUIT")
	if got := uids(t, inbox(t, s, "a@x")); !slices.Equal(got, []uint32{1, 4, 5}) {
		t.Errorf("left: %v", got)
	}
	c = popSignIn(t, address, "a@x")
	c.ask("+OK 3", "STAT")
	c.ask("+OK", "DELE 1")
	c.Close() // without QUIT nothing is deleted
	waitFor(t, "the maildrop to be free", func() bool {
		box := inbox(t, s, "a@x")
		defer box.Close()
		_, err := box.Hold()
		return err == nil
	})
	if got := uids(t, inbox(t, s, "a@x")); !slices.Equal(got, []uint32{1, 4, 5}) {
		t.Errorf("left without QUIT: %v", got)
	}
	checkClean(t, s)
}

// heard collects what an IMAP session is told.
type heard struct{ updates chan imapbackend.Update }

func (h heard) SendUpdate(u imapbackend.Update) error { h.updates <- u; return nil }

// TestPOP3BesideIMAP: IMAP removes nothing from a maildrop that a POP3 session
// has, and hears of what that session deletes.
func TestPOP3BesideIMAP(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{})
	address := servePOP3(t, s)
	addAccounts(t, s, "a@x")
	mustPut(t, s, "one\r\n", "a@x")
	mustPut(t, s, "two\r\n", "a@x")
	u, err := s.IMAPUser("a@x")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Logout()
	conn := heard{make(chan imapbackend.Update, 100)}
	_, box, err := u.GetMailbox(Inbox, false, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	c := popSignIn(t, address, "a@x")
	c.ask("+OK 2", "STAT")
	all, _ := imap.ParseSeqSet("1:*")
	if err := box.UpdateMessagesFlags(false, all, imap.AddFlags, true, []string{imap.DeletedFlag}); err != nil {
		t.Fatal("flags are free to change:", err)
	}
	var refused *imap.ErrStatusResp
	if err := box.Expunge(); !errors.As(err, &refused) || refused.Resp.Code != "INUSE" ||
		refused.Resp.Type != imap.StatusRespNo {
		t.Fatalf("EXPUNGE beside a POP3 session: %v", err)
	}
	if err := box.(imapbackend.MoveMailbox).MoveMessages(false, all, "Trash"); !errors.As(err, &refused) ||
		refused.Resp.Code != "INUSE" {
		t.Fatalf("MOVE beside a POP3 session: %v", err)
	}
	c.ask("+OK", "RETR 2")
	c.lines()
	done := make(chan struct{})
	idle := make(chan struct{})
	go func() { box.Idle(done); close(idle) }()
	c.ask("+OK", "DELE 1")
	c.ask("+OK", "QUIT")
	if gone, ok := (<-conn.updates).(*imapbackend.ExpungeUpdate); !ok || gone.SeqNum != 1 {
		t.Errorf("told of %#v", gone)
	}
	mustPut(t, s, "three\r\n", "a@x")
	if exists, ok := (<-conn.updates).(*imapbackend.MailboxUpdate); !ok || exists.Messages != 2 {
		t.Errorf("told of %#v", exists)
	}
	done <- struct{}{}
	<-idle
	if err := box.Expunge(); err != nil {
		t.Error("after the POP3 session:", err)
	}
	if got := uids(t, inbox(t, s, "a@x")); !slices.Equal(got, []uint32{3}) {
		t.Errorf("left: %v", got)
	}
}

// TestSessionReadsLittle takes away what a session must not need: opening it,
// STAT and deliveries read no message's index, and TOP no more than it sends.
func TestSessionReadsLittle(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{LargeBody: 10 * chunkSize})
	address := servePOP3(t, s)
	addAccounts(t, s, "a@x", "b@x")
	mustPut(t, s, text("long", 5*chunkSize), "a@x", "b@x")
	box := inbox(t, s, "a@x")
	m, err := box.message(1)
	if err != nil {
		t.Fatal(err)
	}
	for n := range chunks(m.octets) {
		if n > 0 {
			if err := s.db.Delete(chunkKey(m.body, n), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := popSignIn(t, address, "a@x")
	c.ask("+OK 1 ", "STAT")
	c.ask("+OK", "TOP 1 20")
	if got := c.lines(); len(got) != 23 { // two of header, an empty one
		t.Errorf("TOP gave %d lines", len(got))
	}
	c.ask("+OK", "QUIT")

	// Of b@x the index of its message cannot be read: the other one can.
	if err := s.db.Set(messageKey(inbox(t, s, "b@x").id, 1), []byte("damaged"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, "another\r\n", "b@x")
	c = popSignIn(t, address, "b@x")
	c.ask("+OK 2 ", "STAT")
	c.ask("+OK", "UIDL")
	if got := c.lines(); len(got) != 1 || !strings.HasSuffix(got[0], ".2") {
		t.Errorf("UIDL gave %q, want UID 2 alone", got)
	}
	c.ask("+OK", "RETR 1")
	if got := c.lines(); got[len(got)-1] != "another" {
		t.Errorf("RETR gave %q", got)
	}
	c.ask("+OK", "QUIT")
	r, err := s.Check(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"a@x", "b@x"} {
		if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Login == login && p.UID == 1 }) {
			t.Errorf("check does not name what is damaged of %s: %v", login, r.Problems)
		}
	}
}
