// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
)

// What `who` and `grants` list, and the names of their fields.
func TestListings(t *testing.T) {
	t.Parallel()
	d, err := local.Open(local.Options{Ranges: presence.HostRanges{{Host: "chat.mall.example"}}, ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := t.Context()
	ip := netip.MustParseAddr("192.0.2.1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := d.Grant(ctx, "host@mall.example")
	must(err)
	must(d.Connect(ctx, presence.Device{ID: "1", Login: "host@mall.example", Source: presence.Desk, IP: ip, Relay: "chat.mall.example", Away: true}))
	must(d.Renew(ctx, presence.Address{Login: "customer@mall.example", IP: ip, Source: presence.POP3}))

	who, err := listWho(ctx, d)
	must(err)
	if len(who) != 2 || who[0].Login != "customer@mall.example" || who[0].Devices == nil || who[0].Grant != nil {
		t.Fatalf("who: %+v", who)
	}
	if h := who[1]; len(h.Devices) != 1 || !h.Devices[0].Away || h.Grant == nil || h.Grant.Port != g.Port {
		t.Errorf("who: %+v", h)
	}
	grants, err := listGrants(ctx, d)
	must(err)
	if len(grants) != 1 || grants[0].Port != g.Port || !grants[0].HostAlive {
		t.Errorf("grants: %+v", grants)
	}
	b, err := json.Marshal([]any{who, grants})
	must(err)
	for _, field := range []string{"login", "ip", "source", "seen", "devices", "grant", "id", "relay", "away", "connected", "heartbeat",
		"host", "port", "granted", "renewed", "held", "host_alive"} {
		if !strings.Contains(string(b), `"`+field+`":`) {
			t.Errorf("no field %q in %s", field, b)
		}
	}
	must(d.Leave(ctx))
	if grants, err = listGrants(ctx, d); err != nil || grants[0].HostAlive {
		t.Errorf("after the host left: %+v, %v", grants, err)
	}
}
