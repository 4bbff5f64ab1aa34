// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"142.250.1.188": true, "2607:f8b0:4023::bc": true, "17.188.1.1": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "fe80::1%eth0": false, "fd00::1": false,
		"0.0.0.0": false, "0.1.2.3": false, "::": false,
		"100.100.100.200": false, "198.18.0.1": false, "255.255.255.255": false, "224.0.0.1": false, "ff02::1": false,
		"::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::a00:1": false,
		"2002:a00:1::": false, "::10.0.0.1": false,
		"2001:db8::1": false, "fec0::1": false, "2001:0:a00:1::": false,
	} {
		if got := public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("public(%s) = %v", addr, got)
		}
	}
	for addr, want := range map[string]bool{"8.8.8.8:443": true, "8.8.8.8:80": false, "[2607:f8b0:4023::bc]:443": true,
		"10.0.0.1:443": false, "name:443": false} {
		if err := control("tcp", addr, nil); (err == nil) != want || err != nil && !errors.Is(err, ErrAddress) {
			t.Errorf("control(%s) = %v", addr, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := newBrowser(t, "https://push.example/x?y=1").sub
	padded := good
	padded.Keys.Auth += "=="
	for _, s := range []Subscription{good, padded} {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	for name, spoil := range map[string]func(*Subscription){
		"http":       func(s *Subscription) { s.Endpoint = "http://push.example/" },
		"file":       func(s *Subscription) { s.Endpoint = "file:///etc/passwd" },
		"empty":      func(s *Subscription) { s.Endpoint = "" },
		"no host":    func(s *Subscription) { s.Endpoint = "https:///x" },
		"user":       func(s *Subscription) { s.Endpoint = "https://a:b@push.example/" },
		"opaque":     func(s *Subscription) { s.Endpoint = "https:push.example" },
		"line break": func(s *Subscription) { s.Endpoint = "https://push.example/\r\nX: y" },
		"long": func(s *Subscription) {
			s.Endpoint = "https://push.example/" + strings.Repeat("x", maxEndpoint)
		},
		"no key":         func(s *Subscription) { s.Keys.P256dh = "" },
		"off the curve":  func(s *Subscription) { s.Keys.P256dh = "BA" + strings.Repeat("A", 85) },
		"not base64":     func(s *Subscription) { s.Keys.P256dh = "!" },
		"short auth":     func(s *Subscription) { s.Keys.Auth = "AAAA" },
		"auth undefined": func(s *Subscription) { s.Keys.Auth = "" },
	} {
		s := good
		spoil(&s)
		if err := s.Check(); !errors.Is(err, ErrSubscription) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		q := newQueue(func(p *push, err error) { reported = append(reported, fmt.Sprint(p.login, " ", err)) })
		k := func(s string) key { return key{s, "t"} }
		for _, s := range []string{"a", "b"} {
			if err := q.add(k(s), &push{login: s}); err != nil {
				t.Fatal(err)
			}
		}
		a, b := q.take(t.Context()), q.take(t.Context())
		if a.push.login != "a" || b.push.login != "b" {
			t.Errorf("took %s, %s", a.push.login, b.push.login)
		}
		q.add(k("a"), &push{login: "a2"})
		start := time.Now()
		q.done(a, true, 5*time.Second) // a2 takes the wait over
		q.done(b, true, 3*time.Second)
		q.add(k("b"), &push{login: "b2"})
		for i, want := range []string{"b2 3s", "a2 5s"} {
			j := q.take(t.Context())
			if got := fmt.Sprint(j.push.login, " ", time.Since(start)); got != want {
				t.Errorf("took %d: %s", i, got)
			}
			q.done(j, false, 0)
		}
		if len(q.jobs) != 0 {
			t.Errorf("%d jobs are left", len(q.jobs))
		}
		for i := range maxQueue {
			if err := q.add(k(fmt.Sprint(i)), &push{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.add(k("more"), &push{}); !errors.Is(err, ErrFull) {
			t.Errorf("one more: %v", err)
		}
		if err := q.add(k("7"), &push{}); err != nil {
			t.Errorf("another in the place of one: %v", err)
		}
		if len(reported) != 3 {
			t.Errorf("replaced: %v", reported)
		}
		q.close()
		if err := q.add(k("7"), &push{}); !errors.Is(err, ErrClosed) || len(q.jobs) != 0 {
			t.Errorf("after close: %v, %d jobs", err, len(q.jobs))
		}
	})
}
