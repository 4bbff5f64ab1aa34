// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go/quicvarint"
)

// source reads through a short buffer, so that an idle connection holds next to
// nothing. What is longer than the buffer is read past it.
type source struct {
	r      io.Reader
	lo, hi int       // buf[lo:hi] is still unread
	buf    [256]byte // takes a usual frame in one read
}

// peek returns the next n octets, at most len(buf), which stay unread. io.EOF:
// there is no octet left.
func (s *source) peek(n int) ([]byte, error) {
	if s.lo+n > len(s.buf) {
		s.hi = copy(s.buf[:], s.buf[s.lo:s.hi])
		s.lo = 0
	}
	for s.hi-s.lo < n {
		if s.lo == s.hi {
			s.lo, s.hi = 0, 0
		}
		got, err := s.r.Read(s.buf[s.hi:])
		s.hi += got
		if err != nil && s.hi-s.lo < n {
			if err == io.EOF && s.hi > s.lo {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return s.buf[s.lo : s.lo+n], nil
}

func (s *source) skip(n int) { s.lo += n }

// varint reads an integer of QUIC (RFC 9000 section 16).
func (s *source) varint() (uint64, error) {
	b, err := s.peek(1)
	if err != nil {
		return 0, err
	}
	if b, err = s.peek(1 << (b[0] >> 6)); err != nil {
		return 0, err
	}
	v, n, err := quicvarint.Parse(b)
	s.skip(n)
	return v, err
}

// full fills b.
func (s *source) full(b []byte) error {
	n := copy(b, s.buf[s.lo:s.hi])
	s.lo += n
	if n == len(b) {
		return nil
	}
	_, err := io.ReadFull(s.r, b[n:])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// buffers are for frames that are put together to be written at once.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// giveBack keeps a buffer for others, unless it grew unusually large.
func giveBack(b *[]byte) {
	if cap(*b) <= 64<<10 {
		buffers.Put(b)
	}
}

// bound gives a call on a connection the deadline of ctx, and ends it when
// ctx ends before.
func bound(ctx context.Context, set func(time.Time) error) (stop func() bool, err error) {
	deadline, _ := ctx.Deadline() // the zero time is none
	if err := set(deadline); err != nil {
		return nil, err
	}
	if ctx.Done() == nil {
		return func() bool { return true }, nil
	}
	return context.AfterFunc(ctx, func() { set(time.Unix(1, 0)) }), nil
}
