// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// chunkSize is the octets of a body under one key: what a session that reads
// it holds, and what TOP reads at the least.
const chunkSize = 32 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meter measures a body as it passes.
type meter struct {
	octets, bare int64
	crc          uint32
	cr           bool // the last octet was a CR
}

func (m *meter) Write(p []byte) (int, error) {
	m.crc = crc32.Update(m.crc, castagnoli, p)
	m.octets += int64(len(p))
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			m.cr = rest[len(rest)-1] == '\r'
			break
		}
		if i > 0 && rest[i-1] != '\r' || i == 0 && !m.cr {
			m.bare++
		}
		m.cr = false
		rest = rest[i+1:]
	}
	return len(p), nil
}

// Staged is a body that is ready to be put into mailboxes: in memory, or, when
// large, in a file that is synced. It ends with Abort, whether it was put
// anywhere or not. One goroutine uses it.
type Staged struct {
	store *Store
	id    uint64
	meter meter
	small *bytes.Buffer // nil: a file
	kept  bool          // an index names the file
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Stage reads a body to its end. An error that wraps ErrFull means that there
// is no room; the body's own reading errors come back as they are.
//
// The store may close meanwhile: who sends the body may take long over it. A
// file that is left is removed at the next start.
func (s *Store) Stage(body io.Reader) (_ *Staged, err error) {
	defer s.rescue(&err)
	id, err := s.newStagedID()
	if err != nil {
		return nil, err
	}
	st := &Staged{store: s, id: id, small: buffers.Get().(*bytes.Buffer)}
	st.small.Reset()
	_, err = st.small.ReadFrom(io.LimitReader(body, s.o.LargeBody+1))
	_, _ = st.meter.Write(st.small.Bytes())
	if err == nil && st.meter.octets > s.o.LargeBody {
		err = st.spill(body)
	}
	if err != nil {
		st.Abort()
		return nil, fmt.Errorf("taking a body in: %w", err)
	}
	return st, nil
}

func (s *Store) newStagedID() (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	return s.newID()
}

// Octets is the size of the body.
func (st *Staged) Octets() int64 { return st.meter.octets }

// spill puts what was read and the rest into a file and syncs it.
func (st *Staged) spill(rest io.Reader) error {
	fs := st.store.fs
	f, err := fs.Create(st.store.bodyPath(st.id), vfs.WriteCategoryUnspecified)
	if err == nil {
		if _, err = f.Write(st.small.Bytes()); err == nil {
			// A writer of its own, so that file systems without ReadFrom do.
			_, err = io.Copy(io.MultiWriter(&st.meter, onlyWriter{f}), rest)
		}
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = syncDir(fs, fs.PathDir(st.store.bodyPath(st.id)))
	}
	st.freeBuffer()
	if err != nil && isFull(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

type onlyWriter struct{ io.Writer }

func (st *Staged) freeBuffer() {
	buffers.Put(st.small)
	st.small = nil
}

// Abort lets go of the body; what was put into mailboxes stays.
func (st *Staged) Abort() {
	if st.small != nil {
		st.freeBuffer()
	} else if !st.kept && st.id != 0 {
		_ = st.store.fs.Remove(st.store.bodyPath(st.id)) // else the next start does
	}
	st.id = 0
}

// write puts the body and how many messages share it into b.
func (st *Staged) write(b *pebble.Batch, messages int) error {
	var err error
	if st.small == nil {
		err = b.Set(idKey(keyFile, st.id), nil, nil)
	} else {
		for chunk, rest := uint32(0), st.small.Bytes(); len(rest) > 0 && err == nil; chunk++ {
			n := min(len(rest), chunkSize)
			err = b.Set(chunkKey(st.id, chunk), rest[:n], nil)
			rest = rest[n:]
		}
	}
	if messages > 1 {
		err = errors.Join(err, b.Set(idKey(keyShares, st.id), appendCount(nil, messages), nil))
	}
	return err
}

// message is the index entry of one of so many messages with this body.
func (st *Staged) message(messages int) *message {
	m := &message{body: st.id, octets: st.meter.octets, bare: st.meter.bare, crc: st.meter.crc}
	if st.small == nil {
		m.kind |= bodyFile
	}
	if messages > 1 {
		m.kind |= bodyShared
	}
	return m
}

func (s *Store) bodyPath(id uint64) string {
	return s.path("bodies", fmt.Sprintf("%02x", byte(id)), strconv.FormatUint(id, 16))
}
