// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// What a client reads back from a stuffed message is the message with CRLF.
func FuzzDotWriter(f *testing.F) {
	for _, text := range []string{"", ".", ".\r\n", "a\n.b\n..\n", "a\rb\r\n", "\r", "\n\n", "no end", ".\r"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var whole, bytewise bytes.Buffer
		for out, src := range map[*bytes.Buffer]io.Reader{
			&whole: strings.NewReader(text), &bytewise: iotest.OneByteReader(strings.NewReader(text)),
		} {
			d := dotWriter{w: bufio.NewWriter(out)}
			if _, err := io.Copy(&d, struct{ io.Reader }{src}); err != nil {
				t.Fatal(err)
			}
			if err := d.end(); err != nil {
				t.Fatal(err)
			}
			_ = d.w.Flush()
		}
		if whole.String() != bytewise.String() {
			t.Fatalf("%q whole, %q octet by octet", whole.String(), bytewise.String())
		}
		var lines []string
		rest, ended := strings.CutSuffix(whole.String(), ".\r\n")
		if !ended || rest != "" && !strings.HasSuffix(rest, "\r\n") {
			t.Fatalf("%q does not end with a dot", whole.String())
		}
		for _, line := range strings.SplitAfter(rest, "\r\n") {
			if line == ".\r\n" || strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "..") {
				t.Fatalf("%q has an unstuffed dot", whole.String())
			}
			lines = append(lines, strings.TrimPrefix(line, "."))
		}
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want = strings.TrimSuffix(want, "\r") + "\r\n"
		}
		if got := strings.Join(lines, ""); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestCopyTop(t *testing.T) {
	t.Parallel()
	const text = "A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree"
	for lines, want := range []string{
		"A: 1\r\nB: 2\r\n\r\n", "A: 1\r\nB: 2\r\n\r\none\r\n", "A: 1\r\nB: 2\r\n\r\none\r\n\r\n", text, text,
	} {
		for _, src := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)),
			iotest.DataErrReader(strings.NewReader(text))} {
			var got strings.Builder
			if err := copyTop(&got, src, lines); err != nil || got.String() != want {
				t.Errorf("%d lines: got %q (%v), want %q", lines, got.String(), err, want)
			}
		}
	}
	if err := copyTop(io.Discard, iotest.ErrReader(io.ErrClosedPipe), 1); err == nil {
		t.Error("a failing read is no failure")
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, line := range []string{"QUIT", "user a b", "", " ", "RETR 1",
		"TOP 1 2", "PASS  two spaces ", "\x00", "ÄÖÜ"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, arg, err := parseCommand(line)
		if err != nil {
			return
		}
		if _, known := commands[verb]; known {
			if said := strings.ToUpper(string(line[:len(verb)])); said != verb {
				t.Fatalf("%q became %q", line, verb)
			}
		}
		if len(arg) > len(line) {
			t.Fatalf("%q has argument %q", line, arg)
		}
	})
}

type panicLog struct{ panicked atomic.Bool }

func (l *panicLog) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("panic")) {
		l.panicked.Store(true)
	}
	return len(line), nil
}

// script is a connection whose client says in and hangs up.
type script struct {
	in     *bytes.Reader
	out    bytes.Buffer
	closed bool
}

func (c *script) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *script) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *script) Close() error                     { c.closed = true; return nil }
func (c *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession sends anything to a live session, which must neither panic nor
// stay, and says nothing but lines.
func FuzzSession(f *testing.F) {
	f.Add([]byte("USER alice@example.org\r\nPASS secret word\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\n" +
		"TOP 2 1\r\nDELE 3\r\nRSET\r\nQUIT\r\n"))
	f.Add([]byte("AUTH PLAIN\r\n*\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldCB3b3Jk\r\nDELE 1\r\nQUIT\r\n"))
	f.Add([]byte("CAPA\r\nSTLS\r\n\x16\x03\x01\x00\x05hello"))
	f.Add([]byte(strings.Repeat("x", 3000) + "\nNOOP\nUSER\x00\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		drops, log := newMemory(alice), new(panicLog)
		srv := &Server{SignIns: signIns(time.Microsecond), Maildrops: drops, TLS: serverTLS(),
			InsecureAuth: true,
			Log:          slog.New(slog.NewTextHandler(log, nil))}
		srv.setUp()
		conn := &script{in: bytes.NewReader(input)}
		srv.start(conn)
		srv.running.Wait()
		if out := conn.out.Bytes(); !bytes.HasPrefix(out, []byte("+OK ")) {
			t.Fatalf("the server said %q", out)
		}
		if !conn.closed {
			t.Fatal("the connection stays open")
		}
		if len(srv.locks.held) != 0 {
			t.Fatal("the maildrop stays locked")
		}
		if log.panicked.Load() {
			t.Fatal("the session panicked")
		}
	})
}
