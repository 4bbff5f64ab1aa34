// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/guard/signin"
)

// addressed is a connection in memory of a client at an address.
type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }

// dialFrom connects to a server as from an address.
func dialFrom(t testing.TB, s *Server, ip string) *client {
	t.Helper()
	mine, its := net.Pipe()
	t.Cleanup(func() { _ = mine.Close() })
	l := newPipes()
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l, false) }() // it ends with the test
	t.Cleanup(func() { l.Close(); <-served })
	l.conns <- addressed{its, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	return newClient(t, mine)
}

// TestEHLOGivesBack: EHLO, RSET and an end give everything back that a transaction
// took, and none of it counts for anybody else.
func TestEHLOGivesBack(t *testing.T) {
	t.Parallel()
	limits := &counting{}
	s := &sink{}
	_, dial := start(t, Options{Target: s, Limits: limits}, false)
	c := dial().hello()
	for i := range 10 {
		c.ask("MAIL FROM:<a@far.test>", "250")
		c.ask("RCPT TO:<nobody@mall.test>", "550 5.1.1")
		c.ask([]string{"EHLO c", "RSET", "HELO c"}[i%3], "250")
		if n, m := s.begun(), limits.now(); n != 0 || m != 0 {
			t.Fatalf("%d deliveries and %d places are held", n, m)
		}
	}
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("RCPT TO:<"+kim+">", "250")
	c.ask("EHLO again", "250")
	c.ask("DATA", "503")
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("RCPT TO:<"+kim+">", "250")
	c.send("BDAT 3\r\nFro")
	c.want("BDAT", "250")
	c.ask("RSET", "250")
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("QUIT", "221")
	c.read()
	for s.begun() != 0 || limits.now() != 0 {
		time.Sleep(time.Millisecond) // the server sees the end after us
	}
}

// counting is the limits of maddy.
type counting struct {
	mu sync.Mutex
	n  int
}

func (c *counting) now() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func (c *counting) TakeMsg(context.Context, net.IP, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return nil
}

func (c *counting) ReleaseMsg(net.IP, string) { c.mu.Lock(); defer c.mu.Unlock(); c.n-- }

// TestTransactionsOfANetwork: a network that sends too often is told when to come
// again, and another one is not touched.
func TestTransactionsOfANetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := start(t, Options{Transactions: 10}, false)
		one, same, other := dialFrom(t, s, "2001:db8::1").hello(), dialFrom(t, s, "2001:db8::2").hello(),
			dialFrom(t, s, "2001:db8:0:1::1").hello()
		for range 10 {
			one.ask("MAIL FROM:<a@far.test>", "250")
			one.ask("RSET", "250")
		}
		same.ask("MAIL FROM:<a@far.test>", "450 4.7.1 Too many messages from your address, try again in 6 s")
		other.ask("MAIL FROM:<a@far.test>", "250")
		time.Sleep(7 * time.Second)
		same.ask("MAIL FROM:<a@far.test>", "250")
	})
}

// TestUnknownRecipients: who guesses addresses is sent away, also over several
// connections; who has signed in is not.
func TestUnknownRecipients(t *testing.T) {
	t.Parallel()
	s, _ := start(t, Options{}, false)
	asked := 0
	for range 100 {
		c := dialFrom(t, s, "198.51.100.7").hello()
		c.ask("MAIL FROM:<a@far.test>", "250")
		mine := 0
		for {
			if _, err := io.WriteString(c.Conn, "RCPT TO:<nobody@mall.test>\r\n"); err != nil {
				break
			}
			answer := c.read()
			if !strings.HasPrefix(answer, "550") {
				t.Fatalf("it was answered %q", answer)
			}
			mine++
			asked++
			if mine == maxUnknown || asked > unknownBurst {
				c.want("", "421 4.7.0")
				break
			}
		}
		if mine == 1 {
			break
		}
	}
	if asked < unknownBurst || asked > unknownBurst+10 {
		t.Errorf("%d addresses could be tried", asked)
	}
	_, dial := start(t, submission(&sink{}), false)
	c := dial().kim()
	c.ask("MAIL FROM:<"+kim+">", "250")
	for range 2 * maxUnknown {
		c.ask("RCPT TO:<nobody@mall.test>", "550")
	}
}

// TestIdleCommands: commands that lead to nothing have an end.
func TestIdleCommands(t *testing.T) {
	t.Parallel()
	_, dial := start(t, Options{}, false)
	for _, command := range []string{"NOOP", "EHLO c", "RSET", "VRFY a", "STARTTLS"} {
		c := dial().hello()
		n := 0
		for ; n < 2*maxIdleCommands; n++ {
			if _, err := io.WriteString(c.Conn, command+"\r\n"); err != nil {
				break
			}
			if answer := c.read(); strings.HasPrefix(answer, "421 4.7.0") {
				break
			}
		}
		if n > maxIdleCommands+1 {
			t.Errorf("%d times %s", n, command)
		}
	}
	c := dial().hello()
	for range 3 {
		for range maxIdleCommands / 2 {
			c.ask("NOOP", "250")
		}
		c.data("a@far.test", kim, "From: a@far.test\r\n\r\nx", "250")
	}
}

// TestLines: commands are bounded, and end with CR LF.
func TestLines(t *testing.T) {
	t.Parallel()
	_, dial := start(t, submission(&sink{}), false)
	c := dial().hello()
	c.send("NOOP " + strings.Repeat("x", 12000) + "\r\n")
	c.want("a long line", "500 5.5.2 Line too long")
	c.send("NOOP " + strings.Repeat("x", 1990) + "\r\n")
	c.want("a line that may be so long", "250")
	c.send("EHLO " + strings.Repeat("x", 300) + "\r\n")
	c.want("a long name", "501")
	for _, line := range []string{"NOOP\n", "NO\rOP\r\n", "NOOP\r\r\n"} {
		c.send(line)
		c.want(line, "500 5.5.2 Lines end")
	}
	c.ask("AUTH PLAIN", "334")
	c.send(strings.Repeat("x", 13000) + "\r\n")
	c.want("a long answer", "501")
	c.ask("AUTH PLAIN "+plainText(strings.Repeat("x", 8000), password), "535")
	c.ask("AUTH PLAIN "+plainText(kim, password), "235")
	c.send("NOOP " + strings.Repeat("x", 1<<20) + "\r\n")
	c.want("a line without an end", "500 5.5.2 Line too long")
	if got := c.read(); got != "" {
		t.Errorf("after it comes %q", got)
	}
}

// TestChunksNobodyAskedFor: a chunk without a recipient is skipped, a large one ends
// the connection.
func TestChunksNobodyAskedFor(t *testing.T) {
	t.Parallel()
	_, dial := start(t, Options{}, false)
	c := dial().hello()
	c.send("BDAT 6\r\nQUIT\r\nNOOP\r\n")
	c.want("BDAT", "503")
	c.want("NOOP", "250")
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.send("RCPT TO:<nobody@mall.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
	for _, want := range []string{"550", "503", "250"} {
		c.want("", want)
	}
	c.ask("RCPT TO:<"+kim+">", "250")
	c.ask("DATA", "354")
	c.send("From: a@far.test\r\n\r\nx\r\n.\r\nBDAT 1000000 LAST\r\n")
	c.want("DATA", "250")
	c.want("BDAT", "503")
	if got := c.read(); got != "" {
		t.Errorf("after it comes %q", got)
	}
}

// TestSentByALogin: a login may send so much an hour. Who sends more is told when to
// come again, and the postmaster is told of it once.
func TestSentByALogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		o := submission(s)
		o.SentMails, o.SentRecipients = 3, 5
		_, dial := start(t, o, false)
		c := dial().kim()
		for range 3 {
			c.ask("MAIL FROM:<"+kim+">", "250")
			c.ask("RSET", "250")
		}
		c.ask("MAIL FROM:<"+kim+">", "452 4.7.1 You may send 3 messages an hour, which is reached: try again in 20 min")
		dial().kim().ask("MAIL FROM:<"+kim+">", "452") // another connection is the same login
		synctest.Wait()
		m := s.last(t)
		if len(s.done()) != 1 || m.from != "" || fmt.Sprint(m.to) != "[postmaster@mall.test]" ||
			!strings.Contains(m.header.Get("Subject"), kim) || m.header.Get("Auto-Submitted") == "" ||
			m.meta.Conn.AuthUser != "" {
			t.Errorf("the postmaster got %d mails: from %q to %s: %q", len(s.done()), m.from, m.to, m.raw)
		}
		time.Sleep(time.Hour + time.Minute)
		c = dial().kim()
		c.ask("MAIL FROM:<"+kim+">", "250")
		for i := range 5 {
			c.ask(fmt.Sprintf("RCPT TO:<a%d@far.test>", i), "250")
		}
		c.ask("RCPT TO:<a6@far.test>", "452 4.7.1 You may send 5 recipients an hour")
		synctest.Wait()
		if n := len(s.done()); n != 2 {
			t.Errorf("the postmaster has got %d mails", n)
		}
		c.ask("DATA", "354") // what was accepted goes out
		c.send("From: " + kim + "\r\n\r\nx\r\n.\r\n")
		c.want("", "250")
	})
}

// TestTooManyConnections: one network has so many, and is told.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s, _ := start(t, Options{PerPrefix: 2, Connections: 3}, false)
	a := dialFrom(t, s, "198.51.100.1")
	a.want("", "220")
	dialFrom(t, s, "198.51.100.1").want("", "220")
	dialFrom(t, s, "198.51.100.1").want("", "421 4.7.0")
	dialFrom(t, s, "198.51.100.2").want("", "220")
	dialFrom(t, s, "198.51.100.3").want("", "421 4.7.0")
	a.ask("QUIT", "221")
	a.read()
	for { // the place is free when the server has seen the end
		c := dialFrom(t, s, "198.51.100.1")
		if strings.HasPrefix(c.read(), "220") {
			break
		}
	}
}

// TestTimes: nobody waits for a client for ever, and ordinary slowness does no harm.
func TestTimes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		submission bool
		do         func(t *testing.T, c *client)
		took       time.Duration
		says       string
	}{
		"between commands": {false, func(t *testing.T, c *client) { c.hello() }, DefaultIdle, "421 4.4.2"},
		"in a transaction": {false, func(t *testing.T, c *client) {
			c.hello().ask("MAIL FROM:<a@far.test>", "250")
			c.ask("RCPT TO:<"+kim+">", "250")
		}, DefaultIdle, "421 4.4.2"},
		"a command now and then": {false, func(t *testing.T, c *client) {
			c.hello()
			for range 29 {
				time.Sleep(time.Minute)
				c.ask("NOOP", "250")
			}
		}, maxFruitless, "421 4.4.2"},
		"before a sign-in": {true, func(t *testing.T, c *client) {
			c.hello()
			time.Sleep(time.Minute)
			c.ask("NOOP", "250")
		}, DefaultSignInTime, "421 4.4.2"},
		"after a sign-in": {true, func(t *testing.T, c *client) { c.kim() }, DefaultIdle, "421 4.4.2"},
		"no message after DATA": {false, func(t *testing.T, c *client) {
			c.hello().ask("MAIL FROM:<a@far.test>", "250")
			c.ask("RCPT TO:<"+kim+">", "250")
			c.ask("DATA", "354")
		}, DefaultDataGrace, "451"},
		"a slow message": {false, func(t *testing.T, c *client) {
			c.hello().ask("MAIL FROM:<a@far.test>", "250")
			c.ask("RCPT TO:<"+kim+">", "250")
			c.ask("DATA", "354")
			began := time.Now()
			for range 100 { // 20 octets a second
				time.Sleep(5 * time.Second)
				c.send(strings.Repeat("x", 98) + "\r\n")
				if time.Since(began) > DefaultDataGrace {
					break
				}
			}
		}, DefaultDataGrace + 5*time.Second, "451"},
		"no chunk after BDAT": {false, func(t *testing.T, c *client) {
			c.hello().ask("MAIL FROM:<a@far.test>", "250")
			c.ask("RCPT TO:<"+kim+">", "250")
			c.send("BDAT 100\r\n")
		}, DefaultDataGrace, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{}
				o := Options{Target: s}
				if c.submission {
					o = submission(s)
				}
				_, dial := start(t, o, false)
				began := time.Now()
				client := dial()
				c.do(t, client)
				answer := client.read()
				if !strings.HasPrefix(answer, c.says) {
					t.Errorf("it ends with %q, not %q", answer, c.says)
				}
				for client.read() != "" {
				}
				if took := time.Since(began); took < c.took || took > c.took+time.Second {
					t.Errorf("it took %v, not %v", took, c.took)
				}
				synctest.Wait()
				if n := s.begun(); n != 0 {
					t.Errorf("%d deliveries are held", n)
				}
			})
		})
	}
}

// TestSlowButSteady: 64 KiB at 2 KiB a second take longer than an idle client may,
// and arrive.
func TestSlowButSteady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		_, dial := start(t, Options{Target: s, DataGrace: 5 * time.Second}, false)
		c := dial().hello()
		c.ask("MAIL FROM:<a@far.test>", "250")
		c.ask("RCPT TO:<"+kim+">", "250")
		c.ask("DATA", "354")
		c.send("From: a@far.test\r\n\r\n")
		for range 32 {
			time.Sleep(time.Second)
			if _, err := io.WriteString(c.Conn, strings.Repeat(strings.Repeat("x", 62)+"\r\n", 32)); err != nil {
				t.Fatal(err)
			}
		}
		c.ask(".", "250")
	})
}

// TestHalfOpenTLS: a handshake that does not go on ends.
func TestHalfOpenTLS(t *testing.T) {
	t.Parallel()
	cert := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		o := Options{TLS: tlsOf(cert)}
		_, dial := start(t, o, true)
		began := time.Now()
		mine := dial()
		raw := mine.Conn.(interface{ NetConn() net.Conn }).NetConn()
		if _, err := raw.Read(make([]byte, 1)); err == nil {
			t.Error("the server spoke first")
		}
		if took := time.Since(began); took != handshakeTime {
			t.Errorf("from the first octet: closed after %v", took)
		}
		_, dial = start(t, o, false)
		c := dial().hello()
		began = time.Now()
		c.ask("STARTTLS", "220")
		if got := c.read(); got != "" {
			t.Errorf("it says %q", got)
		}
		if took := time.Since(began); took != handshakeTime {
			t.Errorf("after STARTTLS: closed after %v", took)
		}
	})
}

// TestShutdown: a message that is on its way arrives, who waits for nothing is sent
// away with words, and who does not go on is left.
func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		srv, dial := start(t, Options{Target: s}, false)
		idle, sending, stuck := dial().hello(), dial().hello(), dial().hello()
		for _, c := range []*client{sending, stuck} {
			c.ask("MAIL FROM:<a@far.test>", "250")
			c.ask("RCPT TO:<"+kim+">", "250")
			c.ask("DATA", "354")
			c.send("From: a@far.test\r\n\r\n")
		}
		synctest.Wait()
		began := time.Now()
		ended := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			ended <- srv.Shutdown(ctx)
		}()
		idle.want("", "421 4.3.2")
		synctest.Wait()
		sending.ask("x\r\n.", "250")
		sending.want("", "421 4.3.2")
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("it ended after %v: %v", time.Since(began), err)
		}
		stuck.read()
		if n := len(s.done()); n != 1 {
			t.Errorf("%d messages arrived", n)
		}
	})
}

// TestPanic: a panic ends its session, with words, and nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := &sink{body: func(context.Context) error { panic("on purpose") }}
	_, dial := start(t, Options{Target: s}, false)
	other, c := dial().hello(), dial().hello()
	c.data("a@far.test", kim, "From: a@far.test\r\n\r\nx", "421")
	c = dial().hello()
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("RCPT TO:<"+kim+">", "250")
	c.send("BDAT 22 LAST\r\nFrom: a@far.test\r\n\r\nx\r\n")
	c.want("BDAT", "421")
	other.ask("NOOP", "250")
	c.read()
	for s.begun() != 0 {
		time.Sleep(time.Millisecond) // the server sees the end after us
	}
	// go-smtp recovers from no panic in a read.
	srv, _ := start(t, Options{}, false)
	cn := newConn(srv, addressed{}, false, false)
	cn.in = nil
	if _, err := cn.Read(make([]byte, 1)); err == nil {
		t.Error("a read that panics succeeds")
	}
}

// TestEndOfASignIn: a connection ends with its sign-in.
func TestEndOfASignIn(t *testing.T) {
	t.Parallel()
	o := submission(&sink{})
	check := newCheck()
	o.SignIn = check
	_, dial := start(t, o, false)
	c := dial().kim()
	c.ask("MAIL FROM:<"+kim+">", "250")
	check.Changed(kim)
	if got := c.read(); got != "" {
		t.Errorf("it says %q", got)
	}
	dial().kim().ask("QUIT", "221") // Logout closes the sign-in, and not the words
}

// TestAuthDuringBDAT: a sign-in while a message is on its way is refused, and nothing
// waits for ever.
func TestAuthDuringBDAT(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s, SignIn: newCheck(), InsecureAuth: true}, false)
	c := dial().hello()
	c.ask("MAIL FROM:<a@far.test>", "250")
	c.ask("AUTH PLAIN "+plainText(kim, password), "503")
	c.ask("RCPT TO:<"+kim+">", "250")
	c.send("BDAT 6\r\nFrom: ")
	c.want("BDAT", "250")
	c.ask("AUTH PLAIN "+plainText(kim, password), "503")
	c.send("BDAT 15 LAST\r\na@far.test\r\n\r\nx")
	c.want("BDAT", "250")
	s.last(t)
}

// TestPipelining: commands may come together, and the replies do.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := &sink{}
	_, dial := start(t, Options{Target: s}, false)
	c := dial().hello()
	c.send("MAIL FROM:<a@far.test>\r\nRCPT TO:<" + kim + ">\r\nRCPT TO:<nobody@x.test>\r\nDATA\r\n")
	for _, want := range []string{"250", "250", "550", "354"} {
		c.want("", want)
	}
	c.send("From: a@far.test\r\n\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n")
	for _, want := range []string{"250", "250", "221", ""} {
		c.want("", want)
	}
	// What follows an end is not read, as by go-smtp, which has no session any more.
	c = dial().hello()
	c.send("QUIT\r\nMAIL FROM:<a@far.test>\r\nNOOP\r\n")
	c.want("", "221")
	if got := c.read(); got != "" {
		t.Errorf("after QUIT it says %q", got)
	}
}

// TestLargeBody: what does not fit into memory is in a file, which goes afterwards.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	s := &sink{}
	folder := t.TempDir()
	_, dial := start(t, Options{Target: s, Memory: 1000, Folder: folder}, false)
	c := dial().hello()
	text := strings.Repeat("0123456789\r\n", 1000)
	c.data("a@far.test", kim, "From: a@far.test\r\n\r\n"+text, "250")
	if got := s.last(t).raw; got != "From: a@far.test\r\n\r\n"+text+"\r\n" {
		t.Errorf("%d octets came", len(got))
	}
	c.ask("NOOP", "250")
	if files, err := os.ReadDir(folder); err != nil || len(files) != 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// TestEarlyChecks: a client that the pipeline refuses is told so.
func TestEarlyChecks(t *testing.T) {
	t.Parallel()
	s := &sink{early: refusal(554, 5, 7, 1, "You are on a list")}
	_, dial := start(t, Options{Target: s}, false)
	c := dial()
	c.want("", "220")
	c.ask("EHLO c", "554 5.7.1 You are on a list")
	c.ask("MAIL FROM:<a@far.test>", "503")
}

var _ SignIn = (*signin.Check)(nil)
var _ Pipeline = (*sink)(nil)
var _ module.Delivery = (*sinkDelivery)(nil)
var _ = slog.LevelInfo

// TestReputation: what a client does wrong is counted for its address, and one that is
// barred gets no session.
func TestReputation(t *testing.T) {
	t.Parallel()
	known := reputation.New(reputation.Options{}, nil)
	s, connect := start(t, Options{Reputation: known}, false)
	bad := netip.MustParseAddr("192.0.2.1")
	s.conns.Barred = func(netip.Addr) bool { return known.Bars(bad) } // pipes have no address
	c := connect()
	c.read()
	c.send("GET / HTTP/1.1\r\n")
	if got := c.read(); !strings.HasPrefix(got, "421 ") {
		t.Errorf("HTTP is answered %q", got)
	}
	for range 8 {
		known.Fault(bad, reputation.Probe)
	}
	if got := connect().read(); !strings.HasPrefix(got, "421 ") {
		t.Errorf("who is barred reads %q", got)
	}
}
