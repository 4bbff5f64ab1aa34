// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func testDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 0 {
		t.Fatalf("devices of nobody: %v", ds)
	}
	desk := Device{ID: "1", Login: "a", Source: Desk, IP: ip("192.0.2.1"), Host: "h", Name: "Chromium on Linux",
		Connected: time.Now().Add(-time.Hour)}
	agent := Device{ID: "2", Login: "a", Source: Agent, IP: ip("2001:db8::2")}
	ok(t, d.Connect(ctx, agent))
	ok(t, d.Connect(ctx, desk))
	ds := must[[]Device](t)(d.Devices(ctx, "a"))
	if len(ds) != 2 || ds[0].ID != "1" || ds[1].ID != "2" {
		t.Fatalf("devices %+v", ds)
	}
	if got := ds[0]; got.Name != desk.Name || got.Host != "h" || got.IP != desk.IP || got.Source != Desk || got.Login != "a" ||
		got.Connected.Sub(desk.Connected).Abs() > time.Second || time.Since(got.Heartbeat) > time.Second {
		t.Errorf("device %+v, want %+v", got, desk)
	}
	first := ds[1].Connected
	time.Sleep(20 * time.Millisecond)
	ok(t, d.Connect(ctx, agent)) // a heartbeat
	if ds = must[[]Device](t)(d.Devices(ctx, "a")); !ds[1].Connected.Equal(first) || !ds[1].Heartbeat.After(first) {
		t.Errorf("after a heartbeat: connected %v, heartbeat %v, want %v and later", ds[1].Connected, ds[1].Heartbeat, first)
	}
	if a := must[Address](t)(d.Lookup(ctx, "a")); a.Source != Agent || a.IP != agent.IP {
		t.Errorf("connecting did not renew the address: %+v", a)
	}
	ok(t, d.Disconnect(ctx, "a", "1"))
	ok(t, d.Disconnect(ctx, "a", "1")) // twice does no harm
	ok(t, d.Disconnect(ctx, "nobody", "1"))
	if ds = must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 1 || ds[0].ID != "2" {
		t.Errorf("after a disconnection: %+v", ds)
	}
	if err := d.Connect(ctx, Device{Login: "a"}); err == nil {
		t.Error("a device without an id was taken")
	}
}

func testHeartbeats(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Device: 800 * time.Millisecond}})
	for range 3 {
		ok(t, d.Connect(ctx, Device{ID: "beats", Login: "a", Source: Desk}))
		if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) == 0 {
			t.Fatal("a device with heartbeats was lost")
		}
		time.Sleep(320 * time.Millisecond)
	}
	ok(t, d.Connect(ctx, Device{ID: "still", Login: "a", Source: Desk}))
	time.Sleep(550 * time.Millisecond)
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 1 || ds[0].ID != "still" {
		t.Errorf("devices %+v, want only the one whose heartbeat is recent", ds)
	}
	time.Sleep(400 * time.Millisecond)
	if ds := must[[]Device](t)(d.Devices(ctx, "a")); len(ds) != 0 {
		t.Errorf("devices %+v, want none", ds)
	}
	must[Address](t)(d.Lookup(ctx, "a"))
}

func testManyDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{})
	for i := range maxDevices + 3 {
		ok(t, d.Connect(ctx, Device{ID: fmt.Sprint(i), Login: "a", Source: Desk}))
		time.Sleep(2 * time.Millisecond)
	}
	ds := must[[]Device](t)(d.Devices(ctx, "a"))
	if len(ds) != maxDevices {
		t.Errorf("%d devices, want %d", len(ds), maxDevices)
	}
	if slices.ContainsFunc(ds, func(d Device) bool { return d.ID == "0" }) {
		t.Error("the oldest device was kept")
	}
}

func testAllDevices(t *testing.T, w world) {
	ctx, d := t.Context(), w(t, testOptions{TTL: TTLs{Device: time.Second}})
	ok(t, d.Renew(ctx, Address{Login: "no device", Source: POP3}))
	for i, login := range []string{"a", "b", "a"} {
		ok(t, d.Connect(ctx, Device{ID: fmt.Sprint(i), Login: login, Source: Desk, Relay: testHost, Away: i == 1,
			Connected: time.Now().Add(time.Duration(i-3) * time.Minute)}))
	}
	var got []string
	for _, d := range must[[]Device](t)(d.AllDevices(ctx, 10)) {
		got = append(got, fmt.Sprintf("%s%s %t %t", d.Login, d.ID, d.Away, d.Relay == testHost))
	}
	if want := []string{"a2 false true", "b1 true true", "a0 false true"}; !slices.Equal(got, want) {
		t.Errorf("devices %v, want %v", got, want)
	}
	if ds := must[[]Device](t)(d.AllDevices(ctx, 1)); len(ds) != 1 || ds[0].ID != "2" {
		t.Errorf("with limit 1: %+v", ds)
	}
	if ds := must[[]Device](t)(d.AllDevices(ctx, 0)); len(ds) != 0 {
		t.Errorf("with limit 0: %+v", ds)
	}
	ok(t, d.Connect(ctx, Device{ID: "1", Login: "b", Source: Desk, Relay: "other.example"})) // it moved and is back
	if ds := must[[]Device](t)(d.Devices(ctx, "b")); len(ds) != 1 || ds[0].Away || ds[0].Relay != "other.example" {
		t.Errorf("after it moved: %+v", ds)
	}
	eventually(t, 5*time.Second, func() error {
		if ds := must[[]Device](t)(d.AllDevices(ctx, 10)); len(ds) > 0 {
			return fmt.Errorf("still there: %+v", ds)
		}
		return nil
	})
}
