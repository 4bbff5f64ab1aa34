// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/imapd"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/presence"
)

// TestBounds: what is too long, too deep or too large ends the connection, before
// the sign-in sooner; nothing of it is kept, and the server goes on.
func TestBounds(t *testing.T) {
	t.Parallel()
	s := openStore(t, mailstore.Options{})
	address := start(t, newServer(t, s))
	many := func(what string, octets int) string { return strings.Repeat(what, octets/len(what)) }
	for name, c := range map[string]struct {
		signedIn  bool
		say, want string
	}{
		"line before":             {false, "a LOGIN " + many("x", 5000), "* BYE Too long a line"},
		"parentheses before":      {false, "a " + many("(", 1000), "* BYE Too many parentheses"},
		"millions of parentheses": {false, "a " + many("(", 3_000_000), "* BYE Too long a line"},
		"endless atom":            {false, many("x", 3_000_000), "* BYE Too long a line"},
		"literal before":          {false, "a LOGIN {150000000}", "* BYE Too long a literal"},
		"literal of the future":   {false, "a LOGIN {1000000000000000000+}", "* BYE Too long a literal"},
		"unasked literal before":  {false, "a LOGIN {4097+}", "* BYE Too long a literal"},
		"literal of ID":           {false, "a ID ({5000+}", "* BYE Too long a literal"},
		"APPEND before":           {false, "a APPEND INBOX {5000}", "* BYE Too long a literal"},
		"line":                    {true, "a SEARCH SUBJECT " + many("x", 60_000), "* BYE Too long a line"},
		"parentheses":             {true, "a SEARCH " + many("(", 3000), "* BYE Too many parentheses"},
		"quoted parentheses":      {true, `a SEARCH SUBJECT "` + many("(", 1000) + `"`, "a BAD …"},
		"literal":                 {true, "a SEARCH SUBJECT {5000}", "* BYE Too long a literal"},
		"unasked literal":         {true, "a APPEND INBOX {5000+}", "* BYE Too long a literal"},
		"message":                 {true, "a APPEND INBOX {5000}", "+ …"},
		"deep search":             {true, "a SEARCH " + many("NOT ", 40_000) + "ALL", "a BAD …"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialer := dial
			if c.signedIn {
				dialer = signIn
			}
			conn := dialer(t, address)
			go io.WriteString(conn, c.say+"\r\n") // ends with the connection, which may not read it all
			line := conn.line()
			if !like(line, c.want) {
				t.Errorf("got %q, want %q", line, c.want)
			}
			if strings.HasPrefix(c.want, "* BYE") {
				if line := conn.line(); !strings.HasSuffix(line, "<closed>") {
					t.Errorf("after the end came %q", line)
				}
			}
		})
	}
	t.Run("deep search", func(t *testing.T) {
		t.Parallel()
		c := signIn(t, address)
		c.ask("OK …", "SELECT INBOX")
		c.ask("NO [LIMIT] …", "SEARCH %sALL", many("NOT ", 40_000))
		c.ask("NO [LIMIT] …", "SEARCH %sALL", many("SEEN ", 40_000))
		c.ask("OK …", "SEARCH %sALL", many("NOT ", 120))
		c.ask("NO [LIMIT] …", `LIST "" (%s x)`, strings.TrimSpace(many(`"*" `, 400)))
		c.ask("OK …", `LIST "" "%s"`, many("*a", 900))
	})
}

// certificate is one for 127.0.0.1.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestSTARTTLS: passwords are taken after it only, and what was said in plaintext
// behind it does not count.
func TestSTARTTLS(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	srv.InsecureAuth, srv.TLS = false, certificate(t)
	address := start(t, srv)
	c := dial(t, address)
	if got := c.ask("OK …", "CAPABILITY"); len(got) != 1 || !strings.HasSuffix(got[0], " STARTTLS LOGINDISABLED") {
		t.Error("capabilities:", got)
	}
	c.ask("NO [PRIVACYREQUIRED] …", "LOGIN %s secret", login)
	c.ask("NO [PRIVACYREQUIRED] …", "AUTHENTICATE PLAIN")
	c.ask("BAD …", "STARTTLS now")
	c.send("t STARTTLS\r\nx NOOP\r\ny CAPABILITY")
	c.expect("t OK …")
	encrypted := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c = &client{encrypted, t, nil}
	c.r = newReader(encrypted)
	c.ask("BAD …", "STARTTLS")
	if got := c.ask("OK …", "CAPABILITY"); len(got) != 1 || !strings.HasSuffix(got[0], " AUTH=PLAIN") {
		t.Error("capabilities:", got)
	}
	c.ask("OK …", "LOGIN %s secret", login)
	c.ask("OK …", "SELECT INBOX")
}

// TestTLS: a connection that is encrypted from its first octet.
func TestTLS(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	srv.InsecureAuth, srv.TLS = false, certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", srv.TLS)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{conn, t, newReader(conn)}
	c.expect("* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL- ID ENABLE AUTH=PLAIN] …")
	c.ask("OK …", "LOGIN %s secret", login)
	srv.Close()
	if err := <-done; !errors.Is(err, imapd.ErrServerClosed) {
		t.Error("serving ended with", err)
	}
}

// renewals are what presence was told.
type renewals chan presence.Address

func (r renewals) Renew(_ context.Context, a presence.Address) error {
	r <- a
	return nil
}

// TestPresence: a sign-in renews where the login is.
func TestPresence(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	told := make(renewals, 10)
	srv.Presence = told
	c := signIn(t, start(t, srv))
	c.ask("OK …", "NOOP")
	if a := <-told; a.Login != login || a.Source != presence.IMAP || a.IP != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("told of %+v", a)
	}
	if len(told) != 0 {
		t.Error("renewed again at once")
	}
}

// TestPasswordChanged: the login's sessions end, in IDLE as well.
func TestPasswordChanged(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	address := start(t, srv)
	waits, idles, other := signIn(t, address), signIn(t, address), dial(t, address)
	idles.send("t IDLE")
	idles.expect("+ …")
	waits.ask("OK …", "NOOP")
	srv.SignIn.Changed(login)
	for _, c := range []*client{waits, idles} {
		c.expect("* BYE Sign in again")
		c.expect("<closed>")
	}
	other.ask("OK …", "LOGIN %s secret", login)
}

// TestShutdown: sessions that wait are told, and nobody holds the server up.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := openStore(t, mailstore.Options{})
	deliver(t, s, "Subject: large\r\n\r\n"+strings.Repeat(strings.Repeat("x", 998)+"\r\n", 20_000))
	srv := newServer(t, s)
	address := start(t, srv)
	before, waits, idles, reads := dial(t, address), signIn(t, address), signIn(t, address), signIn(t, address)
	waits.ask("OK …", "NOOP")
	idles.send("t IDLE")
	idles.expect("+ …")
	reads.ask("OK …", "SELECT INBOX")
	reads.send("t FETCH 1 BODY[]") // and reads no answer
	reads.expect("* 1 FETCH …")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("with a session that does not read:", err)
	}
	for _, c := range []*client{before, waits, idles} {
		c.expect("* BYE The server shuts down")
		c.expect("<closed>")
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("it goes on accepting")
	}
}

// TestTooMany: connections of one address are bounded.
func TestTooMany(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	srv.MaxConnectionsPerIP = 2
	address := start(t, srv)
	first, second := signIn(t, address), signIn(t, address)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, _ := io.ReadAll(conn); string(got) != "* BYE Too many connections, come again later\r\n" {
		t.Errorf("the third got %q", got)
	}
	second.Close()
	first.ask("OK …", "NOOP")
	for n := range 100 { // until the second one's end was seen
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		var greeting [4]byte
		_, _ = io.ReadFull(conn, greeting[:])
		conn.Close()
		if bytes.Equal(greeting[:], []byte("* OK")) {
			break
		}
		if n == 99 {
			t.Error("a place that was given back is not given away")
		}
	}
}

// panics is a store whose accounts cannot be listed.
type panics struct{ imapd.Store }

type panickingAccount struct{ imapd.Account }

func (p panics) Account(login string) (imapd.Account, error) {
	a, err := p.Store.Account(login)
	return panickingAccount{a}, err
}

func (panickingAccount) Mailboxes() ([]imapd.Status, error) { panic("no luck") }

// TestPanic: a panic ends one session.
func TestPanic(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	srv.Store = panics{srv.Store}
	address := start(t, srv)
	a, b := signIn(t, address), signIn(t, address)
	a.send(`t LIST "" "*"`)
	a.expect("<closed>")
	b.ask("OK …", "SELECT INBOX")
}

// bearer takes one token.
type bearer struct{}

func (bearer) Verify(_ context.Context, token string) (string, time.Time, error) {
	if token != "good" {
		return "", time.Time{}, signin.ErrWrong
	}
	return login, time.Now().Add(time.Hour), nil
}

// TestTokens: OAUTHBEARER and XOAUTH2 are offered where tokens are taken.
func TestTokens(t *testing.T) {
	t.Parallel()
	srv := newServer(t, openStore(t, mailstore.Options{}))
	without := dial(t, start(t, srv))
	without.ask("NO …", "AUTHENTICATE OAUTHBEARER bixhPW1pbmEs")
	without.ask("OK …", "AUTHENTICATE PLAIN AG1pbmFAbWFsbC5leGFtcGxlAHNlY3JldA==")

	srv = newServer(t, openStore(t, mailstore.Options{}))
	srv.SignIn = signin.New(signin.Options{Accounts: book{}, Tokens: bearer{}, First: time.Millisecond,
		Longest: time.Millisecond})
	address := start(t, srv)
	for mechanism, response := range map[string]string{
		"OAUTHBEARER": "n,a=" + login + ",\x01host=x\x01auth=Bearer %s\x01\x01",
		"XOAUTH2":     "user=" + login + "\x01auth=bearer %s\x01\x01",
	} {
		c := dial(t, address)
		if got := c.ask("OK …", "CAPABILITY"); !strings.HasSuffix(got[0], "=PLAIN AUTH=OAUTHBEARER AUTH=XOAUTH2") {
			t.Error("capabilities:", got)
		}
		say := func(token string) string {
			return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, response, token))
		}
		c.ask("BAD …", "AUTHENTICATE %s bm90aGluZw==", mechanism)
		c.send("t AUTHENTICATE " + mechanism + " " + say("bad"))
		c.expect("+ " + base64.StdEncoding.EncodeToString([]byte(`{"status":"invalid_token","schemes":"bearer"}`)))
		c.send("AQ==") // RFC 7628 section 3.2.3
		c.expect("t NO [AUTHENTICATIONFAILED] …")
		c.send("t AUTHENTICATE " + mechanism)
		c.expect("+ ")
		c.send(say("good"))
		c.expect("t OK [CAPABILITY …")
		c.ask("OK …", "SELECT INBOX")
	}
}

// TestNewAccount: who signs in for the first time gets mailboxes.
func TestNewAccount(t *testing.T) {
	t.Parallel()
	s := openStore(t, mailstore.Options{})
	srv := newServer(t, s)
	srv.SignIn = signin.New(signin.Options{Accounts: anyone{}})
	c := dial(t, start(t, srv))
	c.ask("OK …", "LOGIN New@mall.example x")
	if got := c.ask("OK …", `LIST "" "*"`); len(got) != 6 {
		t.Error("mailboxes:", got)
	}
	if there, err := s.HasAccount("new@mall.example"); !there || err != nil {
		t.Error("the account:", there, err)
	}
}

type anyone struct{}

func (anyone) Verify(context.Context, string, string) error { return nil }

// TestQuota: APPEND and COPY beyond it answer OVERQUOTA.
func TestQuota(t *testing.T) {
	t.Parallel()
	s := openStore(t, mailstore.Options{Quotas: mailstore.Quotas{Login: 3000}})
	c := signIn(t, start(t, newServer(t, s)))
	body := strings.Repeat("x", 2000)
	add := func(want string) {
		t.Helper()
		c.ask(want, "APPEND INBOX {%d+}\r\n%s", len(body), body)
	}
	add("OK …")
	add("NO [OVERQUOTA] …")
	c.ask("OK …", "SELECT INBOX")
	c.ask("NO [OVERQUOTA] …", "COPY 1 Sent")
	if got := c.ask("OK …", `GETQUOTA ""`); len(got) != 1 || got[0] != `* QUOTA "" (STORAGE 2 2)` {
		t.Error(got)
	}
}

// TestManyMessages fetches ranges with gaps in a mailbox of many.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	s := openStore(t, mailstore.Options{})
	for i := range 300 {
		deliver(t, s, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i+1))
	}
	c := signIn(t, start(t, newServer(t, s)))
	c.ask("OK …", "SELECT INBOX")
	c.ask("OK …", `STORE 10:20,100:250 +FLAGS.SILENT (\Deleted)`)
	if got := c.ask("OK …", "EXPUNGE"); len(got) != 162 || got[0] != "* 250 EXPUNGE" || got[161] != "* 10 EXPUNGE" {
		t.Error(len(got), got)
	}
	got := c.ask("OK …", "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	if len(got) != 4*138 {
		t.Errorf("%d lines", len(got))
	}
	for i := 0; i < len(got); i += 4 {
		var seq, uid int
		if _, err := fmt.Sscanf(got[i], "* %d FETCH (UID %d ", &seq, &uid); err != nil || seq != i/4+1 ||
			got[i+1] != fmt.Sprintf("Subject: %d", uid) {
			t.Fatalf("%q, %q", got[i], got[i+1])
		}
	}
	if got := c.ask("OK …", "UID SEARCH UID 5:30,260"); len(got) != 1 ||
		got[0] != "* SEARCH 5 6 7 8 9 21 22 23 24 25 26 27 28 29 30 260" {
		t.Error(got)
	}
}
