// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
)

func testAddresses(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	_, err := d.Lookup(ctx, "host@mall.example")
	WantErr(t, err, presence.ErrUnknown)
	before := time.Now()
	OK(t, d.Renew(ctx, presence.Address{Login: "host@mall.example", IP: IP("192.0.2.7"), Host: "pc.example",
		Source: presence.POP3}))
	a := Must[presence.Address](t)(d.Lookup(ctx, "host@mall.example"))
	if a.IP != IP("192.0.2.7") || a.Host != "pc.example" || a.Source != presence.POP3 ||
		a.Login != "host@mall.example" {
		t.Errorf("address %+v", a)
	}
	if a.Seen.Before(before.Add(-time.Second)) || a.Seen.After(time.Now().Add(time.Second)) {
		t.Errorf("seen %v, want about %v", a.Seen, before)
	}
	for i := range 5 {
		OK(t, d.Renew(ctx, presence.Address{Login: fmt.Sprint("u", i), IP: IP("2001:db8::1"), Source: presence.Desk,
			Seen: time.Now().Add(-time.Duration(10-i) * time.Minute)}))
	}
	var names []string
	for _, a := range Must[[]presence.Address](t)(d.Addresses(ctx, 3)) {
		names = append(names, a.Login)
	}
	if want := []string{"host@mall.example", "u4", "u3"}; !slices.Equal(names, want) {
		t.Errorf("newest first: %v, want %v", names, want)
	}
	if as := Must[[]presence.Address](t)(d.Addresses(ctx, 100)); len(as) != 6 {
		t.Errorf("%d addresses, want 6", len(as))
	}
	if as := Must[[]presence.Address](t)(d.Addresses(ctx, 0)); len(as) != 0 {
		t.Errorf("%d addresses with limit 0", len(as))
	}
	if err := d.Renew(ctx, presence.Address{}); err == nil {
		t.Error("an empty login was taken")
	}
	if err := d.Renew(ctx, presence.Address{Login: strings.Repeat("x", 400)}); err == nil {
		t.Error("a login of 400 bytes was taken")
	}
}

func testNewestWins(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	now := time.Now()
	OK(t, d.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.1"), Source: presence.Submission, Seen: now}))
	OK(t, d.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.2"), Source: presence.POP3,
		Seen: now.Add(-time.Minute)}))
	if a := Must[presence.Address](t)(d.Lookup(ctx, "a")); a.Source != presence.Submission {
		t.Errorf("an older sighting won: %+v", a)
	}
	// A host whose clock is ahead does not outlive others.
	OK(t, d.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.3"), Source: presence.POP3,
		Seen: now.Add(time.Hour)}))
	time.Sleep(5 * time.Millisecond)
	OK(t, d.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.4"), Source: presence.Desk}))
	if a := Must[presence.Address](t)(d.Lookup(ctx, "a")); a.Source != presence.Desk {
		t.Errorf("a sighting in the future won: %+v", a)
	}
}

func testAddressExpiry(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{TTL: presence.TTLs{Address: w.ttl}})
	OK(t, d.Renew(ctx, presence.Address{Login: "a", IP: IP("192.0.2.1"), Source: presence.Agent}))
	Must[presence.Address](t)(d.Lookup(ctx, "a"))
	time.Sleep(w.ttl * 11 / 10)
	_, err := d.Lookup(ctx, "a")
	WantErr(t, err, presence.ErrUnknown)
	if as := Must[[]presence.Address](t)(d.Addresses(ctx, 10)); len(as) != 0 {
		t.Errorf("expired address listed: %v", as)
	}
}
