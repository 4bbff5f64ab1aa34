// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func appendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

// readBuffers hold a chunk, or as much of a file, for their readers.
var readBuffers = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// Reader streams one message: it holds at most one piece of its body, or an
// open file. Octets that cannot be read are an error that wraps ErrDamaged; a
// message that is removed meanwhile ends in ErrNoMessage, unless it is a file.
type Reader struct {
	s       *Store
	mailbox uint64
	uid     uint32
	m       *message
	at      int64            // position in the message
	buf     *[chunkSize]byte // of readBuffers; nil while it was not needed
	start   int64            // of piece in the body, a multiple of chunkSize
	piece   []byte           // in buf
	file    vfs.File
}

func (s *Store) reader(mailbox uint64, uid uint32, m *message) *Reader {
	return &Reader{s: s, mailbox: mailbox, uid: uid, m: m}
}

// Len is the octets that are left.
func (r *Reader) Len() int { return int(r.m.size() - r.at) }

// Skip goes n octets on without reading them.
func (r *Reader) Skip(n int64) { r.at = min(r.at+n, r.m.size()) }

// Check reads what is to be sent before its first octet is sent: all of the
// body, which is compared with its checksum, or the octets at the position.
func (r *Reader) Check(whole bool) error {
	if !whole {
		_, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	var sum uint32
	for at := int64(0); at < r.m.octets; at += chunkSize {
		b, err := r.body(at)
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
	}
	if sum != r.m.crc {
		return fmt.Errorf("%w: the checksum of body %x differs", ErrDamaged, r.m.body)
	}
	if r.m.octets > chunkSize {
		_ = r.Close() // what is not read after all leaves nothing open
	}
	return nil
}

// next returns the octets at the position, as many as are at hand; io.EOF at
// the end.
func (r *Reader) next() ([]byte, error) {
	switch at := r.at - int64(len(r.m.prefix)); {
	case r.at >= r.m.size():
		return nil, io.EOF
	case at < 0:
		return r.m.prefix[r.at:], nil
	default:
		return r.body(at)
	}
}

// body returns the octets of the body from a position up to the end of the
// piece that it is in.
func (r *Reader) body(at int64) ([]byte, error) {
	if r.piece == nil || at < r.start || at >= r.start+int64(len(r.piece)) {
		if err := r.load(at - at%chunkSize); err != nil {
			return nil, err
		}
	}
	return r.piece[at-r.start:], nil
}

// load reads the piece that begins at start.
func (r *Reader) load(start int64) (err error) {
	defer r.s.rescue(&err)
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[chunkSize]byte)
	}
	r.start = start
	r.piece = r.buf[:min(chunkSize, r.m.octets-start)]
	n := 0
	if r.m.file() {
		n, err = r.readFile(r.piece, start)
	} else {
		n, err = r.readChunk(r.piece, start)
	}
	if err == nil && n != len(r.piece) {
		err = fmt.Errorf("%w: body %x is cut short at %d", ErrDamaged, r.m.body, start+int64(n))
	}
	if err != nil {
		r.piece = nil
	}
	return err
}

func (r *Reader) readFile(p []byte, at int64) (n int, err error) {
	if r.file == nil {
		f, err := r.s.fs.Open(r.s.bodyPath(r.m.body))
		if errors.Is(err, os.ErrNotExist) {
			if err := r.s.enter(); err != nil {
				return 0, err
			}
			defer r.s.leave()
			return 0, r.gone("the file of body %x is missing")
		}
		if err != nil {
			return 0, fmt.Errorf("%w: opening body %x: %w", ErrDamaged, r.m.body, err)
		}
		r.file = f
	}
	if n, err = r.file.ReadAt(p, at); err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%w: reading body %x: %w", ErrDamaged, r.m.body, err)
	}
	return n, nil
}

func (r *Reader) readChunk(p []byte, at int64) (n int, err error) {
	if err := r.s.enter(); err != nil {
		return 0, err
	}
	defer r.s.leave()
	found, err := r.s.get(r.s.db, chunkKey(r.m.body, uint32(at/chunkSize)), func(v []byte) error {
		n = copy(p, v)
		return nil
	})
	if err == nil && !found {
		err = r.gone("a part of body %x is missing")
	}
	return n, err
}

// gone tells a message that was removed meanwhile from one that lost its body.
func (r *Reader) gone(damage string) error {
	if _, err := r.s.message(r.s.db, r.mailbox, r.uid); errors.Is(err, ErrNoMessage) {
		return err
	}
	return fmt.Errorf("%w: "+damage, ErrDamaged, r.m.body)
}

// passed notes that n octets of what next returned were used.
func (r *Reader) passed(n int) {
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
	r.piece = nil
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
