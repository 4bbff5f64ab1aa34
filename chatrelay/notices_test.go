// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
)

// pushService takes what is sent to browsers, whose kind its Urgency and TTL
// tell; package push tests what is in it.
type pushService struct {
	*httptest.Server
	got  chan http.Header
	hang chan struct{} // requests wait for it
}

func newPushService(t *testing.T) *pushService {
	t.Helper()
	s := &pushService{got: make(chan http.Header, 100), hang: make(chan struct{})}
	close(s.hang)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-s.hang
		s.got <- r.Header
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *pushService) options() *notify.PushOptions {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &notify.PushOptions{Contact: "postmaster@mall.example",
		Anywhere: true, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
}

// browser subscribes one.
func (s *pushService) browser(t *testing.T, name string) (sub notify.Subscription) {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sub.Endpoint = s.URL + "/" + name
	sub.Keys.P256dh = base64.RawURLEncoding.EncodeToString(k.PublicKey().Bytes())
	sub.Keys.Auth = base64.RawURLEncoding.EncodeToString(make([]byte, 16))
	return sub
}

// next waits for a push of an urgency.
func (s *pushService) next(t *testing.T, urgency string) http.Header {
	t.Helper()
	select {
	case h := <-s.got:
		if h.Get("Urgency") != urgency {
			t.Fatalf("a push with %v, want urgency %s", h, urgency)
		}
		return h
	case <-time.After(patience):
		t.Fatalf("no push of urgency %s", urgency)
		return nil
	}
}

func (s *pushService) none(t *testing.T, why string) {
	t.Helper()
	select {
	case h := <-s.got:
		t.Fatalf("a push (%s): %v", why, h)
	case <-time.After(300 * time.Millisecond):
	}
}

// A phone in a pocket rings with the desk, and stops with it; when the
// computer is off it gets the alarm at once, and the caller learns when.
func TestPush(t *testing.T) {
	t.Parallel()
	service := newPushService(t)
	w := newWorld(t, func(o *Options) { o.Push, o.Interval = service.options(), time.Minute })
	if key, err := w.relay.PushKey(); err != nil || len(key) != 87 {
		t.Fatal(key, err)
	}
	if err := w.relay.Subscribe(t.Context(), w.host, notify.Subscription{Endpoint: "http://x"}); !errors.Is(err,
		notify.ErrSubscription) {
		t.Fatal(err)
	}
	phone := service.browser(t, "phone")
	if err := w.relay.Subscribe(t.Context(), w.host, phone); err != nil {
		t.Fatal(err)
	}
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	alarm := service.next(t, "high")
	if f := kim.until("the time", func(f *frame.Frame) bool {
		return f.T == frame.TState && f.Attempt.Pushed != nil && f.Attempt.Mailed != nil
	}); f.Attempt.State != attempt.Alarmed {
		t.Fatalf("attempt %+v", f.Attempt)
	}
	// A message that is left tells as well, less urgently; soon after, a second does not.
	kim.send(frame.Frame{T: frame.TSay, ID: "a", Text: "please call back"})
	news := service.next(t, "normal")
	kim.send(frame.Frame{T: frame.TSay, ID: "b", Text: "today"})
	if news.Get("Topic") == alarm.Get("Topic") {
		t.Errorf("the message takes the place of the ring: topic %s", news.Get("Topic"))
	}
	service.none(t, "the second message")

	desk := w.device("desk") // Kim still waits
	id := desk.typ(frame.TRing).Ring.Attempt
	if h := service.next(t, "high"); h.Get("TTL") > "200" || len(h.Get("TTL")) > 3 {
		t.Fatalf("a ring that lasts %s s", h.Get("TTL"))
	}
	desk.send(frame.Frame{T: frame.TDecline, AttemptID: id})
	service.next(t, "low")
	kim.state(attempt.Declined)

	// Not wanted: switched off, do not disturb, a muted room.
	try := func(why string) {
		t.Helper()
		kim.send(frame.Frame{T: frame.TAttempt})
		kim.until("an outcome", func(f *frame.Frame) bool {
			return f.T == frame.TState && (f.Attempt.State == attempt.Ringing || f.Attempt.State == attempt.Alarmed)
		})
		service.none(t, why)
		kim.send(frame.Frame{T: frame.TCancel})
	}
	w.set(func(s *chat.Settings) { s.Push = false })
	try("push is off")
	// The end is sent all the same, in case a ring was.
	select {
	case <-service.got:
	case <-time.After(patience):
		t.Fatal("no end")
	}
	w.set(func(s *chat.Settings) { s.Push, s.Availability = true, chat.DoNotDisturb })
	try("do not disturb")
	w.set(func(s *chat.Settings) { s.Availability = chat.Available })
	kim.state(attempt.Ringing)
	service.next(t, "high")
	kim.send(frame.Frame{T: frame.TCancel})
	service.next(t, "low")
	if err := w.relay.Mute(t.Context(), w.host, w.room, true); err != nil {
		t.Fatal(err)
	}
	try("muted")
	service.next(t, "low")
	if err := w.relay.Mute(t.Context(), w.host, w.room, false); err != nil {
		t.Fatal(err)
	}
	if err := w.relay.Unsubscribe(t.Context(), w.host, phone.Endpoint); err != nil {
		t.Fatal(err)
	}
	try("unsubscribed")
	if d, err := w.relay.Settings(t.Context(), w.host); err != nil || len(d.Browsers) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
}

// hanging is a mail system that takes for ever.
type hanging struct{ on chan struct{} }

func (h hanging) Send(ctx context.Context, _ chat.ServerMail) error {
	select {
	case <-h.on:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Mail, push services and webhooks that hang hold up no ring.
func TestNothingHoldsARingUp(t *testing.T) {
	t.Parallel()
	service := newPushService(t)
	service.hang = make(chan struct{})
	mail := hanging{make(chan struct{})}
	w := newWorld(t, func(o *Options) {
		o.Push, o.Interval, o.Mailer = service.options(), time.Minute, mail
		o.Webhooks = []notify.Webhook{{URL: service.URL + "/hook", Format: notify.HookJSON}}
	})
	t.Cleanup(func() { close(service.hang); close(mail.on) })
	for range 3 {
		sub := service.browser(t, rand.Text())
		if err := w.relay.Subscribe(t.Context(), w.host, sub); err != nil {
			t.Fatal(err)
		}
	}
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	kim.state(attempt.Unanswered) // whose mail hangs
	desk := w.device("desk")
	desk.typ(frame.TRing)
	for range 10 {
		kim.send(frame.Frame{T: frame.TCancel})
		kim.state(attempt.Cancelled)
		began := time.Now()
		kim.send(frame.Frame{T: frame.TAttempt})
		desk.typ(frame.TRing)
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("the ring took %v", took)
		}
		kim.state(attempt.Ringing)
	}
}
