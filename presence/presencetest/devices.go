// SPDX-License-Identifier: GPL-3.0-or-later

package presencetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

func testDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	if ds := Must[[]presence.Device](t)(d.Devices(ctx, "a")); len(ds) != 0 {
		t.Fatalf("devices of nobody: %v", ds)
	}
	desk := presence.Device{ID: "1", Login: "a", Source: presence.Desk, IP: IP("192.0.2.1"), Host: "h",
		Name: "Chromium on Linux", Connected: time.Now().Add(-time.Hour)}
	agent := presence.Device{ID: "2", Login: "a", Source: presence.Agent, IP: IP("2001:db8::2")}
	OK(t, d.Connect(ctx, agent))
	OK(t, d.Connect(ctx, desk))
	ds := Must[[]presence.Device](t)(d.Devices(ctx, "a"))
	if len(ds) != 2 || ds[0].ID != "1" || ds[1].ID != "2" {
		t.Fatalf("devices %+v", ds)
	}
	if got := ds[0]; got.Name != desk.Name || got.Host != "h" || got.IP != desk.IP ||
		got.Source != presence.Desk || got.Login != "a" ||
		got.Connected.Sub(desk.Connected).Abs() > time.Second || time.Since(got.Heartbeat) > time.Second {
		t.Errorf("device %+v, want %+v", got, desk)
	}
	first := ds[1].Connected
	time.Sleep(20 * time.Millisecond)
	OK(t, d.Connect(ctx, agent)) // a heartbeat
	ds = Must[[]presence.Device](t)(d.Devices(ctx, "a"))
	if !ds[1].Connected.Equal(first) || !ds[1].Heartbeat.After(first) {
		t.Errorf("after a heartbeat: connected %v, heartbeat %v, want %v and later", ds[1].Connected,
			ds[1].Heartbeat, first)
	}
	if a := Must[presence.Address](t)(d.Lookup(ctx, "a")); a.Source != presence.Agent || a.IP != agent.IP {
		t.Errorf("connecting did not renew the address: %+v", a)
	}
	OK(t, d.Disconnect(ctx, "a", "1"))
	OK(t, d.Disconnect(ctx, "a", "1")) // twice does no harm
	OK(t, d.Disconnect(ctx, "nobody", "1"))
	if ds = Must[[]presence.Device](t)(d.Devices(ctx, "a")); len(ds) != 1 || ds[0].ID != "2" {
		t.Errorf("after a disconnection: %+v", ds)
	}
	if err := d.Connect(ctx, presence.Device{Login: "a"}); err == nil {
		t.Error("a device without an id was taken")
	}
}

func testHeartbeats(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{TTL: presence.TTLs{Device: w.ttl}})
	connect := func(id string) { OK(t, d.Connect(ctx, presence.Device{ID: id, Login: "a", Source: presence.Desk})) }
	connected := func() (ids []string) {
		for _, dev := range Must[[]presence.Device](t)(d.Devices(ctx, "a")) {
			ids = append(ids, dev.ID)
		}
		return ids
	}
	connect("still")
	for range 4 {
		connect("beats")
		time.Sleep(w.ttl * 3 / 10)
	}
	if ids := connected(); !slices.Equal(ids, []string{"beats"}) {
		t.Errorf("devices %q, want only the one whose heartbeat is recent", ids)
	}
	time.Sleep(w.ttl * 8 / 10)
	if ids := connected(); len(ids) != 0 {
		t.Errorf("devices %q, want none", ids)
	}
	Must[presence.Address](t)(d.Lookup(ctx, "a"))
}

func testManyDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{})
	for i := range shared.MaxDevices + 3 {
		OK(t, d.Connect(ctx, presence.Device{ID: fmt.Sprint(i), Login: "a", Source: presence.Desk}))
		time.Sleep(2 * time.Millisecond)
	}
	ds := Must[[]presence.Device](t)(d.Devices(ctx, "a"))
	if len(ds) != shared.MaxDevices {
		t.Errorf("%d devices, want %d", len(ds), shared.MaxDevices)
	}
	if slices.ContainsFunc(ds, func(d presence.Device) bool { return d.ID == "0" }) {
		t.Error("the oldest device was kept")
	}
}

func testAllDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w.open(t, Options{TTL: presence.TTLs{Device: w.ttl}})
	OK(t, d.Renew(ctx, presence.Address{Login: "no device", Source: presence.POP3}))
	for i, login := range []string{"a", "b", "a"} {
		OK(t, d.Connect(ctx, presence.Device{ID: fmt.Sprint(i), Login: login, Source: presence.Desk,
			Relay: TestHost, Away: i == 1,
			Connected: time.Now().Add(time.Duration(i-3) * time.Minute)}))
	}
	var got []string
	for _, d := range Must[[]presence.Device](t)(d.AllDevices(ctx, 10)) {
		got = append(got, fmt.Sprintf("%s%s %t %t", d.Login, d.ID, d.Away, d.Relay == TestHost))
	}
	if want := []string{"a2 false true", "b1 true true", "a0 false true"}; !slices.Equal(got, want) {
		t.Errorf("devices %v, want %v", got, want)
	}
	if ds := Must[[]presence.Device](t)(d.AllDevices(ctx, 1)); len(ds) != 1 || ds[0].ID != "2" {
		t.Errorf("with limit 1: %+v", ds)
	}
	if ds := Must[[]presence.Device](t)(d.AllDevices(ctx, 0)); len(ds) != 0 {
		t.Errorf("with limit 0: %+v", ds)
	}
	OK(t, d.Connect(ctx, presence.Device{ID: "1", Login: "b", Source: presence.Desk,
		Relay: "other.example"})) // it moved and is back
	ds := Must[[]presence.Device](t)(d.Devices(ctx, "b"))
	if len(ds) != 1 || ds[0].Away || ds[0].Relay != "other.example" {
		t.Errorf("after it moved: %+v", ds)
	}
	time.Sleep(w.ttl * 11 / 10)
	if ds := Must[[]presence.Device](t)(d.AllDevices(ctx, 10)); len(ds) > 0 {
		t.Errorf("still there: %+v", ds)
	}
}
