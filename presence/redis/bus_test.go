// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// inbox keeps what a bus brought.
type inbox struct {
	mu   sync.Mutex
	msgs []string
}

func (in *inbox) take(from string, msg []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.msgs = append(in.msgs, from+": "+string(msg))
}

func (in *inbox) count(msg string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, m := range in.msgs {
		if m == msg {
			n++
		}
	}
	return n
}

// reaches says whether a message from one comes to in, trying again: the bus
// loses what is sent while it is being subscribed to.
func reaches(t *testing.T, one *Directory, to string, in *inbox) {
	t.Helper()
	n := 0
	pt.Eventually(t, 15*time.Second, func() error {
		n++
		msg := fmt.Sprint("try ", n)
		if err := one.Publish(t.Context(), to, []byte(msg)); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if in.count(one.RelayHost()+": "+msg) == 0 {
			return errors.New("the message did not come")
		}
		return nil
	})
}

func TestRedisBus(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	user, prefix := s.restrict(t), newPrefix()
	ctx := t.Context()
	open := func(host string, more ...presence.HostRange) (*Directory, *inbox) {
		r := openRedis(t, Options{URL: "redis://" + user + s.addr(), Prefix: prefix,
			Ranges: append(presence.HostRanges{{Host: host}}, more...), Timeout: time.Second,
			TTL: presence.TTLs{Hold: 3 * time.Second}})
		var in inbox
		r.Subscribe(in.take)
		return r, &in
	}
	one, in1 := open("One.example")
	two, in2 := open("two.example", presence.HostRange{Host: "too.example", Range: pt.Narrow(2)})
	three, in3 := open("three.example")
	reaches(t, one, "", in2)
	reaches(t, two, "ONE.example", in1)
	reaches(t, one, "too.example", in2) // another name of the same process
	reaches(t, two, "", in3)
	reaches(t, three, "", in1)

	binary := []byte("a\nb\x00\xff")
	pt.OK(t, one.Publish(ctx, "two.example", binary))
	pt.OK(t, one.Publish(ctx, "", []byte("all")))
	pt.OK(t, one.Publish(ctx, "nobody.example", []byte("lost")))
	pt.Eventually(t, 5*time.Second, func() error {
		if in2.count("one.example: "+string(binary)) != 1 || in2.count("one.example: all") != 1 ||
			in3.count("one.example: all") != 1 {
			return errors.New("a message is missing")
		}
		return nil
	})
	if in1.count("one.example: all") != 0 {
		t.Error("the sender got its own message")
	}
	if in3.count("one.example: "+string(binary)) != 0 {
		t.Error("a message came to another host")
	}
	if err := one.Publish(ctx, "", bytes.Repeat([]byte("x"), presence.MaxMessage+1)); err == nil {
		t.Error("a message above the bound was taken")
	}

	// Redis goes away and comes back, and hangs: the bus works again.
	s.kill()
	pt.Eventually(t, 5*time.Second, func() error {
		if err := one.Publish(ctx, "", []byte("x")); !errors.Is(err, presence.ErrUnavailable) {
			return fmt.Errorf("without Redis: %v", err)
		}
		return nil
	})
	s.start()
	s.restrict(t)
	reaches(t, one, "two.example", in2)
	reaches(t, two, "", in1)
	s.signal(syscall.SIGSTOP)
	time.Sleep(time.Second)
	s.signal(syscall.SIGCONT)
	reaches(t, two, "one.example", in1)
}

// A subscriber that is too slow loses messages, and delays nobody.
func TestRedisBusBounded(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	open := func(host string) *Directory {
		return openRedis(t, Options{URL: s.url(), Ranges: presence.HostRanges{{Host: host}}, Timeout: time.Second})
	}
	one, two := open("one.example"), open("two.example")
	var in inbox
	slow, got := make(chan struct{}), make(chan struct{}, 1)
	two.Subscribe(func(from string, msg []byte) {
		select {
		case got <- struct{}{}:
		default:
		}
		<-slow
		in.take(from, msg)
	})
	pt.Eventually(t, 5*time.Second, func() error {
		pt.OK(t, one.Publish(t.Context(), "two.example", []byte("first")))
		select {
		case <-got:
			return nil
		default:
			return errors.New("not subscribed")
		}
	})
	for i := range 3 * busQueue {
		pt.OK(t, one.Publish(t.Context(), "two.example", []byte(fmt.Sprint(i))))
	}
	close(slow)
	reaches(t, one, "two.example", &in)
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := len(in.msgs); n < busQueue/2 || n > 2*busQueue {
		t.Errorf("%d messages came of %d with a queue of %d", n, 3*busQueue, busQueue)
	}
}
