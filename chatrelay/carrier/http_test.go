// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// streaming serves connections over HTTP, and gives the server's side of each.
func streaming(t *testing.T, change func(*httptest.Server)) (*httptest.Server, *Streams, chan Conn) {
	streams, conns := &Streams{}, make(chan Conn, 8)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			streams.Post(w, r)
			return
		}
		c, err := streams.Open(w, r, netip.MustParseAddr("192.0.2.1"))
		if err != nil {
			return
		}
		conns <- c
		<-c.(*stream).done
	}))
	srv.Config.WriteTimeout, srv.Config.ReadTimeout = 300*time.Millisecond, 300*time.Millisecond
	change(srv)
	t.Cleanup(srv.Close)
	return srv, streams, conns
}

// events opens a stream as a page does, and returns its events without "data: ".
func events(t *testing.T, srv *httptest.Server) (id string, next func() string, end context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close() })
	if kind := res.Header.Get("Content-Type"); res.StatusCode != 200 || kind != "text/event-stream" ||
		res.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d, %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	next = func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return "the end"
	}
	return next(), next, cancel
}

func post(t *testing.T, srv *httptest.Server, id string, n int, body string) int {
	t.Helper()
	res, err := srv.Client().Post(fmt.Sprintf("%s?c=%s&n=%d", srv.URL, id, n), "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// Frames go both ways for longer than a request may take, in their order, each once.
func TestStream(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){
		"HTTP/1.1": (*httptest.Server).Start,
		"HTTP/2":   func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, _, conns := streaming(t, start)
			id, next, end := events(t, srv)
			c := <-conns
			if c.Carrier() != HTTP || c.Port() != 0 || c.RemoteIP().String() != "192.0.2.1" {
				t.Errorf("%s, port %d, from %v", c.Carrier(), c.Port(), c.RemoteIP())
			}
			time.Sleep(2 * srv.Config.WriteTimeout)
			if err := c.Write(Within(patience), []byte(`{"t":"a"}`), []byte(`{"t":"b"}`)); err != nil {
				t.Fatal(err)
			}
			if a, b := next(), next(); a != `{"t":"a"}` || b != `{"t":"b"}` {
				t.Errorf("%s, %s", a, b)
			}
			for n, body := range []string{1: "1\n2\n", 2: "3"} {
				if n > 0 && post(t, srv, id, n, body) != http.StatusNoContent {
					t.Fatalf("POST %d was not taken", n)
				}
			}
			if code := post(t, srv, id, 2, "3"); code != http.StatusNoContent { // its answer was lost
				t.Errorf("a repeated POST: %d", code)
			}
			if code := post(t, srv, id, 4, "5"); code != http.StatusConflict {
				t.Errorf("a POST before its time: %d", code)
			}
			for _, want := range []string{"1", "2", "3"} {
				if f, err := c.Read(Within(patience)); err != nil || string(f) != want {
					t.Errorf("%q, %v; want %s", f, err, want)
				}
			}
			if _, err := c.Read(Within(time.Millisecond)); err == nil {
				t.Error("a frame came twice")
			}
			end()
			if _, err := c.Read(Within(patience)); err == nil {
				t.Error("the client is gone, and that is not known")
			}
			if code := post(t, srv, id, 3, "6"); code != http.StatusNotFound {
				t.Errorf("a POST after the end: %d", code)
			}
		})
	}
}

// What is too large or too slow ends its connection, and nothing else.
func TestStreamLimits(t *testing.T) {
	t.Parallel()
	srv, streams, conns := streaming(t, (*httptest.Server).Start)
	id, next, _ := events(t, srv)
	c := <-conns
	if code := post(t, srv, id, 1, strings.Repeat("x", maxPost+1)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large POST: %d", code)
	}
	if code := post(t, srv, id, 1, strings.Repeat("x", frame.MaxFrame+1)); code != http.StatusNoContent {
		t.Errorf("a large frame: %d", code)
	}
	if _, err := c.Read(Within(patience)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large frame: %v", err)
	}
	if code := post(t, srv, "another", 1, "x"); code != http.StatusNotFound {
		t.Errorf("a POST to nobody: %d", code)
	}
	c.Close("over")
	if last := next(); last != "the end" {
		t.Errorf("after the end: %s", last)
	}
	if err := c.Write(Within(patience), []byte("x")); err == nil {
		t.Error("a closed connection takes frames")
	}
	if len(streams.of)+len(streams.from) != 0 {
		t.Errorf("left: %v, %v", streams.of, streams.from)
	}
	for range maxStreamsPrefix {
		if !streams.add(&stream{id: fmt.Sprint(len(streams.of)), remote: netip.MustParseAddr("192.0.2.1")}) {
			t.Fatalf("refused after %d", len(streams.of))
		}
	}
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("beyond the most of a prefix: %d", res.StatusCode)
	}
	if !streams.add(&stream{id: "other", remote: netip.MustParseAddr("203.0.113.1")}) {
		t.Error("another prefix is refused too")
	}
}

// TestPostsAtOnce: a connection that does not read holds a few POSTs, and refuses more.
func TestPostsAtOnce(t *testing.T) {
	t.Parallel()
	var all Streams
	s := &stream{t: &all, id: "c", in: make(chan []byte), done: make(chan struct{})}
	all.of = map[string]*stream{s.id: s}
	s.posts.Store(maxPosts)
	w := httptest.NewRecorder()
	all.Post(w, httptest.NewRequest(http.MethodPost, StreamPath+"?c=c&n=1", strings.NewReader("{}")))
	if w.Code != http.StatusTooManyRequests || s.posts.Load() != maxPosts {
		t.Errorf("status %d, %d under way", w.Code, s.posts.Load())
	}
}
