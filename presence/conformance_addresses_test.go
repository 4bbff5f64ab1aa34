// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func testAddresses(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	_, err := d.Lookup(ctx, "host@mall.example")
	wantErr(t, err, ErrUnknown)
	before := time.Now()
	ok(t, d.Renew(ctx, Address{Login: "host@mall.example", IP: ip("192.0.2.7"), Host: "pc.example", Source: POP3}))
	a := must[Address](t)(d.Lookup(ctx, "host@mall.example"))
	if a.IP != ip("192.0.2.7") || a.Host != "pc.example" || a.Source != POP3 || a.Login != "host@mall.example" {
		t.Errorf("address %+v", a)
	}
	if a.Seen.Before(before.Add(-time.Second)) || a.Seen.After(time.Now().Add(time.Second)) {
		t.Errorf("seen %v, want about %v", a.Seen, before)
	}
	for i := range 5 {
		ok(t, d.Renew(ctx, Address{Login: fmt.Sprint("u", i), IP: ip("2001:db8::1"), Source: Desk,
			Seen: time.Now().Add(-time.Duration(10-i) * time.Minute)}))
	}
	var names []string
	for _, a := range must[[]Address](t)(d.Addresses(ctx, 3)) {
		names = append(names, a.Login)
	}
	if want := []string{"host@mall.example", "u4", "u3"}; !slices.Equal(names, want) {
		t.Errorf("newest first: %v, want %v", names, want)
	}
	if as := must[[]Address](t)(d.Addresses(ctx, 100)); len(as) != 6 {
		t.Errorf("%d addresses, want 6", len(as))
	}
	if as := must[[]Address](t)(d.Addresses(ctx, 0)); len(as) != 0 {
		t.Errorf("%d addresses with limit 0", len(as))
	}
	if err := d.Renew(ctx, Address{}); err == nil {
		t.Error("an empty login was taken")
	}
	if err := d.Renew(ctx, Address{Login: strings.Repeat("x", 400)}); err == nil {
		t.Error("a login of 400 bytes was taken")
	}
}

func testNewestWins(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	now := time.Now()
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.1"), Source: Submission, Seen: now}))
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.2"), Source: POP3, Seen: now.Add(-time.Minute)}))
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Submission {
		t.Errorf("an older sighting won: %+v", a)
	}
	// A host whose clock is ahead does not outlive others.
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.3"), Source: POP3, Seen: now.Add(time.Hour)}))
	time.Sleep(5 * time.Millisecond)
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.4"), Source: Desk}))
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Desk {
		t.Errorf("a sighting in the future won: %+v", a)
	}
}

func testAddressExpiry(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Address: 500 * time.Millisecond}})
	ok(t, d.Renew(ctx, Address{Login: "a", IP: ip("192.0.2.1"), Source: Agent}))
	must[Address](t)(d.Lookup(ctx, "a"))
	time.Sleep(600 * time.Millisecond)
	_, err := d.Lookup(ctx, "a")
	wantErr(t, err, ErrUnknown)
	if as := must[[]Address](t)(d.Addresses(ctx, 10)); len(as) != 0 {
		t.Errorf("expired address listed: %v", as)
	}
}
