// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
)

// Streams are connections over plain HTTP, for networks that let neither UDP nor
// WebSockets through. A GET brings frames down as server-sent events, one frame an
// event; POSTs bring frames up. The first event, "open", names the connection
// for the POSTs, which are numbered from 1: a repeated one is taken once.
type Streams struct {
	mu   sync.Mutex
	of   map[string]*stream
	from map[netip.Prefix]int // connections of an address prefix
}

// Limits of a stream; the queues and frames have those of any carrier.
const (
	maxStreams       = 8192
	maxStreamsPrefix = 512       // of one address prefix
	maxPost          = 256 << 10 // octets of one POST
	maxPosts         = 4         // POSTs of one connection at once: a proxy may send one again
	streamFrames     = 64        // of one connection that wait to be read
	postWait         = 10 * time.Second
	// A proxy may hold back the first octets of an answer until there are so many.
	padding = 2 << 10
)

// errRefused: the request was answered, and there is no connection.
var errRefused = errors.New("the request was refused")

// stream is the server's side of one connection.
type stream struct {
	t      *Streams
	id     string
	remote netip.Addr
	in     chan []byte // frames of POSTs
	done   chan struct{}
	stop   func() bool

	posts atomic.Int32 // POSTs under way
	post  sync.Mutex   // held by the POST that brings frames
	last  int64        // number of the last POST taken; under post

	write  sync.Mutex
	w      http.ResponseWriter
	rc     *http.ResponseController
	closed bool // under write
}

// Open answers a GET and makes a connection of it, which lasts until Close or until the client has gone. The caller
// must not return from the handler before the connection is closed. An error says that the request was answered.
func (t *Streams) Open(w http.ResponseWriter, r *http.Request, remote netip.Addr) (Conn, error) {
	s := &stream{t: t, id: rand.Text(), remote: remote, in: make(chan []byte, streamFrames),
		done: make(chan struct{}), w: w, rc: http.NewResponseController(w)}
	if !t.add(s) {
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return nil, errRefused
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx is to pass each event on at once
	// The limits of net/http are for a request that ends.
	s.rc.SetReadDeadline(time.Time{})
	s.write.Lock() // Close uses stop
	s.stop = context.AfterFunc(r.Context(), func() { s.Close("gone") })
	s.write.Unlock()
	open := append(append([]byte(":"), bytes.Repeat([]byte(" "), padding)...), "\n\nevent: open\n"...)
	if err := s.send(Within(writeWait), append(open, "data: "+s.id+"\n\n"...)); err != nil {
		s.Close("gone")
		return nil, errRefused
	}
	return s, nil
}

func (t *Streams) add(s *stream) bool {
	from := limit.Remote(s.remote)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.of) >= maxStreams || from.IsValid() && t.from[from] >= maxStreamsPrefix {
		return false
	}
	if t.of == nil {
		t.of, t.from = map[string]*stream{}, map[netip.Prefix]int{}
	}
	t.of[s.id] = s
	if from.IsValid() {
		t.from[from]++
	}
	return true
}

func (t *Streams) remove(s *stream) {
	from := limit.Remote(s.remote)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, s.id)
	if t.from[from]--; t.from[from] <= 0 {
		delete(t.from, from)
	}
}

// Known says whether a POST is for a connection that is open.
func (t *Streams) Known(r *http.Request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[r.URL.Query().Get("c")] != nil
}

// Post takes the frames of a POST, one a line, for the connection that its parameter c names. Its parameter n is the
// number of the POST. It answers 204 when the frames are in their queue, and 404 when there is no such connection.
func (t *Streams) Post(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t.mu.Lock()
	s := t.of[q.Get("c")]
	t.mu.Unlock()
	n, err := strconv.ParseInt(q.Get("n"), 10, 64)
	if s == nil || err != nil {
		http.Error(w, "there is no such connection", http.StatusNotFound)
		return
	}
	defer s.posts.Add(-1)
	if s.posts.Add(1) > maxPosts {
		http.Error(w, "too many requests at once", http.StatusTooManyRequests)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPost))
	if err != nil {
		http.Error(w, "the frames are too many, or did not come", http.StatusRequestEntityTooLarge)
		return
	}
	switch err := s.take(r.Context(), n, body); err {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// take queues the frames of the POST with number n, unless it was taken before.
func (s *stream) take(ctx context.Context, n int64, body []byte) error {
	s.post.Lock()
	defer s.post.Unlock()
	if n <= s.last {
		return nil
	}
	if n != s.last+1 {
		return errors.New("a request is missing before this one")
	}
	late := time.NewTimer(postWait)
	defer late.Stop()
	for f := range bytes.SplitSeq(body, []byte("\n")) {
		if len(f) == 0 {
			continue
		}
		select {
		case s.in <- f:
			continue
		case <-s.done:
		case <-ctx.Done():
		case <-late.C:
		}
		// Some of the frames were taken: the client comes back, and sends again what was not acknowledged.
		s.Close("too slow")
		return errors.New("the connection does not take frames")
	}
	s.last = n
	return nil
}

// Read returns the next frame.
func (s *stream) Read(ctx context.Context) ([]byte, error) {
	var late <-chan time.Time
	if d, ok := ctx.Deadline(); ok {
		t := time.NewTimer(time.Until(d))
		defer t.Stop()
		late = t.C
	}
	select {
	case f := <-s.in:
		if len(f) > frame.MaxFrame {
			return nil, ErrTooLarge
		}
		return f, nil
	case <-s.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late:
		return nil, os.ErrDeadlineExceeded
	}
}

// Write sends frames as events, which JSON without line breaks can be.
func (s *stream) Write(ctx context.Context, frames ...[]byte) error {
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	b := (*buf)[:0]
	for _, f := range frames {
		b = append(append(append(b, "data: "...), f...), "\n\n"...)
	}
	*buf = b
	return s.send(ctx, b)
}

func (s *stream) send(ctx context.Context, b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	// A proxy may have none of this; what cannot be bounded is bounded by the idle client.
	deadline, _ := ctx.Deadline()
	s.rc.SetWriteDeadline(deadline)
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	return s.rc.SetWriteDeadline(time.Time{}) // with HTTP/2 it would end the stream also while nothing is written
}

// Close ends the connection. It waits for a Write under way, which has a deadline.
func (s *stream) Close(string) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.stop()
	s.t.remove(s)
	close(s.done)
	return nil
}

func (s *stream) Carrier() string      { return HTTP }
func (s *stream) Port() int            { return 0 }
func (s *stream) RemoteIP() netip.Addr { return s.remote }

// StreamURL is the HTTP endpoint beside a WebSocket endpoint.
func StreamURL(socket string) string {
	return "http" + strings.TrimPrefix(socket, "ws") + strings.TrimPrefix(StreamPath, Path)
}
