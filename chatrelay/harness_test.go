// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
)

const patience = 8 * time.Second

type outMail struct {
	mu    sync.Mutex
	mails []chat.ServerMail
	fail  bool
	tries int // that failed
}

func (o *outMail) Send(_ context.Context, m chat.ServerMail) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail {
		o.tries++
		return errors.New("the mail system is away")
	}
	o.mails = append(o.mails, m)
	return nil
}

func (o *outMail) all() []chat.ServerMail {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.mails)
}

// world is a relay with a real store, presence, and front door.
type world struct {
	t     testing.TB
	relay *Relay
	rooms *store.Store
	dir   presence.Directory
	mail  *outMail
	redis *testpart.Server // of several relays
	web   *httptest.Server
	host  string // login
	token string // Kim's link
	cc    string // Lee's link
	room  string
	store faultyStore
	keep  bool // programs keep what is said
}

// faultyStore is a store in which this relay's heartbeats may stop, and reads fail.
type faultyStore struct {
	*store.Store
	mu      sync.Mutex
	stopped chan struct{} // they wait until it is closed, as those of a process that stands still
	lost    error         // they fail
	failing string        // ID of a message that cannot be stored
	fails   int           // so many reads of messages and settings do
}

func (b *faultyStore) failReads(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = n
}

func (b *faultyStore) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails--; b.fails >= 0 {
		return errors.New("this read fails")
	}
	return nil
}

// failAppend makes the message with an ID fail, once.
func (b *faultyStore) failAppend(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failing = id
}

func (b *faultyStore) AppendThen(
	ctx context.Context, home, roomID string, m chat.Message, then func(chat.Message, error),
) {
	b.mu.Lock()
	fails := m.ID == b.failing && m.ID != ""
	if fails {
		b.failing = ""
	}
	b.mu.Unlock()
	if fails {
		then(chat.Message{}, errors.New("this write fails"))
		return
	}
	b.Store.AppendThen(ctx, home, roomID, m, then)
}

func (b *faultyStore) Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error) {
	if err := b.failed(); err != nil {
		return nil, err
	}
	return b.Store.Messages(ctx, roomID, after, limit)
}

func (b *faultyStore) Settings(ctx context.Context, logins ...string) (map[string]chat.Settings, error) {
	if err := b.failed(); err != nil {
		of := map[string]chat.Settings{}
		for _, login := range logins {
			of[login] = chat.DefaultSettings()
		}
		return of, err
	}
	return b.Store.Settings(ctx, logins...)
}

func (b *faultyStore) Beat(ctx context.Context, r chat.Relay) error {
	b.mu.Lock()
	stopped, lost := b.stopped, b.lost
	b.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	if lost != nil {
		return lost
	}
	return b.Store.Beat(ctx, r)
}

// stall makes the heartbeats stop until the test ends.
func (w *world) stall() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	stopped := make(chan struct{})
	w.store.stopped = stopped
	w.t.Cleanup(func() { close(stopped) })
}

// loseDatabase makes the heartbeats fail, or go well again.
func (w *world) loseDatabase(err error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.lost = err
}

func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	dir, err := local.Open(local.Options{Ranges: presence.HostRanges{{Host: "localhost", Range: freeRange(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return build(t, "sqlite:"+filepath.Join(t.TempDir(), "rooms.db"), dir, change).open()
}

// build starts a relay with its front door.
func build(t testing.TB, dsn string, dir presence.Directory, change func(*Options)) *world {
	t.Helper()
	rooms, err := store.Open(t.Context(), store.Options{DSN: dsn, LoginOf: func(a string) string {
		if strings.HasSuffix(a, "@mall.example") {
			return a
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rooms.Close() })
	w := &world{t: t, rooms: rooms, dir: dir, mail: &outMail{}, host: "host@mall.example"}
	w.store.Store = rooms
	mux := http.NewServeMux()
	w.web = httptest.NewUnstartedServer(mux)
	w.web.Listener = spilling{w.web.Listener}
	w.web.Start()
	t.Cleanup(w.web.Close)
	opt := Options{Host: dir.RelayHost(), Binds: map[string]netip.Addr{"": netip.MustParseAddr("127.0.0.1")},
		WebBase:  w.web.URL,
		Presence: dir, Rooms: &w.store, Mailer: w.mail, Rings: 3, Interval: 100 * time.Millisecond,
		Key:      bytes.Repeat([]byte{7}, 32),
		StateDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)).With("host", dir.RelayHost())}
	if change != nil {
		change(&opt)
	}
	if w.relay, err = New(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.relay.Close(); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/chat", func(rw http.ResponseWriter, r *http.Request) {
		if c, err := carrier.Upgrade(rw, r, netip.MustParseAddr("127.0.0.1")); err == nil {
			w.relay.ServeRoom(r.Context(), c)
		}
	})
	mux.HandleFunc("/device/{id}", func(rw http.ResponseWriter, r *http.Request) {
		if c, err := carrier.Upgrade(rw, r, netip.MustParseAddr("127.0.0.1")); err == nil {
			d := presence.Device{ID: r.PathValue("id"), Login: cmp.Or(r.FormValue("login"), w.host),
				Source: presence.Source(cmp.Or(r.FormValue("source"), string(presence.Desk))),
				IP:     netip.MustParseAddr("127.0.0.1")}
			w.relay.ServeDevice(r.Context(), signedIn(d.Login, r.PathValue("id")), d, c)
		}
	})
	return w
}

// open sends the mail with which the tests begin.
func (w *world) open() *world {
	w.t.Helper()
	o, err := w.rooms.OpenFromMail(w.t.Context(), chat.Mail{MessageID: "m1@mall.example",
		Sender:     chat.Person{Login: w.host, Addr: w.host, Name: "Host"},
		Recipients: []chat.Person{{Addr: "kim@far.example", Name: "Kim"}, {Addr: "lee@far.example", Name: "Lee"}},
		Subject:    "Order 7", Date: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.room, w.token, w.cc = o.Room, o.Invites["kim@far.example"], o.Invites["lee@far.example"]
	return w
}

// spilling is a listener as package web's.
type spilling struct{ net.Listener }

func (s spilling) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.(*net.TCPConn).SetWriteBuffer(64 << 10) // so that a slow reader is soon behind
	return carrier.NoWait(c), nil
}

// freeRange is ten UDP ports that nobody has.
func freeRange(t testing.TB) presence.Range {
	t.Helper()
	for range 50 {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lo := c.LocalAddr().(*net.UDPAddr).Port
		c.Close()
		if lo < 60000 && lo > 1024 && !slices.ContainsFunc([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, func(i int) bool {
			if presence.BadPort(lo + i) {
				return true
			}
			c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", lo+i))
			if err == nil {
				c.Close()
			}
			return err != nil
		}) {
			return presence.Range{Lo: lo, Hi: lo + 9}
		}
	}
	t.Fatal("no free UDP ports")
	return presence.Range{}
}

func claimOf(n byte) string { return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{n}, 16)) }

func (w *world) chat(token string, n byte) Entry {
	w.t.Helper()
	e, err := w.relay.Chat(w.t.Context(), token, claimOf(n), Claim{Shown: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// proven lets a browser in that has proven whose link it is.
func (w *world) proven(token string, n byte) Entry {
	w.t.Helper()
	code, _, err := w.rooms.NewCode(w.t.Context(), token)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := w.relay.Chat(w.t.Context(), token, claimOf(n), Claim{Code: code})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) desk() Entry {
	w.t.Helper()
	e, err := w.relay.Enter(w.t.Context(), signedIn(w.host, ""), w.room)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// client is one connection of a person.
type client struct {
	t    testing.TB
	c    carrier.Conn
	ctx  context.Context
	seen []*frame.Frame // everything received
}

func (w *world) socket(path string) *client {
	w.t.Helper()
	return w.dial("ws" + strings.TrimPrefix(w.web.URL, "http") + path)
}

func (w *world) dial(url string) *client {
	w.t.Helper()
	c, err := dial(w.t.Context(), url)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close("test") })
	return &client{t: w.t, c: c, ctx: w.t.Context()}
}

func dial(ctx context.Context, url string) (carrier.Conn, error) {
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	return WebSocket(c, netip.Addr{}), nil
}

// pinned checks a server's certificate as a browser with its hash does.
func pinned(hashes []string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			sum := sha256.Sum256(raw[0])
			crt, err := x509.ParseCertificate(raw[0])
			if err != nil {
				return err
			}
			if !slices.Contains(hashes, base64.StdEncoding.EncodeToString(sum[:])) ||
				crt.NotAfter.Sub(crt.NotBefore) >= 14*24*time.Hour {
				return errors.New("a browser would not take this certificate")
			}
			return nil
		}}
}

func (w *world) webTransport(e Entry) *client {
	w.t.Helper()
	if e.Endpoints[0].Carrier != carrier.WebTransport {
		w.t.Fatalf("endpoints %+v", e.Endpoints)
	}
	conf := pinned(e.Endpoints[0].Hashes)
	conf.NextProtos = []string{"h3"}
	tr := &webtransport.Transport{TLSClientConfig: conf,
		QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
		Config:     &webtransport.Config{MaxIncomingStreams: 4, MaxIncomingData: 1 << 20}}
	w.t.Cleanup(func() { tr.Close() })
	_, s, err := tr.Dial(w.t.Context(), e.Endpoints[0].URL, http.Header{"Origin": {w.web.URL}})
	if err != nil {
		w.t.Fatal(err)
	}
	stream, err := s.OpenStreamSync(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	c := carrier.OverStream(stream, carrier.WebTransport, e.Endpoints[0].Port, netip.Addr{},
		func(r string) error { return s.CloseWithError(0, r) })
	w.t.Cleanup(func() { c.Close("test") })
	return &client{t: w.t, c: c, ctx: w.t.Context()}
}

func (c *client) send(f frame.Frame) {
	c.t.Helper()
	if err := c.c.Write(c.ctx, frame.Encode(&f)); err != nil {
		c.t.Fatalf("sending %s: %v", f.T, err)
	}
}

// until reads until a frame fits.
func (c *client) until(what string, fits func(*frame.Frame) bool) *frame.Frame {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	for {
		b, err := c.c.Read(ctx)
		if err != nil {
			c.t.Fatalf("waiting for %s: %v; received %s", what, err, c.types())
		}
		f, err := frame.Decode(b)
		if err != nil {
			c.t.Fatal(err)
		}
		c.seen = append(c.seen, f)
		if fits(f) {
			return f
		}
	}
}

func (c *client) types() (list []string) {
	for _, f := range c.seen {
		list = append(list, f.T+f.Code)
	}
	return list
}

func (c *client) typ(t string) *frame.Frame {
	c.t.Helper()
	return c.until(t, func(f *frame.Frame) bool { return f.T == t })
}

func (c *client) state(s string) *frame.Frame {
	c.t.Helper()
	return c.until("state "+s, func(f *frame.Frame) bool { return f.T == frame.TState && f.Attempt.State == s })
}

func (c *client) text(s string) *frame.Frame {
	c.t.Helper()
	return c.until("message "+s, func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Text == s })
}

func (c *client) fault(code string) {
	c.t.Helper()
	f := c.typ(frame.TError)
	if f.Code != code || !f.Fatal {
		c.t.Fatalf("error %+v, want %s", f, code)
	}
}

func (w *world) in(e Entry, hello frame.Frame) *client {
	w.t.Helper()
	c := w.socket("/chat")
	hello.T, hello.Ticket = frame.THello, e.Ticket
	c.send(hello)
	return c
}

func (w *world) device(id string) *client {
	w.t.Helper()
	d := w.socket("/device/" + id)
	d.send(frame.Frame{T: frame.THello})
	d.typ(frame.TWelcome)
	return d
}

// signedIn is a session that begins now.
func signedIn(login, id string) chat.Session {
	return chat.Session{Login: login, ID: id, Began: time.Now()}
}

// socketOf is the WebSocket among the ways to a relay.
func socketOf(list []frame.Endpoint) string {
	for _, e := range list {
		if e.Carrier == carrier.WebSocket {
			return e.URL
		}
	}
	return ""
}
