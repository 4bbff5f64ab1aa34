// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/mailstore"
)

// noPanic is a log that fails the test when a session panicked.
type noPanic struct{ t *testing.T }

func (noPanic) Enabled(context.Context, slog.Level) bool { return true }

func (h noPanic) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panic") {
		r.Attrs(func(a slog.Attr) bool {
			h.t.Error(r.Message, a.Value)
			return true
		})
	}
	return nil
}

func (h noPanic) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h noPanic) WithGroup(string) slog.Handler      { return h }

// FuzzConn says anything to a live connection, before and after the sign-in. Whatever
// it is, no session panics, the connection ends when the client has, and another one
// is served.
func FuzzConn(f *testing.F) {
	dialogs, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range dialogs {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said bytes.Buffer
		for line := range strings.Lines(string(text)) {
			if c, ok := strings.CutPrefix(line, "C: "); ok {
				said.WriteString(strings.TrimSuffix(c, "\n") + "\r\n")
			}
		}
		f.Add(said.Bytes(), !strings.HasPrefix(filepath.Base(file), "before"))
	}
	for _, text := range []string{
		"a ID {3+}\r\n(((\r\n", "a IDLE\r\nb NOOP\r\nc IDLE\r\nDONE\r\n", "a SEARCH {1+}\r\n(OR NOT NOT 1:* $\r\n",
		"a FETCH 1:* (BODY[1.2.3.MIME]<0.1> BODY[HEADER.FIELDS (\"\\\"\")])\r\n", "a LOGIN {0}\r\n {0+}\r\n\r\n",
		"a AUTHENTICATE PLAIN\r\n{5+}\r\n*\r\n", "a APPEND INBOX {0+}\r\n\r\nb STORE * FLAGS (\\*)\r\n", "\r\n\n a",
		"a LIST (RECURSIVEMATCH SUBSCRIBED) \"\" (% *.* \"&-\") RETURN (STATUS (UNSEEN) CHILDREN)\r\n",
		"a GETQUOTAROOT \"\\\"\r\nb GETQUOTAROOT {9999999}\r\nc STARTTLS\r\n",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, said []byte, signedIn bool) {
		s := openStore(t, mailstore.Options{})
		deliver(t, s, "From: a@x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")
		srv := newServer(t, s)
		srv.Log = slog.New(noPanic{t})
		address := start(t, srv)
		c := dial(t, address)
		if signedIn {
			c.ask("OK …", "LOGIN %s secret", login)
			c.ask("OK …", "SELECT INBOX")
		}
		go func() { // ends with the connection
			_, _ = c.Write(said)
			_ = c.Conn.(*net.TCPConn).CloseWrite()
		}()
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c.r); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("the connection does not end after %q", said)
		}
		signIn(t, address).ask("OK …", "NOOP")
	})
}
