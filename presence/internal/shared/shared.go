// SPDX-License-Identifier: GPL-3.0-or-later

// Package shared has the parts that both implementations of presence use: bounds
// of logins and texts, the order of listings, metrics, and the recovery from a
// panic.
package shared

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/presence"
)

const (
	// MaxDevices bounds the devices of one login; the one whose heartbeat is
	// oldest is forgotten.
	MaxDevices = 32
	// MaxProbes bounds how many ports in a row one Grant finds taken by other
	// programs before it gives up with ErrNoPort.
	MaxProbes = 16

	// maxLogin bounds a login in bytes: an address of RFC 5321 section 4.5.3.1
	// has 64 + 1 + 255.
	maxLogin = 320
	// maxText bounds host names, device ids and device names in bytes.
	maxText = 255
)

var errLogin = fmt.Errorf("presence: a login has 1 to %d bytes", maxLogin)

// CheckLogin refuses a login that is empty or too long.
func CheckLogin(login string) error {
	if login == "" || len(login) > maxLogin {
		return errLogin
	}
	return nil
}

// CheckAddress returns an address with its texts bounded.
func CheckAddress(a presence.Address) (presence.Address, error) {
	a.Host = cut(a.Host)
	return a, CheckLogin(a.Login)
}

// CheckDevice returns a device with its texts bounded.
func CheckDevice(d presence.Device) (presence.Device, error) {
	if d.ID == "" || len(d.ID) > maxText {
		return d, fmt.Errorf("connecting a device of %s: its id has not 1 to %d bytes", d.Login, maxText)
	}
	d.Host, d.Name, d.Relay = cut(d.Host), cut(d.Name), cut(d.Relay)
	return d, CheckLogin(d.Login)
}

// cut shortens a text that a client sent.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// Age is how long ago t was, never negative: a host whose clock is ahead does
// not make an entry outlive others. The zero time means now.
func Age(now, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}

// SortDevices puts the device that connected first in front.
func SortDevices(ds []presence.Device) {
	slices.SortFunc(ds, func(a, b presence.Device) int {
		return cmp.Or(a.Connected.Compare(b.Connected), cmp.Compare(a.ID, b.ID))
	})
}

// NewestDevices returns the devices that connected last, at most limit.
func NewestDevices(ds []presence.Device, limit int) []presence.Device {
	slices.SortFunc(ds, func(a, b presence.Device) int {
		return cmp.Or(b.Connected.Compare(a.Connected), cmp.Compare(a.Login, b.Login), cmp.Compare(a.ID, b.ID))
	})
	return ds[:min(max(0, limit), len(ds))]
}

// GrantsByPort returns the first grants by port and host, at most limit, each
// once.
func GrantsByPort(gs []presence.Grant, limit int) []presence.Grant {
	order := func(a, b presence.Grant) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Host, b.Host))
	}
	slices.SortFunc(gs, order)
	gs = slices.CompactFunc(gs, func(a, b presence.Grant) bool { return order(a, b) == 0 })
	return gs[:min(max(0, limit), len(gs))]
}

// SortHosts sorts by name.
func SortHosts(hs []presence.Host) {
	slices.SortFunc(hs, func(a, b presence.Host) int { return cmp.Compare(a.Name, b.Name) })
}

// errPanic is the cause of a call that panicked.
var errPanic = errors.New("a bug of this program")
