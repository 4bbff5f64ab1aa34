// SPDX-License-Identifier: GPL-3.0-or-later

// Command mail loads SMTP and POP3 servers and prints one line of JSON with
// what it measured; bench/mail.sh runs it.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	accountpassword "github.com/chmail/chmail/guard/password"
)

var (
	mode = flag.String("mode", "smtp", "smtp, submit, logins, list, retr, idle; or hash, argon2id or"+
		" bcrypt: print one of the password; or cert: print a certificate and its key")
	addr     = flag.String("addr", "127.0.0.1:1025", "server")
	conns    = flag.Int("conns", 10, "connections at once")
	count    = flag.Int("count", 5000, "messages to send, or sessions to make")
	size     = flag.Int("size", 4096, "octets of a message")
	boxes    = flag.Int("boxes", 100, "mailboxes that mail is spread over, or that sessions open: u0@DOMAIN and on")
	first    = flag.Int("first", 0, "number of the first mailbox")
	domain   = flag.String("domain", "bench.test", "domain of the mailboxes")
	password = flag.String("password", "bench", "password of all mailboxes")
	pipeline = flag.Bool("pipeline", false, "retr: ask for all messages at once")
	stls     = flag.Bool("stls", false, "POP3: STLS before the sign-in; whose certificate it is does not matter")
	rcpts    = flag.Int("rcpts", 1, "submit: recipients of a message")
	stamped  = flag.Bool("stamped", true, "submit: false asks for mail without a stamp")
	anew     = flag.Bool("anew", false, "submit: a connection and a sign-in for every message")
	hold     = flag.Duration("hold", 0, "idle: how long sessions stay")
)

type result struct {
	Mode    string  `json:"mode"`
	Done    int64   `json:"done"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	MBps    float64 `json:"MBps,omitempty"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
	Errors  int64   `json:"errors"`
}

var started = time.Now()

func main() {
	flag.Parse()
	switch *mode {
	case "cert":
		if err := printCertificate(); err != nil {
			fmt.Fprintln(os.Stderr, "making a certificate:", err)
			os.Exit(1)
		}
		return
	case "bcrypt": // the hash that older accounts have, without its kind
		hash, err := bcrypt.GenerateFromPassword([]byte(*password), bcrypt.DefaultCost)
		if err != nil {
			fmt.Fprintln(os.Stderr, "hashing:", err)
			os.Exit(1)
		}
		fmt.Println(string(hash))
		return
	case "argon2id": // the hash that new accounts have, with its kind
		fmt.Println(accountpassword.Hash(*password))
		return
	case "hash":
		// The cheapest Argon2: sign-ins are to measure the server, not the hash.
		salt := []byte("0123456789abcdef")
		sum := argon2.IDKey([]byte(*password), salt, 1, 8, 1, 64)
		fmt.Printf("argon2:1:8:1:%s:%s\n", base64.StdEncoding.EncodeToString(salt),
			base64.StdEncoding.EncodeToString(sum))
		return
	}
	job := map[string]func(c *conn, n int) error{"smtp": sendOne, "submit": submit, "logins": login,
		"list": list, "retr": retrieve, "idle": idle}[*mode]
	if job == nil {
		fmt.Fprintln(os.Stderr, "unknown -mode", *mode)
		os.Exit(2)
	}
	var (
		next, failed, octets atomic.Int64
		mu                   sync.Mutex
		took                 []time.Duration
		working              sync.WaitGroup
	)
	start := time.Now()
	for worker := range *conns {
		working.Go(func() {
			c := &conn{}
			var mine []time.Duration
			// Of SMTP, the quicker connections do more. Each POP3 connection has its
			// own share: where mailboxes are a multiple of connections, no two
			// sessions want the same maildrop.
			following := func(n int) int { return n + *conns }
			n := worker
			if *mode == "smtp" || *mode == "submit" {
				following = func(int) int { return int(next.Add(1)) - 1 }
				n = following(0)
			}
			for ; n < *count; n = following(n) {
				began := time.Now()
				if err := job(c, n); err != nil {
					if failed.Add(1) <= 3 {
						fmt.Fprintln(os.Stderr, *mode, err)
					}
					c.close()
					continue
				}
				mine = append(mine, time.Since(began))
			}
			c.close()
			octets.Add(c.octets)
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	working.Wait()
	seconds := time.Since(start).Seconds()
	slices.Sort(took)
	at := func(q float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return float64(took[min(int(q*float64(len(took))), len(took)-1)].Microseconds()) / 1000
	}
	json.NewEncoder(os.Stdout).Encode(result{
		Mode: *mode, Done: int64(len(took)), Seconds: seconds, Rate: float64(len(took)) / seconds,
		MBps: float64(octets.Load()) / seconds / 1e6, P50: at(.5), P99: at(.99), Max: at(1), Errors: failed.Load(),
	})
}

// conn is a connection that is opened when it is first used.
type conn struct {
	net.Conn
	r      *bufio.Reader
	octets int64
	sender string // who is signed in for submission
}

func (c *conn) open() error {
	if c.Conn != nil {
		return nil
	}
	nc, err := net.Dial("tcp", *addr)
	if err != nil {
		return err
	}
	c.Conn, c.r = nc, bufio.NewReaderSize(nc, 64<<10)
	return nil
}

func (c *conn) close() {
	if c.Conn != nil {
		c.Conn.Close()
		c.Conn = nil
	}
}

func (c *conn) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.Conn, format+"\r\n", args...)
	return err
}

func (c *conn) expect(prefix string) (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) > 3 && line[3] == '-' && prefix[0] != '+' {
			continue
		}
		if !strings.HasPrefix(line, prefix) {
			return "", errors.New(strings.TrimSpace(line))
		}
		return line, nil
	}
}

func (c *conn) ask(prefix, format string, args ...any) (string, error) {
	if err := c.say(format, args...); err != nil {
		return "", err
	}
	return c.expect(prefix)
}

// body is one message, the same for all: nothing compresses it for nothing.
var body = sync.OnceValue(func() string {
	var b strings.Builder
	b.WriteString("From: <load@example.org>\r\nTo: <box@bench.test>\r\nSubject: load\r\n" +
		"Date: Mon, 2 Jan 2026 15:04:05 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n")
	x := uint32(2463534242)
	for b.Len() < *size {
		for range 70 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			b.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x&63])
		}
		b.WriteString("\r\n")
	}
	return b.String()
})

func sendOne(c *conn, n int) error {
	if c.Conn == nil {
		if err := c.open(); err != nil {
			return err
		}
		if _, err := c.expect("220"); err != nil {
			return err
		}
		if _, err := c.ask("250", "EHLO load.example.org"); err != nil {
			return err
		}
	}
	for _, step := range []struct{ want, line string }{
		{"250", "MAIL FROM:<load@example.org>"},
		{"250", fmt.Sprintf("RCPT TO:<u%d@%s>", *first+n%*boxes, *domain)},
		{"354", "DATA"},
		{"250", body() + "."},
	} {
		if _, err := c.ask(step.want, "%s", step.line); err != nil {
			return fmt.Errorf("%.20s: %w", step.line, err)
		}
	}
	c.octets += int64(len(body()))
	return nil
}

func signIn(c *conn, n int) error {
	if err := c.open(); err != nil {
		return err
	}
	if _, err := c.expect("+OK"); err != nil {
		return err
	}
	if *stls {
		if err := c.encrypt(); err != nil {
			return fmt.Errorf("STLS: %w", err)
		}
	}
	if _, err := c.ask("+OK", "USER u%d@%s", *first+n%*boxes, *domain); err != nil {
		return err
	}
	_, err := c.ask("+OK", "PASS %s", *password)
	return err
}

// encrypt goes on over TLS (RFC 2595 section 4). Every session has a full
// handshake, as clients that come now and then do.
func (c *conn) encrypt() error {
	if _, err := c.ask("+OK", "STLS"); err != nil {
		return err
	}
	return c.handshake()
}

func (c *conn) handshake() error {
	secure := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		return err
	}
	c.Conn = secure
	c.r.Reset(secure)
	return nil
}

// printCertificate prints one that servers under load can use, in PEM.
func printCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{*domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 7),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.Encode(os.Stdout, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func quit(c *conn) error {
	_, err := c.ask("+OK", "QUIT")
	c.close()
	return err
}

// login is connect to QUIT.
func login(c *conn, n int) error {
	if err := signIn(c, n); err != nil {
		return err
	}
	return quit(c)
}

// list is a session that looks what there is.
func list(c *conn, n int) error {
	if err := signIn(c, n); err != nil {
		return err
	}
	if _, err := c.ask("+OK", "STAT"); err != nil {
		return err
	}
	for _, command := range []string{"UIDL", "LIST"} {
		if _, err := c.ask("+OK", "%s", command); err != nil {
			return err
		}
		if err := c.skipMultiline(); err != nil {
			return err
		}
	}
	return quit(c)
}

func (c *conn) skipMultiline() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		c.octets += int64(len(line))
		if string(line) == ".\r\n" {
			return nil
		}
	}
}

// retrieve is a session that reads everything.
func retrieve(c *conn, n int) error {
	if err := signIn(c, n); err != nil {
		return err
	}
	line, err := c.ask("+OK", "STAT")
	if err != nil {
		return err
	}
	var messages int
	if _, err := fmt.Sscanf(line, "+OK %d", &messages); err != nil {
		return err
	}
	if *pipeline {
		var all strings.Builder
		for i := 1; i <= messages; i++ {
			fmt.Fprintf(&all, "RETR %d\r\n", i)
		}
		go io.WriteString(c.Conn, all.String()) // ends with the connection
	}
	for i := 1; i <= messages; i++ {
		if !*pipeline {
			if err := c.say("RETR %d", i); err != nil {
				return err
			}
		}
		if _, err := c.expect("+OK"); err != nil {
			return err
		}
		if err := c.skipMultiline(); err != nil {
			return err
		}
	}
	return quit(c)
}

// idle signs in and stays.
func idle(c *conn, n int) error {
	if err := signIn(c, n); err != nil {
		return err
	}
	time.Sleep(*hold)
	return quit(c)
}
