// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay/frame"
)

const patience = 8 * time.Second

// upgraded serves WebSockets, and gives the server's side of each.
func upgraded(t *testing.T) (addr string, conns chan Conn) {
	conns = make(chan Conn, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Upgrade(w, r, netip.MustParseAddr("127.0.0.1")); err == nil {
			conns <- c
		}
	}))
	srv.Listener = noWaitListener{srv.Listener}
	srv.Start()
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), conns
}

// noWaitListener is a listener as package web's.
type noWaitListener struct{ net.Listener }

func (l noWaitListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NoWait(c), nil
}

// Somebody else's client, with fragments, pings and every size of header.
func TestSocketWithAnotherClient(t *testing.T) {
	t.Parallel()
	addr, conns := upgraded(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	s := <-conns
	for _, n := range []int{0, 1, 125, 126, 4096, 65535, frame.MaxFrame} {
		msg := bytes.Repeat([]byte{'a'}, n)
		for i := range msg {
			msg[i] = byte('a' + i%23)
		}
		go func() {
			w, _ := c.Writer(ctx, websocket.MessageText) // a fragment a Write
			w.Write(msg[:n/3])
			w.Write(msg[n/3:])
			w.Close()
		}()
		got, err := s.Read(ctx)
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("%d octets came as %d: %v", n, len(got), err)
		}
		go s.Write(ctx, msg, msg)
		for range 2 {
			if _, back, err := c.Read(ctx); err != nil || !bytes.Equal(back, msg) {
				t.Fatalf("%d octets went as %d: %v", n, len(back), err)
			}
		}
	}
	read := make(chan error, 1)
	go func() { _, err := s.Read(ctx); read <- err }()
	go c.Read(ctx) // takes the pong
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Write(ctx, websocket.MessageText, make([]byte, frame.MaxFrame+1)); err != nil {
		t.Error(err)
	}
	if err := <-read; !errors.Is(err, ErrTooLarge) {
		t.Errorf("a frame too large: %v", err)
	}
}

func TestSocketClose(t *testing.T) {
	t.Parallel()
	addr, conns := upgraded(t)
	for _, ours := range []bool{true, false} {
		c, _, err := websocket.Dial(t.Context(), "ws://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := <-conns
		if !ours {
			go c.Close(websocket.StatusNormalClosure, "")
			if _, err := s.Read(t.Context()); err != io.EOF {
				t.Errorf("after a close: %v", err)
			}
			s.Close("over")
			continue
		}
		// What the server has not read must not cost the client its last frame.
		c.Write(t.Context(), websocket.MessageText, []byte("unread"))
		s.Write(t.Context(), []byte("last"))
		go s.Close("over")
		if _, b, err := c.Read(t.Context()); err != nil || string(b) != "last" {
			t.Errorf("%q, %v", b, err)
		}
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
			t.Errorf("the client saw %v", err)
		}
	}
}

// TestSocketProtocol: what breaks the protocol ends the connection.
func TestSocketProtocol(t *testing.T) {
	t.Parallel()
	addr, conns := upgraded(t)
	for name, raw := range map[string]string{
		"no mask":           "\x81\x01a",
		"reserved bit":      "\xc1\x80\x00\x00\x00\x00",
		"unknown opcode":    "\x83\x80\x00\x00\x00\x00",
		"stray fragment":    "\x80\x80\x00\x00\x00\x00",
		"text in fragment":  "\x01\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00",
		"split ping":        "\x09\x80\x00\x00\x00\x00",
		"large ping":        "\x89\xfe\x00\x7e\x00\x00\x00\x00",
		"huge frame":        "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"no fragments' end": "\x01\x80\x00\x00\x00\x00" + strings.Repeat("\x00\x80\x00\x00\x00\x00", maxFragments),
		"huge fragment":     "\x01\x81\x00\x00\x00\x00a\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"many pings":        strings.Repeat("\x89\x80\x00\x00\x00\x00", maxControl+1),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// The first frame comes together with the handshake.
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"+
			"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
			"\x81\x82\x01\x02\x03\x04ik"+raw)
		s := <-conns
		defer s.Close("over")
		if b, err := s.Read(Within(patience)); err != nil || string(b) != "hi" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if b, err := s.Read(Within(patience)); !errors.Is(err, errSocket) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// A message may come in fragments, also in empty ones, as some clients send them.
// Each costs its own octets, and their number is bounded (TestSocketProtocol).
func TestSocketFragments(t *testing.T) {
	in := "\x01\x80\x00\x00\x00\x00" +
		strings.Repeat("\x00\x81\x00\x00\x00\x00a", maxFragments-2) + "\x80\x80\x00\x00\x00\x00"
	s := &socket{in: source{r: strings.NewReader(in)}}
	if b, err := s.message(); err != nil || len(b) != maxFragments-2 {
		t.Fatalf("%d octets, %v", len(b), err)
	}
	// A large message, then fragments of nothing: they do not copy it.
	size := frame.MaxFrame - 1
	large := append(binary.BigEndian.AppendUint16([]byte{0x01, 0x80 | 126}, uint16(size)), make([]byte, 4+size)...)
	large = append(large, strings.Repeat("\x00\x80\x00\x00\x00\x00", maxFragments-2)+"\x80\x80\x00\x00\x00\x00"...)
	allocated := testing.AllocsPerRun(10, func() {
		s := &socket{in: source{r: bytes.NewReader(large)}}
		if b, err := s.message(); err != nil || len(b) != size {
			t.Fatalf("%d octets, %v", len(b), err)
		}
	})
	if allocated > 5 {
		t.Errorf("%v allocations for one message", allocated)
	}
}

func TestSocketHandshake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header string
		status int
	}{
		{"", http.StatusUpgradeRequired},
		{"Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 8\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", http.StatusUpgradeRequired},
		{"Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n" +
			"Sec-WebSocket-Key: c2hvcnQ=", http.StatusBadRequest},
	} {
		r := httptest.NewRequest("GET", "/chat", nil)
		for line := range strings.SplitSeq(c.header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Set(name, value)
			}
		}
		w := httptest.NewRecorder()
		if _, err := Upgrade(w, r, netip.Addr{}); err == nil || w.Code != c.status {
			t.Errorf("%q: %d, %v", c.header, w.Code, err)
		}
	}
}

// A read that is asked to end does, and the deadline of a context counts.
func TestReadObeysContext(t *testing.T) {
	t.Parallel()
	addr, conns := upgraded(t)
	for range 2 {
		c, _, err := websocket.Dial(t.Context(), "ws://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
	}
	if _, err := (<-conns).Read(Within(20 * time.Millisecond)); !isTimeout(err) {
		t.Error(err)
	}
}

// Writing does not wait for a reader that does not read, and loses nothing.
func TestSpill(t *testing.T) {
	t.Parallel()
	addr, conns := upgraded(t)
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	s := (<-conns).(*socket)
	sent := 0
	for ; ; sent++ { // as much as the system takes, and one more that it does not take whole
		ok, err := s.tryWrite(fmt.Appendf(nil, "%d %s", sent, strings.Repeat("x", 60000)))
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
	}
	done := make(chan error, 1)
	go func() { done <- s.Write(Within(patience), []byte("last")) }()
	c.SetReadLimit(-1)
	for i := range sent + 1 {
		_, b, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%d ", i)
		if i < sent && !strings.HasPrefix(string(b), want) || i == sent && string(b) != "last" {
			t.Fatalf("%.10q at %d", b, i)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if ok, err := s.tryWrite([]byte("again")); !ok || err != nil {
		t.Errorf("afterwards: %v, %v", ok, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestSource(t *testing.T) {
	t.Parallel()
	want := make([]byte, 5000)
	for i := range want {
		want[i] = byte(i * 7)
	}
	s := &source{r: iotest.HalfReader(bytes.NewReader(want))}
	var got []byte
	for n := 1; len(got) < len(want); n = n*5%97 + 1 {
		n = min(n, len(want)-len(got))
		if n <= 14 {
			b, err := s.peek(n)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
			s.skip(n)
			continue
		}
		b := make([]byte, n)
		if err := s.full(b); err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, want) {
		t.Error("it came otherwise than it went")
	}
	if _, err := s.peek(1); err != io.EOF {
		t.Errorf("at its end: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, []byte(`{"t":"ping"}`)))
	f.Add([]byte{0xc0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(&source{r: bytes.NewReader(b)})
		if err != nil {
			return
		}
		again, err := readFrame(&source{r: bytes.NewReader(appendFrame(nil, got))})
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q came back as %q, %v", got, again, err)
		}
	})
}

// FuzzSocket: whatever a client sends is read as frames or ends the connection.
func FuzzSocket(f *testing.F) {
	f.Add([]byte("\x81\x82\x01\x02\x03\x04ik"))
	f.Add([]byte("\x01\x80\x00\x00\x00\x00\x89\x80\x00\x00\x00\x00\x80\x80\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go io.Copy(io.Discard, theirs)
		s := &socket{c: ours, in: source{r: bytes.NewReader(b)}}
		for {
			msg, err := s.Read(Within(patience))
			if err != nil {
				break
			}
			if len(msg) > frame.MaxFrame {
				t.Fatalf("a frame of %d octets", len(msg))
			}
		}
		s.gone.Store(true)
		s.Close("")
	})
}
