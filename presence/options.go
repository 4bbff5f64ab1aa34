// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxLogin bounds a login in bytes: an address of RFC 5321 section 4.5.3.1
	// has 64 + 1 + 255.
	maxLogin = 320
	// maxText bounds host names, device ids and device names in bytes.
	maxText = 255
	// maxDevices bounds the devices of one login; the one whose heartbeat is
	// oldest is forgotten.
	maxDevices = 32
	// maxProbes bounds how many ports in a row one Grant finds taken by other
	// programs before it gives up with ErrNoPort.
	maxProbes = 16
)

// TTLs are the lifetimes of entries; zero means the constant of the same name.
type TTLs struct {
	Device  time.Duration
	Hold    time.Duration
	Address time.Duration
	Grant   time.Duration
	Blocked time.Duration
}

func (t TTLs) withDefaults() TTLs {
	for _, d := range []struct {
		ttl *time.Duration
		def time.Duration
	}{
		{&t.Device, DeviceTTL}, {&t.Hold, HoldTTL}, {&t.Address, AddressTTL},
		{&t.Grant, GrantTTL}, {&t.Blocked, BlockedTTL},
	} {
		if *d.ttl <= 0 {
			*d.ttl = d.def
		}
	}
	return t
}

// Logger takes what an operator should know, with pairs of key and value.
type Logger func(msg string, fields ...any)

// HostRange is the ports that are granted on one host name.
type HostRange struct {
	Host  string
	Range Range // zero means DefaultRange
}

// checkRanges checks what both implementations need to grant ports, and
// returns it with host names in lower case. One range a host name.
func checkRanges(ranges []HostRange) ([]HostRange, error) {
	checked := make([]HostRange, len(ranges))
	for i, r := range ranges {
		r.Host = strings.ToLower(r.Host)
		if !goodHost(r.Host) {
			return nil, fmt.Errorf("host %q is not a host name", r.Host)
		}
		if r.Range == (Range{}) {
			r.Range = DefaultRange
		}
		if err := r.Range.check(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(checked[:i], func(o HostRange) bool { return o.Host == r.Host }) {
			return nil, fmt.Errorf("host %s has two ranges", r.Host)
		}
		checked[i] = r
	}
	return checked, nil
}

func goodHost(host string) bool {
	return host != "" && len(host) <= maxText && !strings.ContainsAny(host, "{} \t\r\n")
}

var errLogin = errors.New("presence: a login has 1 to 320 bytes")

func checkLogin(login string) error {
	if login == "" || len(login) > maxLogin {
		return errLogin
	}
	return nil
}

// cut shortens what clients say of themselves to maxText bytes.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// age is how long ago t was, never negative: a host whose clock is ahead does
// not make an entry outlive others. The zero time means now.
func age(now, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t))
}
