// SPDX-License-Identifier: GPL-3.0-or-later

package ticket

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/internal/seal"
)

// TestTickets: a ticket is good once, for its purpose, until it expires, and not after a
// restart, which forgets what was used.
func TestTickets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		key := seal.Key("a key of thirty-two octets, long")
		tickets := New(key)
		time.Sleep(time.Second)
		made := tickets.Make("sign in", []byte("body"), time.Minute)
		for what, try := range map[string]func() ([]byte, error){
			"another purpose": func() ([]byte, error) { return tickets.Take("order", made) },
			"changed":         func() ([]byte, error) { return tickets.Take("sign in", made[:len(made)-1]+"A") },
			"another key":     func() ([]byte, error) { return New(seal.Key("another")).Take("sign in", made) },
		} {
			if body, err := try(); err == nil {
				t.Errorf("%s: %q", what, body)
			}
		}
		if body, err := tickets.Take("sign in", made); err != nil || string(body) != "body" {
			t.Errorf("%q, %v", body, err)
		}
		if _, err := tickets.Take("sign in", made); err == nil {
			t.Error("it is good twice")
		}
		late := tickets.Make("sign in", nil, time.Minute)
		time.Sleep(time.Minute + time.Second)
		if _, err := tickets.Take("sign in", late); err == nil {
			t.Error("it does not expire")
		}
		before := tickets.Make("sign in", nil, time.Minute)
		time.Sleep(time.Second)
		if _, err := New(key).Take("sign in", before); err == nil {
			t.Error("it is good after a restart")
		}
	})
}
