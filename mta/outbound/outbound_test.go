// SPDX-License-Identifier: GPL-3.0-or-later

package outbound

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mta/queue"
)

// server is another domain's mail server.
type server struct {
	greeting string
	ext      string // lines of EHLO's answer
	tls      *tls.Config
	answers  map[string]string // by the beginning of a command
	hangUp   bool              // after each mail
	address  string

	mu          sync.Mutex
	connections int
	said        []string // commands
	mails       []string
}

func (s *server) start(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	s.address = l.Addr().String()
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
			serving.Go(func() { s.serve(conn) })
		}
	})
	return s
}

func (s *server) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	say := func(text string) { fmt.Fprint(conn, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n") }
	greeting := s.greeting
	if greeting == "" {
		greeting = "220 mx ready"
	}
	say(greeting)
	r := bufio.NewReader(conn)
	ext := s.ext
	if s.tls != nil {
		ext += "\n250-STARTTLS"
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.mu.Lock()
		s.said = append(s.said, line)
		s.mu.Unlock()
		answer := ""
		for begin, a := range s.answers {
			if strings.HasPrefix(line, begin) {
				answer = a
			}
		}
		switch {
		case answer != "":
			say(answer)
		case strings.HasPrefix(line, "EHLO"):
			say("250-mx" + ext + "\n250 8BITMIME")
		case line == "STARTTLS":
			say("220 go ahead")
			conn = tls.Server(conn, s.tls)
			r = bufio.NewReader(conn)
			ext = s.ext
		case line == "DATA":
			say("354 go ahead")
			var mail strings.Builder
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				mail.WriteString(l)
			}
			s.mu.Lock()
			s.mails = append(s.mails, mail.String())
			s.mu.Unlock()
			say("250 2.0.0 Ok: queued as 4F1B2C")
			if s.hangUp {
				return
			}
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// world is the DNS.
type world struct {
	mx     map[string][]*net.MX
	err    error
	server map[string]*server // by host name
}

func (w *world) LookupMX(_ context.Context, domain string) (bool, []*net.MX, error) {
	return false, w.mx[domain], w.err
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(addr)
	s := w.server[host]
	if s == nil || port != "25" {
		return nil, errors.New("connection refused")
	}
	return new(net.Dialer).DialContext(ctx, network, s.address)
}

func remote(w *world, policies ...module.MXAuthPolicy) *Remote {
	return &Remote{Host: "mx.mall.example", Resolver: w, Dial: w.dial, Port: "25", Policies: policies,
		Log: slog.New(slog.DiscardHandler)}
}

func one(s *server) *world {
	return &world{mx: map[string][]*net.MX{"far.example": {{Host: "mx.far.example.", Pref: 10}}},
		server: map[string]*server{"mx.far.example": s}}
}

func mail(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mail")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

const text = "Subject: x\r\n\r\n.dot\r\nHello\r\n"

func send(t *testing.T, l queue.Lane, m queue.Mail, to ...string) []queue.Answer {
	t.Helper()
	m.ID, m.From = "a", "kim@mall.example"
	var list []queue.Recipient
	for _, a := range to {
		list = append(list, queue.Recipient{To: a, Notify: []string{"FAILURE", "DELAY"}, ORCPT: "rfc822;a+b@x"})
	}
	return l.Send(t.Context(), &m, list, mail(t, text))
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.far.example"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestSend: the answer with the far server's own number comes back, one recipient may be
// refused, and the next mail goes over the same connection.
func TestSend(t *testing.T) {
	t.Parallel()
	s := (&server{ext: "\n250-SIZE 1000\n250-DSN", answers: map[string]string{
		"RCPT TO:<no@": "550-5.1.1 No such user\n550 5.1.1 here"}}).start(t)
	l := remote(one(s)).Lane("far.example")
	answers := send(t, l, queue.Mail{EnvelopeID: "a=1", Return: "HDRS", Size: 30}, "lee@far.example", "no@far.example")
	if a := answers[0]; a.String() != "250 2.0.0 Ok: queued as 4F1B2C" || a.Server != "mx.far.example" ||
		a.Address != "127.0.0.1" || a.TLS != "none" || a.Relayed {
		t.Errorf("the answer is %+v", a)
	}
	if a := answers[1]; a.String() != "550 5.1.1 No such user here" || !a.Permanent() || a.Unreached {
		t.Errorf("the refusal is %+v", a)
	}
	if a := send(t, l, queue.Mail{Size: 30}, "no@far.example"); a[0].Code != 550 {
		t.Errorf("a mail without a recipient left: %+v", a)
	}
	if a := send(t, l, queue.Mail{Size: 30}, "lee@far.example"); !a[0].OK() {
		t.Errorf("the next mail: %+v", a)
	}
	if a := send(t, l, queue.Mail{Size: 1001}, "lee@far.example"); a[0].String() !=
		"552 5.3.4 The mail has 1001 octets, the server takes 1000" {
		t.Errorf("a mail too large: %+v", a)
	}
	l.Close()
	if s.connections != 1 {
		t.Errorf("%d connections, want 1", s.connections)
	}
	if len(s.mails) != 2 || s.mails[0] != strings.Replace(text, ".dot", "..dot", 1) {
		t.Errorf("the server got %q", s.mails)
	}
	all := strings.Join(s.said, "\n")
	for _, want := range []string{"EHLO mx.mall.example", "MAIL FROM:<kim@mall.example> BODY=8BITMIME SIZE=30" +
		" RET=HDRS ENVID=a+3D1", "RCPT TO:<lee@far.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@x", "RSET", "QUIT"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q was not said in\n%s", want, all)
		}
	}
}

// TestHangUp: a server that closes its connections between mails costs no mail.
func TestHangUp(t *testing.T) {
	t.Parallel()
	s := (&server{hangUp: true}).start(t)
	l := remote(one(s)).Lane("far.example")
	defer l.Close()
	for range 3 {
		if a := send(t, l, queue.Mail{}, "lee@far.example"); !a[0].OK() || !a[0].Relayed {
			t.Fatalf("%+v", a)
		}
	}
}

// needs is a policy such as DANE: a server must reach a level of TLS.
type needs struct{ level module.TLSLevel }

func (n needs) Weight() int                                           { return 1 }
func (n needs) Start(*module.MsgMetadata) module.DeliveryMXAuthPolicy { return n }
func (needs) PrepareDomain(context.Context, string)                   {}
func (needs) PrepareConn(context.Context, string)                     {}
func (needs) Reset(*module.MsgMetadata)                               {}

func (needs) CheckMX(context.Context, module.MXLevel, string, string, bool) (module.MXLevel, error) {
	return module.MXNone, nil
}

func (n needs) CheckConn(_ context.Context, _ module.MXLevel, has module.TLSLevel, _, _ string,
	_ tls.ConnectionState) (module.TLSLevel, error) {
	if has < n.level {
		return module.TLSNone, &exterrors.SMTPError{Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 7, 1},
			Message: "TLS is demanded"}
	}
	return module.TLSNone, nil
}

// TestTLS: TLS is used as far as it goes, and a domain's policy is obeyed.
func TestTLS(t *testing.T) {
	t.Parallel()
	good := certificate(t)
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(good.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	for name, c := range map[string]struct {
		server  *tls.Config
		trusted bool
		demands module.TLSLevel
		want    string // level, or the answer
	}{
		"none":                  {nil, false, module.TLSNone, "none"},
		"self-signed":           {good, false, module.TLSNone, "encrypted"},
		"trusted":               {good, true, module.TLSAuthenticated, "authenticated"},
		"none, demanded":        {nil, false, module.TLSEncrypted, "451 4.7.1"},
		"self-signed, demanded": {good, false, module.TLSAuthenticated, "451 4.7.1"},
		"broken TLS":            {&tls.Config{}, false, module.TLSNone, "none"},
		"broken TLS, demanded":  {&tls.Config{}, false, module.TLSEncrypted, "451 4.7.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&server{tls: c.server}).start(t)
			r := remote(one(s), needs{c.demands})
			if c.trusted {
				r.TLS = &tls.Config{RootCAs: roots}
			}
			l := r.Lane("far.example")
			defer l.Close()
			a := send(t, l, queue.Mail{}, "lee@far.example")[0]
			if a.OK() && a.TLS != c.want || !a.OK() && !strings.HasPrefix(a.String(), c.want) {
				t.Errorf("%+v, want %s", a, c.want)
			}
			if got := len(s.mails); got == 1 != a.OK() {
				t.Errorf("%d mails", got)
			}
			if !a.OK() && !a.Unreached {
				t.Error("another mail would fare no better")
			}
			if !a.OK() { // RFC 8689 section 3: TLS-Required: No
				if a := send(t, l, queue.Mail{AnyTLS: true}, "lee@far.example")[0]; !a.OK() {
					t.Errorf("TLS-Required: No: %+v", a)
				}
				if a := send(t, l, queue.Mail{}, "lee@far.example")[0]; a.OK() {
					t.Error("the next mail went over the connection of one that asks for no policy")
				}
			}
		})
	}
	s := (&server{tls: good}).start(t)
	l := remote(one(s)).Lane("far.example")
	defer l.Close()
	if a := send(t, l, queue.Mail{RequireTLS: true}, "lee@far.example")[0]; a.Status() != "5.7.30" {
		t.Errorf("REQUIRETLS to a server that proves nothing: %+v", a)
	}
}

// TestServers: the servers of a domain are tried in order; what DNS says is obeyed.
func TestServers(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	angry := (&server{greeting: "554 go away"}).start(t)
	w := &world{mx: map[string][]*net.MX{
		"two.example":  {{Host: "b.example.", Pref: 20}, {Host: "a.example.", Pref: 10}, {Host: "c.example.", Pref: 15}},
		"null.example": {{Host: "."}},
		"away.example": {{Host: "c.example."}},
	}, server: map[string]*server{"a.example": angry, "b.example": s, "bare.example": s}}
	for domain, want := range map[string]string{
		"two.example": "250", "bare.example": "250", "null.example": "556 5.1.10", "away.example": "451 4.4.1",
	} {
		l := remote(w).Lane(domain)
		a := send(t, l, queue.Mail{}, "lee@"+domain)[0]
		l.Close()
		if !strings.HasPrefix(a.String(), want) {
			t.Errorf("%s: %v, want %s", domain, a, want)
		}
	}
	for want, err := range map[string]error{
		"550 5.1.2": &net.DNSError{IsNotFound: true}, "451 4.4.3": &net.DNSError{IsTimeout: true},
	} {
		l := remote(&world{err: err}).Lane("far.example")
		if a := send(t, l, queue.Mail{}, "lee@far.example")[0]; !strings.HasPrefix(a.String(), want) || !a.Unreached {
			t.Errorf("DNS says %v: %v", err, a)
		}
	}
}

// TestFlood: a server that talks for ever is left.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := (&server{greeting: strings.Repeat("220-"+strings.Repeat("x", 1000)+"\n", 1000) + "220 x"}).start(t)
	l := remote(one(s)).Lane("far.example")
	defer l.Close()
	if a := send(t, l, queue.Mail{}, "lee@far.example")[0]; a.Code != 451 || !strings.Contains(a.Text, "too long") {
		t.Errorf("%+v", a)
	}
}

// TestReverse: IPv6 is used while its reverse name leads back; it is asked once an hour.
func TestReverse(t *testing.T) {
	t.Parallel()
	own := netip.MustParseAddr("2001:db8::1")
	asked := 0
	var logged strings.Builder
	r := &Reverse{Log: slog.New(slog.NewTextHandler(&logged, nil)), Own: func() (netip.Addr, error) { return own, nil },
		LookupAddr: func(context.Context, string) ([]string, error) {
			asked++
			return []string{"mx.mall.example."}, nil
		}}
	for back, want := range map[string]bool{"2001:db8::1": true, "2001:db8::2": false, "192.0.2.1": false} {
		r.LookupHost = func(context.Context, string) ([]string, error) { return []string{back}, nil }
		r.asked, asked = time.Time{}, 0
		for range 2 {
			if r.Usable(t.Context()) != want {
				t.Errorf("the name leads to %s: want %v", back, want)
			}
		}
		if asked != 1 {
			t.Errorf("the name leads to %s: asked %d times", back, asked)
		}
	}
	if !strings.Contains(logged.String(), "does not lead back") {
		t.Errorf("the log is %q", &logged)
	}
	var none *Reverse
	if !none.Usable(t.Context()) {
		t.Error("without a check IPv6 is used")
	}
}
