// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// NoWait wraps a connection that may become a WebSocket. Then its writes do not
// wait: what the system does not take at once is kept, and written by a
// goroutine that lives only as long as there is something left. So a message
// can be written by whoever has it, under TLS too, and a reader that does not
// keep up holds nobody up. Listeners whose connections come to Upgrade should
// wrap them; without it each delivery takes a goroutine.
func NoWait(c net.Conn) net.Conn {
	if t, ok := c.(syscall.Conn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			return &noWaitConn{Conn: c, raw: raw}
		}
	}
	return c
}

type noWaitConn struct {
	net.Conn
	raw  syscall.RawConn
	on   atomic.Bool // writes do not wait
	mu   sync.Mutex
	rest []byte        // what the system did not take
	dry  chan struct{} // closed when rest has been written; nil: there is none
	err  error         // of writing it
}

// noWaitOf finds the wrapper below TLS and others that tell what they wrap.
func noWaitOf(c net.Conn) *noWaitConn {
	for {
		if s, ok := c.(*noWaitConn); ok {
			return s
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = w.NetConn()
	}
}

// wet says whether something is left to write.
func (s *noWaitConn) wet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dry != nil
}

func (s *noWaitConn) Write(b []byte) (int, error) {
	if !s.on.Load() {
		return s.Conn.Write(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.dry != nil { // the outbox bounds it: it does not begin to write what is more
		s.rest = append(s.rest, b...)
		return len(b), nil
	}
	n, failed := 0, error(nil)
	err := s.raw.Write(func(fd uintptr) bool {
		for {
			n, failed = syscall.Write(int(fd), b)
			if failed != syscall.EINTR {
				return true
			}
		}
	})
	n = max(n, 0)
	switch {
	case err != nil:
		return 0, err
	case failed != nil && failed != syscall.EAGAIN:
		return n, os.NewSyscallError("write", failed)
	}
	if n < len(b) {
		s.rest, s.dry = append([]byte(nil), b[n:]...), make(chan struct{})
		go s.flush()
	}
	return len(b), nil
}

// flush writes what is left.
func (s *noWaitConn) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) > 0 && s.err == nil {
		b := s.rest
		s.rest = nil
		s.mu.Unlock()
		s.Conn.SetWriteDeadline(time.Now().Add(writeWait))
		_, err := s.Conn.Write(b)
		s.mu.Lock()
		s.err = err
	}
	s.Conn.SetWriteDeadline(time.Time{}) // a past one would fail what comes next
	s.rest = nil
	close(s.dry)
	s.dry = nil
}

// wait returns when nothing is left, at most after d.
func (s *noWaitConn) wait(d time.Duration) error {
	s.mu.Lock()
	dry, err := s.dry, s.err
	s.mu.Unlock()
	if dry == nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-dry:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}
