// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// TestProgress: a bar on a terminal, ten times a second at most, and a line a
// minute elsewhere.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	expect := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("it wrote %q, want %q", out.String(), want)
		}
		out.Reset()
	}
	p := &progress{what: "messages checked", out: &out, shown: time.Now()}
	p.set(10, 40)
	expect("")
	p.shown = time.Now().Add(-59 * time.Second)
	p.set(20, 40)
	expect("")
	p.shown = time.Now().Add(-time.Minute)
	p.set(30, 40)
	expect("30 of 40 messages checked\n")
	p.step()
	expect("")
	p.shown = time.Now().Add(-time.Minute)
	p.step()
	expect("32 messages checked\n")
	p.end()
	expect("")

	p.terminal = true
	p.shown = time.Now().Add(-100 * time.Millisecond)
	p.set(10, 40)
	expect("\r[##########..............................] 10 of 40 messages checked")
	p.set(11, 40)
	expect("")
	p.end()
	expect("\r\033[K")
	if err := p.failed(errors.New("no")); err.Error() != "after 11 messages checked: no" {
		t.Error(err)
	}
}
