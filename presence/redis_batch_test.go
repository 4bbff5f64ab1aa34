// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// While one batch is on its way the next gathers; who does not wait for it
// leaves at once, and what it asked for is not done.
func TestRedisBatches(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openRedis(t, RedisOptions{URL: s.url(), Timeout: 5 * time.Second})
	renew := func(ctx context.Context, login string) error {
		return r.Renew(ctx, Address{Login: login, IP: ip("192.0.2.1"), Source: POP3})
	}
	waits := func(running, n int) {
		t.Helper()
		eventually(t, 2*time.Second, func() error {
			r.batches.mu.Lock()
			defer r.batches.mu.Unlock()
			if r.batches.running != running || len(r.batches.waiting) != n {
				return fmt.Errorf("running %d, %d calls wait, want %d", r.batches.running, len(r.batches.waiting), n)
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	begin := func(login string) {
		wg.Go(func() {
			if err := renew(t.Context(), login); err != nil {
				t.Errorf("%s: %v", login, err)
			}
		})
	}
	ok(t, renew(t.Context(), "first"))
	waits(0, 0)
	s.signal(syscall.SIGSTOP)
	defer s.signal(syscall.SIGCONT)
	for i := range maxRunning {
		begin(fmt.Sprint("sent", i))
		waits(i+1, 0)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- renew(ctx, "left") }()
	waits(maxRunning, 1)
	cancel()
	wantErr(t, <-left, context.Canceled)
	for i := range 3 {
		begin(fmt.Sprint("stays", i))
	}
	waits(maxRunning, 4)
	s.signal(syscall.SIGCONT)
	wg.Wait()
	_, err := r.Lookup(t.Context(), "left")
	wantErr(t, err, ErrUnknown)
	must[Address](t)(r.Lookup(t.Context(), "stays2"))
}
