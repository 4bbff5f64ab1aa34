// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/imapd"
	"github.com/chmail/chmail/mailstore"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const login = "mina@mall.example"

// book has one account, whose password is secret; a login busy cannot be checked.
type book struct{}

func (book) Verify(_ context.Context, name, password string) error {
	switch {
	case name == "broken":
		return errors.New("the database is gone")
	case name != login || password != "secret":
		return signin.ErrWrong
	}
	return nil
}

// openStore opens a store in memory with the account.
func openStore(t testing.TB, o mailstore.Options) *mailstore.Store {
	t.Helper()
	o.FS, o.MinFree = vfs.NewMem(), -1
	s, err := mailstore.Open("/store", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.CreateAccount(login, mailstore.DefaultFolders...); err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver puts a mail into INBOX as it is.
func deliver(t testing.TB, s *mailstore.Store, text string) {
	t.Helper()
	to := mailstore.Recipient{Login: login, Date: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}
	if err := s.Import(t.Context(), to, strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// newServer is a server of a store.
func newServer(t testing.TB, s *mailstore.Store) *imapd.Server {
	return &imapd.Server{
		SignIn: signin.New(signin.Options{Accounts: book{}, First: time.Millisecond, Longest: time.Millisecond}),
		Store:  s.IMAP(), Log: testLog(t), InsecureAuth: true, MaxConnectionsPerIP: 1000,
	}
}

// start starts a server.
func start(t testing.TB, srv *imapd.Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, imapd.ErrServerClosed) {
			t.Error("serving ended with", err)
		}
	})
	return l.Addr().String()
}

// client is a raw connection.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial connects and reads the greeting.
func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{conn, t, newReader(conn)}
	c.expect("* OK [CAPABILITY …")
	return c
}

// signIn connects and signs in.
func signIn(t testing.TB, address string) *client {
	t.Helper()
	c := dial(t, address)
	c.send("s LOGIN " + login + " secret")
	c.expect("s OK [CAPABILITY …")
	return c
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatalf("sending %.100q: %v", line, err)
	}
}

// line reads a line.
func (c *client) line() string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := c.r.ReadString('\n')
	if err != nil {
		return strings.TrimSuffix(line+"<closed>", "\r\n")
	}
	return strings.TrimRight(line, "\r\n")
}

// expect reads a line, in which … stands for any text.
func (c *client) expect(pattern string) string {
	c.t.Helper()
	line := c.line()
	if !like(line, pattern) {
		c.t.Fatalf("got  %q\nwant %q", line, pattern)
	}
	return line
}

func like(line, pattern string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), "…", ".*")
	return regexp.MustCompile("^(?s:" + quoted + ")$").MatchString(line)
}

// ask sends a command and reads up to its tagged answer.
func (c *client) ask(want, command string, args ...any) (untagged []string) {
	c.t.Helper()
	c.send("t " + fmt.Sprintf(command, args...))
	for {
		line := c.line()
		if strings.HasPrefix(line, "t ") || strings.HasSuffix(line, "<closed>") {
			if !like(line, "t "+want) {
				c.t.Fatalf("%.200s\ngot  %q\nwant %q", command, line, "t "+want)
			}
			return untagged
		}
		untagged = append(untagged, line)
	}
}

// TestDialogs holds the dialogs of testdata/dialogs: a line says who (C the client,
// S the server, M mail that comes; 2C and 2S are a second connection). In what the
// server says … stands for any text, in mail \n for a line end.
func TestDialogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			holdDialog(t, file)
		})
	}
}

func holdDialog(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, mailstore.Options{Quotas: mailstore.Quotas{Login: 1 << 20}})
	s.SetAppendLimit(100_000)
	address := start(t, newServer(t, s))
	clients := make(map[string]*client)
	for n, line := range strings.Split(string(text), "\n") {
		who, what, ok := strings.Cut(line, ": ")
		if !ok || strings.HasPrefix(line, "#") {
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
				t.Fatalf("%s:%d: not a line of a dialog", file, n+1)
			}
			continue
		}
		if who == "M" {
			deliver(t, s, strings.ReplaceAll(what, `\n`, "\r\n"))
			continue
		}
		name := strings.TrimRight(who, "CS")
		c := clients[name]
		if c == nil {
			if strings.HasPrefix(filepath.Base(file), "before") {
				c = dial(t, address)
			} else {
				c = signIn(t, address)
			}
			clients[name] = c
		}
		if strings.HasSuffix(who, "C") {
			c.send(what)
			continue
		}
		if got := c.line(); !like(got, what) {
			t.Fatalf("%s:%d:\ngot  %q\nwant %q", file, n+1, got, what)
		}
	}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 64<<10) }
