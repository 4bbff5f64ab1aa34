// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"testing"
	"time"
)

// A panic over one notification ends that one alone: the next is sent, and
// reported as taken. Close ends every goroutine.
func TestNotifier(t *testing.T) {
	t.Parallel()
	s := newService(t)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	took := make(chan Note, 10)
	n, err := Start(t.Context(), Options{Store: new(memory), WebBase: "https://chat.mall.example",
		Push: &PushOptions{Contact: "postmaster@mall.example", Anywhere: true,
			TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Wants: func(_ context.Context, login string, n Note) bool {
			if n.Attempt == "bad" {
				panic("a fault")
			}
			return login != "asleep"
		},
		AlarmTaken: func(_ context.Context, n Note, _ time.Time) {
			if took <- n; n.Attempt == "first" {
				panic("another fault")
			}
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.keys = n.pusher.opt.Keys
	for _, login := range []string{"host", "asleep"} {
		if err := n.Subscribe(t.Context(), login, s.browser("/"+login).sub); err != nil {
			t.Fatal(err)
		}
	}
	n.Push([]string{"host"}, Note{Kind: Alarm, Attempt: "bad", Room: "r1"})
	for _, attempt := range []string{"first", "second"} {
		n.Push([]string{"asleep", "host"}, Note{Kind: Alarm, Attempt: attempt, Room: attempt})
		if got := wait(t, s.got); got.path != "/host" || got.note.Attempt != attempt {
			t.Errorf("%s was told of %+v", got.path, got.note)
		}
		if got := wait(t, took); got.Attempt != attempt {
			t.Errorf("taken: %+v", got)
		}
	}
	n.Close()
	n.Push([]string{"host"}, Note{Kind: Alarm, Attempt: "late"}) // queued, and never sent
	if len(s.got) != 0 {
		t.Errorf("%d pushes after the end", len(s.got))
	}
}

// A push that panics is given back to the queue: later ones to the same
// browser are not held up by it.
func TestPushThatPanics(t *testing.T) {
	t.Parallel()
	s := newService(t)
	h := start(t, s, true)
	report := h.opt.Report
	h.opt.Report = func(login string, n Note, err error) {
		if n.Attempt == "bad" {
			panic("a fault")
		}
		report(login, n, err)
	}
	h.put("host", s.browser("/1").sub)
	for _, attempt := range []string{"bad", "good"} {
		h.send("host", Note{Kind: Ring, Room: "r1", Attempt: attempt})
		if got := wait(t, s.got); got.note.Attempt != attempt {
			t.Errorf("got %+v, want %s", got.note, attempt)
		}
	}
	if e := wait(t, h.ended); e.note.Attempt != "good" || e.err != nil {
		t.Errorf("ended %+v", e)
	}
}
