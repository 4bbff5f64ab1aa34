// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

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

// imapConn is a raw IMAP session.
type imapConn struct {
	*textproto.Conn
	t testing.TB
}

// imapDial signs in and selects INBOX.
func imapDial(t testing.TB, address, login string) *imapConn {
	t.Helper()
	conn, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &imapConn{conn, t}
	c.line("* OK")
	c.ask("OK", "LOGIN %s secret", login)
	c.ask("OK", "SELECT INBOX")
	return c
}

// line reads one line, which must begin as said.
func (c *imapConn) line(begin string) string {
	c.t.Helper()
	line, err := c.ReadLine()
	if err != nil || !strings.HasPrefix(line, begin) {
		c.t.Fatalf("got %q, %v, want %q", line, err, begin)
	}
	return line
}

// ask sends a command and reads its answer, whose end must begin as said.
func (c *imapConn) ask(end, format string, args ...any) (untagged []string) {
	c.t.Helper()
	if err := c.PrintfLine("x "+format, args...); err != nil {
		c.t.Fatal(err)
	}
	for {
		line, err := c.ReadLine()
		if err != nil {
			c.t.Fatal(err)
		}
		if tagged, ok := strings.CutPrefix(line, "x "); ok {
			if !strings.HasPrefix(tagged, end) {
				c.t.Fatalf("%s: %s", format, tagged)
			}
			return untagged
		}
		untagged = append(untagged, line)
	}
}

// TestPOP3BesideIMAP: IMAP removes nothing from a maildrop that a POP3 session
// has, and hears of what that session deletes.
func TestPOP3BesideIMAP(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{})
	address := servePOP3(t, s)
	addAccounts(t, s, "a@x")
	mustPut(t, s, "one\r\n", "a@x")
	mustPut(t, s, "two\r\n", "a@x")
	mail := imapDial(t, serveIMAP(t, s), "a@x")
	c := popSignIn(t, address, "a@x")
	c.ask("+OK 2", "STAT")
	mail.ask("OK", `STORE 1:* +FLAGS.SILENT (\Deleted)`) // flags are free to change
	mail.ask("NO [INUSE]", "EXPUNGE")
	mail.ask("NO [INUSE]", "MOVE 1:* Trash")
	mail.ask("NO [INUSE]", "CLOSE")
	c.ask("+OK", "RETR 2")
	c.lines()
	if err := mail.PrintfLine("y IDLE"); err != nil {
		t.Fatal(err)
	}
	mail.line("+ ")
	c.ask("+OK", "DELE 1")
	c.ask("+OK", "QUIT")
	mail.line("* 1 EXPUNGE")
	mustPut(t, s, "three\r\n", "a@x")
	mail.line("* 2 EXISTS")
	mail.line("* 2 RECENT")
	if err := mail.PrintfLine("DONE"); err != nil {
		t.Fatal(err)
	}
	mail.line("y OK")
	mail.ask("OK", "EXPUNGE") // after the POP3 session
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
