// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// NoWait wraps a connection that may become a WebSocket. Then its writes do not
// wait: what the system does not take at once is kept, and a goroutine that
// lives only that long writes it. So any goroutine can write a message, under
// TLS too, and a client that does not read holds nobody up. Listeners whose
// connections come to Upgrade should wrap them: without it each delivery takes a
// goroutine. On Windows, which has no such write, it wraps nothing.
func NoWait(c net.Conn) net.Conn {
	if t, ok := c.(syscall.Conn); ok && mayTry {
		if raw, err := t.SyscallConn(); err == nil {
			return &noWaitConn{Conn: c, raw: raw}
		}
	}
	return c
}

type noWaitConn struct {
	net.Conn
	raw     syscall.RawConn
	on      atomic.Bool // writes do not wait
	mu      sync.Mutex
	rest    []byte        // octets that the system did not take
	flushed chan struct{} // closed when rest has been written; nil: there is no rest
	err     error         // of writing rest
}

// noWaitOf finds the wrapper below TLS and other wrappers.
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

// behind says whether something is left to write.
func (s *noWaitConn) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushed != nil
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
	if s.flushed != nil { // bounded: a Queue writes nothing more until the rest has been written
		s.rest = append(s.rest, b...)
		return len(b), nil
	}
	n, failed := 0, error(nil)
	err := s.raw.Write(func(fd uintptr) bool {
		for {
			n, failed = tryWrite(fd, b)
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
		s.rest, s.flushed = append([]byte(nil), b[n:]...), make(chan struct{})
		go s.flush() // ends with the rest, or when the client takes nothing for writeWait
	}
	return len(b), nil
}

// flush writes the rest.
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
	s.Conn.SetWriteDeadline(time.Time{}) // a past one would fail the next write
	s.rest = nil
	close(s.flushed)
	s.flushed = nil
}

// wait returns when nothing is left, at most after d.
func (s *noWaitConn) wait(d time.Duration) error {
	s.mu.Lock()
	flushed, err := s.flushed, s.err
	s.mu.Unlock()
	if flushed == nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-flushed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}
