// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Every read of the index goes through get and each, so that a damaged or
// missing file of it is an error of that read and of nothing else.

// get reads one value and gives it to do, which must not keep it. It says
// whether there is such a key.
func (s *Store) get(r pebble.Reader, key []byte, do func(value []byte) error) (found bool, err error) {
	defer s.rescue(&err)
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unreadable(err)
	}
	failed := do(v)
	// A value that cannot be read comes as an empty one: only Close tells.
	if err := closer.Close(); err != nil {
		return false, unreadable(err)
	}
	return true, failed
}

// each calls do for each key from first up to but without end, in order, until
// do says that there are enough of them or fails. It sees r as it was at the
// start.
func (s *Store) each(r pebble.Reader, first, end []byte,
	do func(key, value []byte) (enough bool, err error)) (err error) {
	defer s.rescue(&err)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: first, UpperBound: end})
	if err != nil {
		return unreadable(err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = unreadable(closeErr)
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return unreadable(err)
		}
		if enough, err := do(it.Key(), v); enough || err != nil {
			return err
		}
	}
	return nil
}

// eachOf is each for all keys of one kind.
func (s *Store) eachOf(r pebble.Reader, kind byte, do func(key, value []byte) error) error {
	return s.each(r, []byte{kind}, []byte{kind + 1}, func(key, value []byte) (bool, error) {
		return false, do(key, value)
	})
}

func unreadable(err error) error {
	if errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// rescue, deferred, makes an error of a panic. Pebble panics on some kinds of
// damage; no operation on one message may end the process.
func (s *Store) rescue(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: panic: %v", ErrDamaged, p)
		s.o.Log.Error("mailstore: a panic", "err", *err, "stack", string(debug.Stack()))
	}
}

type pebbleLog struct{ s *Store }

func (l pebbleLog) Infof(string, ...interface{}) {} // flushes and compactions: metrics tell
func (l pebbleLog) Errorf(format string, args ...interface{}) {
	l.s.o.Log.Error("mailstore: pebble", "err", fmt.Errorf(format, args...))
}

// Fatalf ends the process, unless an iterator found that its input contradicts
// itself: rescue makes that the error of one read.
func (l pebbleLog) Fatalf(format string, args ...interface{}) {
	err := fmt.Errorf(format, args...)
	if strings.Contains(format, "violation") {
		panic(err)
	}
	if l.s.closed.Load() { // the process ends anyway, and others have to close
		l.s.o.Log.Error("mailstore: pebble, while closing", "err", err)
		select {}
	}
	l.s.o.Fatal(err)
}

// indexFS is the file system as Pebble sees it.
//
// Pebble panics, also in goroutines of its own, when it finds a blob file
// damaged (DB.reportCorruption knows no blob files). Therefore indexFS checks
// what is read of one first, and Pebble sees an error of the file system. A
// blob file that is not there is listed all the same: Pebble takes one that it
// has never seen for damaged as well.
//
// What Pebble writes outside the store, a backup, fails on a full disk, so that
// no writer waits for it.
type indexFS struct {
	vfs.FS
	s       *Store
	missing []string // names of blob files that the index needs
}

// blockTrailer is the octets behind a block: its kind of compression and its
// checksum.
const blockTrailer = 5

func (fs *indexFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if !strings.HasSuffix(name, ".blob") {
		return f, err
	}
	if err != nil {
		return nil, fs.damaged(name, err)
	}
	b := &blobFile{File: f, fs: fs, name: name}
	if err := b.check(); err != nil {
		_ = f.Close()
		return nil, fs.damaged(name, err)
	}
	return b, nil
}

// damaged makes an error that Pebble does not take for one of its own.
func (fs *indexFS) damaged(name string, err error) error {
	fs.s.blobFault.Store(true)
	return fmt.Errorf("%w: file %s: %v", ErrDamaged, fs.PathBase(name), err)
}

func (fs *indexFS) List(dir string) ([]string, error) {
	names, err := fs.FS.List(dir)
	if err == nil && dir == fs.s.path("index") {
		names = append(names, fs.missing...)
	}
	return names, err
}

func (fs *indexFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err == nil && !strings.HasPrefix(name, fs.s.path("")+string(os.PathSeparator)) {
		f = guestFile{f}
	}
	return f, err
}

// guestFile is a file outside the store.
type guestFile struct{ vfs.File }

func (f guestFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil && isFull(err) {
		err = fmt.Errorf("%w: %v", ErrFull, err) // no ENOSPC: that would be waited for
	}
	return n, err
}

// blobFile compares each block that is read of a blob file with its checksum.
type blobFile struct {
	vfs.File
	fs   *indexFS
	name string
	size int64
}

// check reads the footer.
func (f *blobFile) check() error {
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	f.size = info.Size()
	readable, err := sstable.NewSimpleReadable(f.File)
	if err == nil {
		_, err = blob.NewFileReader(context.Background(), readable, blob.FileReaderOptions{})
	}
	return err
}

// ReadAt reads a whole block with its trailer, or the footer: Pebble reads
// nothing else.
func (f *blobFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	if err == nil && at+int64(n) < f.size && !blockIsWhole(p) {
		err = errors.New("the checksum of a block differs")
	}
	if err != nil {
		return 0, f.fs.damaged(f.name, fmt.Errorf("at %d: %w", at, err))
	}
	return n, nil
}

// blockIsWhole compares a block with the CRC-32C at its end, which is masked as
// in LevelDB.
func blockIsWhole(b []byte) bool {
	if len(b) < blockTrailer {
		return false
	}
	end := len(b) - 4
	sum := crc32.Checksum(b[:end], castagnoli)
	return binary.LittleEndian.Uint32(b[end:]) == (sum>>15|sum<<17)+0xa282ead8
}

// findMissing looks which blob files the index needs and has not: it opens the
// index for reading, without the log, which names no blob file.
func (fs *indexFS) findMissing() error {
	index := fs.s.path("index")
	if _, err := fs.FS.Stat(index); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := pebble.Open(index, &pebble.Options{
		FS: logless{fs.FS}, ReadOnly: true, DisableConsistencyCheck: true, Logger: pebbleLog{fs.s},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	})
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for b := range db.DebugCurrentVersion().BlobFiles.All() {
		name := fmt.Sprintf("%06d.blob", b.Physical.FileNum)
		if _, err := fs.FS.Stat(fs.PathJoin(index, name)); errors.Is(err, os.ErrNotExist) {
			fs.missing = append(fs.missing, name)
			fs.s.o.Log.Error("mailstore: a file is missing and the mail in it cannot be read: "+
				"restore it from a backup, see `chmaild store check`", "err", unreadable(err), "file", name)
		}
	}
	return db.Close()
}

// logless is a file system without Pebble's logs.
type logless struct{ vfs.FS }

func (fs logless) List(dir string) ([]string, error) {
	names, err := fs.FS.List(dir)
	kept := names[:0]
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			kept = append(kept, name)
		}
	}
	return kept, err
}
