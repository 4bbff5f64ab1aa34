// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func appendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

// readBuffers hold a chunk, or as much of a file, for their readers.
var readBuffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// Reader streams one message: it holds at most one chunk of it, or an open
// file. A message that is removed meanwhile ends in ErrNoMessage, unless it is
// a file.
type Reader struct {
	s    *Store
	m    *message
	at   int64 // position in the message
	held []byte
	buf  *[chunkSize]byte // of readBuffers; nil while it was not needed
	file vfs.File
}

func (s *Store) reader(m *message) *Reader { return &Reader{s: s, m: m} }

// Len is the octets that are left.
func (r *Reader) Len() int { return int(r.m.size() - r.at) }

// Skip goes n octets on without reading them.
func (r *Reader) Skip(n int64) {
	r.at = min(r.at+n, r.m.size())
	r.held = nil
}

// next returns the octets at the position, as many as are at hand; io.EOF at
// the end.
func (r *Reader) next() ([]byte, error) {
	if r.at >= r.m.size() {
		return nil, io.EOF
	}
	if len(r.held) > 0 {
		return r.held, nil
	}
	if r.at < int64(len(r.m.prefix)) {
		r.held = r.m.prefix[r.at:]
		return r.held, nil
	}
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[chunkSize]byte)
	}
	var err error
	if at := r.at - int64(len(r.m.prefix)); r.m.file() {
		r.held, err = r.nextOfFile(at)
	} else {
		r.held, err = r.s.chunk(r.m.body, uint32(at/chunkSize), r.buf[:0])
		r.held = r.held[min(int(at%chunkSize), len(r.held)):]
	}
	if err == nil && len(r.held) == 0 {
		err = fmt.Errorf("body %x is cut short: %w", r.m.body, io.ErrUnexpectedEOF)
	}
	return r.held, err
}

func (r *Reader) nextOfFile(at int64) ([]byte, error) {
	if r.file == nil {
		f, err := r.s.fs.Open(r.s.bodyPath(r.m.body))
		if err != nil {
			return nil, fmt.Errorf("opening a body: %w", err)
		}
		r.file = f
	}
	n, err := r.file.ReadAt(r.buf[:min(chunkSize, r.m.octets-at)], at)
	if n > 0 || errors.Is(err, io.EOF) {
		err = nil
	}
	return r.buf[:n], err
}

// passed notes that n octets of what next returned were used.
func (r *Reader) passed(n int) {
	r.held = r.held[n:]
	r.at += int64(n)
	if r.at >= r.m.size() {
		_ = r.Close()
	}
}

func (r *Reader) Read(p []byte) (int, error) {
	b, err := r.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	r.passed(n)
	return n, nil
}

// WriteTo saves io.Copy its own buffer.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(b)
		total += int64(n)
		if err != nil {
			return total, err
		}
		r.passed(n)
	}
}

// Close lets go of the file and the buffer.
func (r *Reader) Close() error {
	r.held = nil
	if r.buf != nil {
		readBuffers.Put(r.buf)
		r.buf = nil
	}
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// chunk appends a part of a body to b.
func (s *Store) chunk(body uint64, n uint32, b []byte) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	v, closer, err := s.db.Get(chunkKey(body, n))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNoMessage
	}
	if err != nil {
		return nil, fmt.Errorf("reading body %x: %w", body, err)
	}
	return append(b, v...), closer.Close()
}

// drop removes one message's use of its body with b, and returns the body's id
// if its file is to be removed once b is synced. Where the body is shared,
// Store.shared is held; counts are those that b has changed already.
func (s *Store) drop(b *pebble.Batch, m *message, counts map[uint64]int) (file uint64, err error) {
	if m.shared() {
		left, seen := counts[m.body]
		if !seen {
			n, err := s.number(idKey(keyShares, m.body))
			if err != nil {
				return 0, err
			}
			left = int(n)
		}
		left--
		counts[m.body] = left
		if left > 0 {
			return 0, b.Set(idKey(keyShares, m.body), appendCount(nil, left), nil)
		}
		if err := b.Delete(idKey(keyShares, m.body), nil); err != nil {
			return 0, err
		}
	}
	if m.file() {
		return m.body, b.Delete(idKey(keyFile, m.body), nil)
	}
	s.freed.Add(m.octets)
	for chunk := range chunks(m.octets) {
		if err := b.Delete(chunkKey(m.body, chunk), nil); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// chunks is how many keys a body of so many octets has.
func chunks(octets int64) uint32 { return uint32((octets + chunkSize - 1) / chunkSize) }

// removals removes files of bodies, but not while a backup links them.
type removals struct {
	sync.Mutex
	held    int
	waiting []uint64
}

func (s *Store) removeFiles(bodies []uint64) {
	if len(bodies) == 0 {
		return
	}
	s.removals.Lock()
	defer s.removals.Unlock()
	if s.removals.held > 0 {
		s.removals.waiting = append(s.removals.waiting, bodies...)
		return
	}
	for _, id := range bodies {
		// What stays is removed at the next start.
		_ = s.fs.Remove(s.bodyPath(id))
	}
}

// holdFiles keeps every file of a body until the returned function is called.
func (s *Store) holdFiles() (letGo func()) {
	s.removals.Lock()
	defer s.removals.Unlock()
	s.removals.held++
	return func() {
		s.removals.Lock()
		s.removals.held--
		var now []uint64
		if s.removals.held == 0 {
			now, s.removals.waiting = s.removals.waiting, nil
		}
		s.removals.Unlock()
		s.removeFiles(now)
	}
}

// eachFile calls do for every file of a body.
func (s *Store) eachFile(do func(id uint64, path string) error) error {
	for i := range 256 {
		dir := s.path("bodies", fmt.Sprintf("%02x", i))
		names, err := s.fs.List(dir)
		if err != nil {
			return fmt.Errorf("listing bodies: %w", err)
		}
		for _, name := range names {
			id, err := strconv.ParseUint(name, 16, 64)
			if err != nil {
				continue // not ours
			}
			if err := do(id, s.fs.PathJoin(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
