// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import "testing"

// TestLoop: a job may bring as many jobs as it likes to its own room, which
// run after it in their order; a job that panics ends alone.
func TestLoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	h, err := w.relay.enter(t.Context(), w.room)
	if err != nil {
		t.Fatal(err)
	}
	const jobs = 5000
	var ran []int
	if !h.do(func() {
		for i := range jobs {
			h.post(func() { ran = append(ran, i) })
		}
	}) {
		t.Fatal("the room is over")
	}
	if h.do(func() { panic("broken") }) {
		t.Error("a job that panicked is said to have run")
	}
	if !h.do(func() {}) {
		t.Error("the room ended with a job that panicked")
	}
	for i, n := range ran {
		if i != n {
			t.Fatalf("job %d ran as number %d", n, i)
		}
	}
	if len(ran) != jobs {
		t.Errorf("%d jobs ran, want %d", len(ran), jobs)
	}
	h.leave()
	if h.do(func() {}) {
		t.Error("a job ran in a room that everybody has left")
	}
}
