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
		Keys: s.keys, Contact: "postmaster@mall.example", WebBase: pagesBase, Store: h.subs, Anywhere: anywhere,
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
		want.Caller, want.From = "", ""
		if got.note != want || got.shown.Notification.Title != "Incoming chat: Mina" {
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
	for _, fill := range []string{"x", "가", "😀", "\"", "<"} {
		n := ring("r", strings.Repeat(fill, 5000))
		n.Subject = strings.Repeat(fill, 5000)
		b, err := n.payload("en", pagesBase)
		var back pushMessage
		if err != nil || len(b) > MaxPayload || json.Unmarshal(b, &back) != nil {
			t.Errorf("%q: %d octets, %v", fill, len(b), err)
		}
		if o := back.Notification; !strings.Contains(o.Title, fill) || !strings.HasPrefix(n.Subject, o.Body) ||
			o.Body == "" {
			t.Errorf("%q: %q, %q", fill, o.Title, o.Body)
		}
	}
	n := ring("r", "Mina")
	n.URL = strings.Repeat("x", MaxPayload)
	if _, err := n.payload("en", pagesBase); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long URL: %v", err)
	}
}

// TestDeclarative: a push contains the whole notification, in its browser's language.
func TestDeclarative(t *testing.T) {
	t.Parallel()
	n := ring("r1", "Jun\u202e\u200b")
	n.ByLink = true
	kind := func(kind, why string) Note {
		n := n
		n.Kind, n.Why = kind, why
		return n
	}
	for name, c := range map[string]struct {
		note       Note
		lang       string
		title, tag string
		actions    int
		silent     bool
	}{
		"a ring":            {n, "en", "Incoming chat: Jun, by link", "ring-a1", 2, false},
		"a ring, in Korean": {n, "ko", "대화 요청: Jun님(링크로 접속)", "ring-a1", 2, false},
		"its end":           {kind(End, "elsewhere"), "en", "Jun, by link: answered on another device", "ring-a1", 0, true},
		"cancelled":         {kind(End, "cancelled"), "en", "Jun, by link cancelled", "ring-a1", 0, true},
		"nobody answered":   {kind(End, "unanswered"), "en", "Jun, by link tried to reach you", "ring-a1", 0, true},
		"the alarm":         {kind(Alarm, ""), "en", "Jun, by link tried to reach you", "ring-a1", 0, false},
		"a message":         {kind(Message, ""), "", "New message from Jun, by link", "r1", 0, false},
		"a test":            {Note{Kind: Test, URL: "/desk#settings"}, "en", "This browser is notified", "test", 0, false},
	} {
		b, err := c.note.payload(c.lang, pagesBase)
		var got struct {
			WebPush      int  `json:"web_push"`
			Mutable      bool `json:"mutable"`
			Notification struct {
				Title, Navigate, Tag string
				Silent               bool
				Vibrate              []int
				Actions              []struct{ Action, Title string }
			}
		}
		if err != nil || json.Unmarshal(b, &got) != nil {
			t.Fatal(err)
		}
		o := got.Notification
		if got.WebPush != 8030 || !got.Mutable || o.Title != c.title || o.Tag != c.tag || len(o.Actions) != c.actions ||
			o.Silent != c.silent || o.Navigate != pagesBase+c.note.URL {
			t.Errorf("%s: %s", name, b)
		}
		if o.Silent && len(o.Vibrate) > 0 { // showNotification refuses both
			t.Errorf("%s: vibrates in silence", name)
		}
	}
}

// TestApple: Safari ends a subscription whose pushes show nothing, so the end of a
// ring does not go there. All else does.
func TestApple(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]bool{
		"https://web.push.apple.com/QA":              true,
		"https://WEB.push.apple.com:443/QA":          true,
		"https://fcm.googleapis.com/fcm/send/x":      false,
		"https://push.apple.com.evil.example/":       false,
		"https://updates.push.services.mozilla.com/": false,
	} {
		if got := (Subscription{Endpoint: endpoint}).apple(); got != want {
			t.Errorf("%s: %t", endpoint, got)
		}
	}
	s := newService(t)
	h := start(t, s, false) // nothing is sent: that port is refused
	phone := newBrowser(t, "https://web.push.apple.com:1/x").sub
	h.put("host", phone)
	over := ring("r1", "Mina")
	over.Kind = End
	h.send("host", over)
	h.send("host", ring("r2", "Mina"))
	h.Close()
	if e := wait(t, h.ended); e.note.Room != "r2" || len(h.ended) > 0 {
		t.Errorf("the end was sent to Safari: %+v", e)
	}
}

// TestTry: one browser is sent a notification to see whether any comes, and says so.
func TestTry(t *testing.T) {
	t.Parallel()
	s := newService(t)
	h := start(t, s, true)
	n := &Notifier{opt: Options{Store: h.subs}, pusher: h.pusher}
	one, other := s.browser("/1").sub, s.browser("/2").sub
	one.Lang = "ko"
	h.put("host", one)
	h.put("host", other)
	if err := n.Try(t.Context(), "host", BrowserID(one.Endpoint)); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, s.got); got.path != "/1" || got.note.Kind != Test || got.shown.Notification.Lang != "ko" ||
		got.urgency != "high" {
		t.Errorf("got %+v", got)
	}
	for _, of := range []string{"somebody", ""} {
		if err := n.Try(t.Context(), of, one.Endpoint); !errors.Is(err, ErrSubscription) {
			t.Errorf("%q: %v", of, err)
		}
	}
	if err := n.Shown(t.Context(), "host", one.Endpoint); err != nil || h.subs.shown != one.Endpoint {
		t.Errorf("%v, shown %q", err, h.subs.shown)
	}
	if err := n.Shown(t.Context(), "somebody", one.Endpoint); !errors.Is(err, ErrSubscription) {
		t.Errorf("somebody else's: %v", err)
	}
	if err := n.Unsubscribe(t.Context(), "host", BrowserID(one.Endpoint)); err != nil {
		t.Fatal(err)
	}
	if left, _ := h.subs.Subscriptions(t.Context(), "host"); len(left) != 1 || left[0].Endpoint != other.Endpoint {
		t.Errorf("left: %+v", left)
	}
	if err := n.Unsubscribe(t.Context(), "host", one.Endpoint); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestContact(t *testing.T) {
	t.Parallel()
	for contact, good := range map[string]bool{
		"postmaster@mall.example": true, "mailto:postmaster@mall.example": true, "https://mall.example/contact": true,
		"postmaster@localhost": false, "postmaster@mail": false, "mailto:ops@chat.localhost": false,
		"postmaster@printer.local": false, "ops@127.0.0.1": false, "https://localhost:8080": false,
		"https://[::1]/": false, "http://mall.example": false, "mall.example": false, "tel:+8210": false, "": false,
		"Ops <ops@mall.example>": false, "mailto: ops@mall.example": false,
	} {
		if err := CheckContact(contact); (err == nil) != good || err != nil && !errors.Is(err, ErrContact) {
			t.Errorf("%q: %v", contact, err)
		}
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
