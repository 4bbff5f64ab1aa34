// SPDX-License-Identifier: GPL-3.0-or-later

package serial

import (
	"sync"
	"testing"
	"testing/synctest"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	var q Queue
	var got []int
	const n = 1000
	q.Post(func() {
		for i := range n {
			q.Post(func() { got = append(got, i) })
		}
	})
	q.Wait() // the first has run
	q.Wait() // and what it posted
	for i, v := range got {
		if i != v {
			t.Fatalf("function %d ran as number %d", v, i)
		}
	}
	if len(got) != n {
		t.Errorf("%d functions ran, want %d", len(got), n)
	}
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // it fails when a goroutine is left
		var q Queue
		var posts sync.WaitGroup
		n := 0
		for range 50 {
			posts.Go(func() { q.Post(func() { n++ }) })
		}
		posts.Wait()
		q.Wait()
		if n != 50 {
			t.Errorf("%d functions ran, want 50", n)
		}
	})
}
