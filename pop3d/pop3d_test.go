// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/presence"
)

// TestDialogs runs testdata/*.txt: C: the client's lines, those that follow
// each other in one packet, S: the server's, `tls` a handshake, `end` the end
// of the connection, `option:` what is special about the server.
func TestDialogs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogs", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			drops := newMemory(alice)
			drops.undeletable = strings.Contains(string(script), "option: undeletable\n")
			_, address := serve(t, drops, func(srv *Server) {
				srv.InsecureAuth = !strings.Contains(string(script), "option: secure\n")
			})
			c := dial(t, address)
			var packet []string
			for i, line := range strings.Split(string(script), "\n") {
				if text, ok := strings.CutPrefix(line, "C: "); ok {
					packet = append(packet, text)
					continue
				}
				if packet != nil {
					c.say(packet...)
					packet = nil
				}
				switch text, ok := strings.CutPrefix(line, "S: "); {
				case ok:
					t.Logf("line %d: %.80s", i+1, line)
					c.want(text)
				case line == "tls":
					conn := tls.Client(c.conn, clientTLS())
					if err := conn.Handshake(); err != nil {
						t.Fatal(err)
					}
					c.conn = conn
				case line == "end":
					c.wantEnd()
				}
			}
		})
	}
}

func TestDeletionOnlyAtQuit(t *testing.T) {
	t.Parallel()
	drops := newMemory(alice)
	srv, address := serve(t, drops)

	cut := signedIn(t, address, alice)
	cut.say("DELE 1", "DELE 2")
	cut.want("+OK*")
	cut.want("+OK*")
	cut.conn.Close()
	unlocked(t, srv, alice)
	if n := drops.left(alice); n != 3 {
		t.Fatalf("%d messages are left after a cut connection, want 3", n)
	}

	c := signedIn(t, address, alice)
	c.say("DELE 2", "QUIT")
	c.want("+OK*")
	c.want("+OK*")
	c.wantEnd()
	if n := drops.left(alice); n != 2 {
		t.Fatalf("%d messages are left, want 2", n)
	}
	// UIDLs stay; numbers do not.
	c = signedIn(t, address, alice)
	c.say("UIDL")
	c.want("+OK*")
	c.want("1 7.1")
	c.want("2 7.3")
	c.want(".")
}

func TestLock(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(alice))
	first := signedIn(t, address, alice)
	second := dial(t, address)
	second.want("+OK*")
	second.say("USER Alice@Example.Org", "PASS "+password)
	second.want("+OK*")
	second.want("-ERR [IN-USE]*")
	signedIn(t, address, "bob@example.org")
	first.say("QUIT")
	first.want("+OK*")
	second.say("USER "+alice, "PASS "+password)
	second.want("+OK*")
	second.want("+OK*")
}

func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	drops := newMemory(alice)
	drops.panics = true
	srv, address := serve(t, drops)
	c := signedIn(t, address, alice)
	c.say("RETR 1")
	c.wantEnd()
	unlocked(t, srv, alice)
	signedIn(t, address, alice).say("QUIT")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(), func(srv *Server) { srv.MaxConnectionsPerIP = 2 })
	first := dial(t, address)
	first.want("+OK*")
	dial(t, address).want("+OK*")
	third := dial(t, address)
	third.want("-ERR [SYS/TEMP]*")
	third.wantEnd()
	first.say("QUIT")
	first.want("+OK*")
	first.wantEnd()
	for range 100 { // its place is free a moment after its end
		c := dial(t, address)
		if line, err := c.read(); err == nil && strings.HasPrefix(line, "+OK") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the place of an ended connection is not free again")
}

func TestFailureDelayGrows(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(alice), func(srv *Server) { srv.SignIns = signIns(50 * time.Millisecond) })
	for _, least := range []time.Duration{50, 100, 200} { // over connections, too
		c := dial(t, address)
		c.want("+OK*")
		began := time.Now()
		c.say("USER "+alice, "PASS wrong")
		c.want("+OK*")
		c.want("-ERR [AUTH]*")
		if took := time.Since(began); took < least*time.Millisecond {
			t.Errorf("a refusal took %v, want %v or more", took, least*time.Millisecond)
		}
	}
	began := time.Now()
	signedIn(t, address, alice)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a good sign-in was delayed by %v", took)
	}
}

type slowPresence struct{ got chan presence.Address }

func (p slowPresence) Renew(ctx context.Context, a presence.Address) error {
	p.got <- a
	<-ctx.Done()
	return ctx.Err()
}

func TestPresence(t *testing.T) {
	t.Parallel()
	p := slowPresence{make(chan presence.Address, 1)}
	_, address := serve(t, newMemory(alice), func(srv *Server) { srv.Presence = p })
	signedIn(t, address, "ALICE@example.org") // although presence hangs
	a := <-p.got
	if a.Login != alice || a.IP.String() != "127.0.0.1" || a.Source != presence.POP3 ||
		time.Since(a.Seen) > time.Minute {
		t.Errorf("presence got %+v", a)
	}
}

type noDatabase struct{}

func (noDatabase) Verify(context.Context, string, string) error { return errors.New("no database") }

func TestTemporaryFailure(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(alice), func(srv *Server) {
		srv.SignIns = signin.New(signin.Options{Accounts: noDatabase{}})
	})
	c := dial(t, address)
	c.want("+OK*")
	c.say("USER "+alice, "PASS "+password)
	c.want("+OK*")
	c.want("-ERR [SYS/TEMP]*")
}

// TestGuesses: a client that goes on guessing is refused before its password is looked
// at, and its connections do not last.
func TestGuesses(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(alice))
	busy := 0
	for round := range 4 {
		c := dial(t, address)
		c.want("+OK*")
		for i := range maxFailures {
			c.say("USER "+alice, fmt.Sprint("PASS ", round, i))
			c.want("+OK*")
			line, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "-ERR [SYS/TEMP] too many") {
				busy++
			} else if busy > 0 || !strings.HasPrefix(line, "-ERR [AUTH]") {
				t.Errorf("guess %d of round %d: %q", i, round, line)
			}
		}
		c.wantEnd()
	}
	if busy < maxFailures {
		t.Errorf("%d guesses were refused unseen", busy)
	}
}

// TestChangedPassword ends the sessions of the old one, and removes no message.
func TestChangedPassword(t *testing.T) {
	t.Parallel()
	drops, check := newMemory(alice), signIns(time.Millisecond)
	srv, address := serve(t, drops, func(srv *Server) { srv.SignIns = check })
	c, other := signedIn(t, address, alice), signedIn(t, address, "bob@example.org")
	c.say("DELE 1")
	c.want("+OK*")
	check.Changed(alice)
	c.wantEnd()
	unlocked(t, srv, alice)
	if n := drops.left(alice); n != 3 {
		t.Errorf("%d messages are left, want 3", n)
	}
	other.say("QUIT")
	other.want("+OK bye")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	_, address := serve(t, newMemory(alice), func(srv *Server) {
		srv.SignIns = signin.New(signin.Options{Accounts: onePassword{}, Tokens: oneToken{}, First: time.Millisecond})
	})
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	c := dial(t, address)
	c.want("+OK*")
	c.say("AUTH")
	for _, line := range []string{"+OK*", "PLAIN", "OAUTHBEARER", "XOAUTH2", "."} {
		c.want(line)
	}
	c.say("AUTH XOAUTH2 " + encode("user="+alice+"\x01auth=Bearer another\x01\x01"))
	c.want("+ " + encode(signin.BearerRefused))
	c.say("")
	c.want("-ERR [AUTH]*")
	c.say("AUTH OAUTHBEARER " + encode("n,a=bob@example.org,\x01auth=Bearer a token\x01\x01"))
	c.want("+ *")
	c.say("AQ==")
	c.want("-ERR [AUTH]*")
	c.say("AUTH OAUTHBEARER nonsense")
	c.want("-ERR not a response*")
	c.say("AUTH oauthbearer")
	c.want("+ ")
	c.say(encode("n,a=" + alice + ",\x01host=x" + strings.Repeat("x", 2000) + "\x01auth=Bearer a token\x01\x01"))
	c.want("+OK welcome")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	drops := newMemory(alice)
	srv, address := serve(t, drops)
	idle := signedIn(t, address, alice)
	idle.say("DELE 1")
	idle.want("+OK*")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	idle.wantEnd()
	if n := drops.left(alice); n != 3 {
		t.Errorf("%d messages are left, want 3", n)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the server still listens")
	}
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	srv, _ := serve(t, newMemory(alice), func(srv *Server) { srv.InsecureAuth = false })
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS())
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l) //nolint:errcheck // it ends with the server
	conn, err := tls.Dial("tcp", l.Addr().String(), clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn}
	c.want("+OK*")
	c.say("USER "+alice, "PASS "+password, "QUIT")
	c.want("+OK*")
	c.want("+OK*")
	c.want("+OK*")
}

// endless is one message that never ends while it is read.
type endless struct{ *memoryDrop }

type endlessDrops struct{}

func (endlessDrops) Open(context.Context, string) (Maildrop, error) {
	return endless{&memoryDrop{messages: []memoryMessage{{1, ""}}}}, nil
}

func (endless) Open(context.Context, int, bool) (io.ReadCloser, error) {
	return io.NopCloser(lineReader{}), nil
}

type lineReader struct{}

func (lineReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "0123456789abcdef\n"[i%17]
	}
	return len(p) - len(p)%17, nil
}

// A message is streamed: the client has its beginning before the server has its end.
func TestStreaming(t *testing.T) {
	t.Parallel()
	srv, address := serve(t, endlessDrops{})
	c := signedIn(t, address, alice)
	c.say("RETR 1")
	c.want("+OK*")
	for range 10_000 {
		c.want("0123456789abcdef")
	}
	c.conn.Close()
	unlocked(t, srv, alice)
}

// stuckDrops never open, whatever becomes of the session.
type stuckDrops struct{ asked, release chan struct{} }

func (d stuckDrops) Open(context.Context, string) (Maildrop, error) {
	close(d.asked)
	<-d.release
	return nil, errors.New("stuck")
}

// A storage that hangs does not keep the server from closing.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	drops := stuckDrops{make(chan struct{}), make(chan struct{})}
	srv, address := serve(t, drops)
	c := dial(t, address)
	c.want("+OK*")
	c.say("USER "+alice, "PASS "+password)
	<-drops.asked
	began := time.Now()
	if err := srv.Close(); !errors.Is(err, errStuck) {
		t.Errorf("closed: %v", err)
	}
	if took := time.Since(began); took > 2*closeTimeout {
		t.Errorf("it took %v", took)
	}
	close(drops.release)
	if err := srv.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}
