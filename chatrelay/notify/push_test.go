// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (s *settings) Setting(_ context.Context, key string, make func() ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.m[key]; ok {
		return v, nil
	}
	v, err := make()
	s.m = map[string][]byte{key: v}
	return v, err
}

// ended is how a push ended.
type ended struct {
	login string
	note  Note
	err   error
}

type harness struct {
	*pusher
	t     *testing.T
	subs  *memory
	ended chan ended
}

func start(t *testing.T, s *service, anywhere bool) *harness {
	t.Helper()
	h := &harness{t: t, subs: new(memory), ended: make(chan ended, 10000)}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	p, err := newPusher(pusherOptions{
		Keys: s.keys, Contact: "postmaster@mall.example", Store: h.subs, Anywhere: anywhere,
		TLS:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
		Report: func(login string, n Note, err error) { h.ended <- ended{login, n, err} },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.pusher = p
	t.Cleanup(p.Close)
	return h
}

func (h *harness) put(login string, s Subscription) {
	h.t.Helper()
	if err := s.Check(); err != nil {
		h.t.Fatal(err)
	}
	if err := h.subs.PutSubscription(h.t.Context(), login, s.stored(), PerLogin); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) send(login string, n Note) {
	h.t.Helper()
	if _, err := h.Send(h.t.Context(), login, n); err != nil {
		h.t.Fatal(err)
	}
}

func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

func ring(room, from string) Note {
	return Note{Kind: Ring, Room: room, Attempt: "a1", From: from, Subject: "<주문> & “order”", URL: "/desk#" + room,
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Caller: from}
}

func TestSend(t *testing.T) {
	t.Parallel()
	s := newService(t)
	h := start(t, s, true)
	h.put("host", s.browser("/1").sub)
	h.put("host", s.browser("/2").sub)
	h.put("other", s.browser("/3").sub)
	sent := ring("r1", "Mina")
	if n, err := h.Send(t.Context(), "host", sent); n != 2 || err != nil {
		t.Fatalf("Send: %d, %v", n, err)
	}
	paths := map[string]bool{}
	for range 2 {
		got := wait(t, s.got)
		paths[got.path] = true
		want := sent
		want.Caller = ""
		if got.note != want {
			t.Errorf("got %+v, want %+v", got.note, want)
		}
		ttl, err := strconv.Atoi(got.ttl)
		if got.urgency != "high" || len(got.topic) != 32 || err != nil || ttl < 30 || ttl > 60 {
			t.Errorf("urgency %q, topic %q, TTL %q", got.urgency, got.topic, got.ttl)
		}
		if e := wait(t, h.ended); e.err != nil || e.login != "host" {
			t.Errorf("ended %+v", e)
		}
	}
	if !paths["/1"] || !paths["/2"] {
		t.Errorf("pushed to %v", paths)
	}
	if n, err := h.Send(t.Context(), "nobody", sent); n != 0 || err != nil {
		t.Errorf("to nobody: %d, %v", n, err)
	}

	ends := sent
	ends.Kind = End
	h.send("other", ends)
	end := wait(t, s.got)
	if end.urgency != "low" || end.topic != ends.topic() || ends.topic() != sent.topic() {
		t.Errorf("the end of a ring: %+v", end)
	}
	h.send("other", Note{Kind: Message, Room: "r2", Caller: "Mina"})
	if m := wait(t, s.got); m.urgency != "normal" || m.topic == end.topic {
		t.Errorf("a message: %+v", m)
	}
}

func TestPayload(t *testing.T) {
	t.Parallel()
	for _, fill := range []string{"x", "가", "😀", "\"", "\x01", "<"} {
		n := ring("r", strings.Repeat(fill, 5000))
		n.Subject = strings.Repeat(fill, 5000)
		b, err := n.payload()
		var back Note
		if err != nil || len(b) > MaxPayload || json.Unmarshal(b, &back) != nil ||
			back.From == "" || back.Subject == "" ||
			!strings.HasPrefix(n.From, back.From) || !strings.HasPrefix(n.Subject, back.Subject) {
			t.Errorf("%q: %d octets, %v", fill, len(b), err)
		}
	}
	n := ring("r", "Mina")
	n.URL = strings.Repeat("x", MaxPayload)
	if _, err := n.payload(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long URL: %v", err)
	}
}

// TestCollapse holds the service's answer back while more is sent.
func TestCollapse(t *testing.T) {
	t.Parallel()
	s := newService(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	first := true
	s.answer = func(w http.ResponseWriter, got pushed) {
		if first {
			first = false
			close(arrived)
			<-release
		}
		w.WriteHeader(http.StatusCreated)
	}
	h := start(t, s, true)
	h.put("host", s.browser("/1").sub)
	h.send("host", ring("r1", "Mina"))
	wait(t, arrived)
	const more = 50
	for i := range more {
		n := ring("r1", "Mina")
		n.Attempt = fmt.Sprint("again", i)
		h.send("host", n)
	}
	last := ring("r1", "Mina")
	last.Kind = End
	h.send("host", last)
	close(release)
	if got := wait(t, s.got); got.note.Kind != Ring || got.note.Attempt != "a1" {
		t.Errorf("first %+v", got.note)
	}
	if got := wait(t, s.got); got.note.Kind != End {
		t.Errorf("then %+v", got.note)
	}
	replaced, sent := 0, 0
	for range more + 2 {
		switch e := wait(t, h.ended); {
		case errors.Is(e.err, ErrReplaced):
			replaced++
		case e.err == nil:
			sent++
		default:
			t.Error(e.err)
		}
	}
	if replaced != more || sent != 2 {
		t.Errorf("%d replaced, %d sent", replaced, sent)
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusNotFound, http.StatusGone} {
		s := newService(t)
		s.answer = func(w http.ResponseWriter, _ pushed) { w.WriteHeader(code) }
		h := start(t, s, true)
		h.put("host", s.browser("/1").sub)
		h.send("host", ring("r1", "Mina"))
		if e := wait(t, h.ended); !errors.Is(e.err, ErrGone) {
			t.Errorf("%d: %v", code, e.err)
		}
		if subs, _ := h.subs.Subscriptions(t.Context(), "host"); len(subs) != 0 {
			t.Errorf("%d: %d subscriptions are left", code, len(subs))
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	s := newService(t)
	var at []time.Time // the service serves one request of a key at a time
	s.answer = func(w http.ResponseWriter, _ pushed) {
		at = append(at, time.Now())
		if len(at) == 1 {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}
	h := start(t, s, true)
	h.put("host", s.browser("/1").sub)
	h.send("host", ring("r1", "Mina"))
	if e := wait(t, h.ended); e.err != nil {
		t.Errorf("ended %v", e.err)
	}
	if len(at) != 2 || at[1].Sub(at[0]) < 2*time.Second {
		t.Errorf("tried at %v", at)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code  int
		retry string
		want  error
	}{
		"forbidden":        {http.StatusForbidden, "", ErrRefused},
		"too large":        {http.StatusRequestEntityTooLarge, "", ErrRefused},
		"a redirect":       {http.StatusTemporaryRedirect, "", ErrRefused},
		"waits beyond TTL": {http.StatusServiceUnavailable, "3600", ErrGivenUp},
		"until beyond TTL": {http.StatusTooManyRequests,
			time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), ErrGivenUp},
		"waits for a never": {http.StatusTooManyRequests, "2147483647", ErrGivenUp},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			s.answer = func(w http.ResponseWriter, _ pushed) {
				w.Header().Set("Retry-After", c.retry)
				w.Header().Set("Location", s.URL+"/elsewhere")
				w.WriteHeader(c.code)
			}
			h := start(t, s, true)
			h.put("host", s.browser("/1").sub)
			h.send("host", ring("r1", "Mina"))
			if e := wait(t, h.ended); !errors.Is(e.err, c.want) || strings.Contains(e.err.Error(), s.URL) {
				t.Errorf("ended %v", e.err)
			}
			if subs, _ := h.subs.Subscriptions(t.Context(), "host"); len(subs) != 1 {
				t.Errorf("%d subscriptions are left", len(subs))
			}
		})
	}
}

// TestNotPublic: without Anywhere the service, on loopback, is never reached,
// under its address or under a name of it.
func TestNotPublic(t *testing.T) {
	t.Parallel()
	s := newService(t)
	h := start(t, s, false)
	for _, host := range []string{s.URL, strings.Replace(s.URL, "127.0.0.1", "localhost", 1),
		"https://[::ffff:127.0.0.1]", "https://169.254.169.254"} {
		h.put(host, newBrowser(t, host+"/1").sub)
		h.send(host, ring("r1", "Mina"))
		e := wait(t, h.ended)
		if !errors.Is(e.err, ErrAddress) {
			t.Errorf("%s: ended %v", host, e.err)
		}
	}
	if len(s.got) != 0 {
		t.Error("the service was reached")
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	s := newService(t)
	stop := make(chan struct{})
	defer close(stop)
	s.answer = func(http.ResponseWriter, pushed) { <-stop }
	h := start(t, s, true)
	const browsers = PerLogin
	for i := range browsers {
		h.put("host", s.browser(fmt.Sprint("/", i)).sub)
	}
	h.send("host", ring("r1", "Mina"))
	h.Close()
	h.Close()
	for range browsers {
		if e := wait(t, h.ended); !errors.Is(e.err, ErrClosed) {
			t.Errorf("ended %v", e.err)
		}
	}
	if _, err := h.Send(t.Context(), "host", ring("r1", "Mina")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	var kept settings
	a, err := LoadKeys(t.Context(), kept.Setting)
	if err != nil {
		t.Fatal(err)
	}
	b, err := LoadKeys(t.Context(), kept.Setting)
	if err != nil || a.Public() != b.Public() || a.secret() != b.secret() || len(a.Public()) != 87 {
		t.Errorf("%v; %q and %q", err, a.Public(), b.Public())
	}
	if s := fmt.Sprintf("%v %s", a, a); strings.Contains(s, a.secret()) {
		t.Error("the private key can be printed")
	}
	kept.m[settingKey] = []byte("damaged")
	if _, err := LoadKeys(t.Context(), kept.Setting); err == nil {
		t.Error("a damaged key was taken")
	}
}
