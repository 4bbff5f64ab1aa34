// SPDX-License-Identifier: GPL-3.0-or-later

package work

import (
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/seal"
)

// TestDone: work counts once, for who was asked; an easier task than the one asked for
// does not count.
func TestDone(t *testing.T) {
	t.Parallel()
	d := New(seal.Key("a key"))
	task := d.Task("register 192.0.2.1", 6)
	answer := Solve(task)
	wrong := map[string]bool{
		"nothing":       d.Done("register 192.0.2.1", ""),
		"the task":      d.Done("register 192.0.2.1", task),
		"no work":       d.Done("register 192.0.2.1", task+".x"),
		"less work":     d.Done("register 192.0.2.1", Solve("1"+d.Task("register 192.0.2.1", 6)[1:])),
		"another's":     d.Done("register 192.0.2.2", answer),
		"another's key": New(seal.Key("another")).Done("register 192.0.2.1", answer),
	}
	for what, done := range wrong {
		if done {
			t.Errorf("%s counts", what)
		}
	}
	if !d.Done("register 192.0.2.1", answer) {
		t.Error("the right answer does not count")
	}
	if d.Done("register 192.0.2.1", answer) {
		t.Error("it counts twice")
	}
	if d.Task("x", 0) != "" || !strings.HasPrefix(d.Task("x", 99), "20.") {
		t.Error("the bounds of tasks")
	}
}

// TestBits: no work while half is left, and then more and more.
func TestBits(t *testing.T) {
	t.Parallel()
	for left, want := range map[float64]int{20: 0, 11: 0, 10: least, 5: 17, 0: most, -3: most} {
		if got := Bits(left, 20); got != want {
			t.Errorf("%v left: %d bits, want %d", left, got, want)
		}
	}
}
