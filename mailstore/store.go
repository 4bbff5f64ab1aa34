// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// formatVersion is the store's layout: the package comment. An older one
	// is migrated at Open, a newer one refused.
	formatVersion = 1

	// memtable is the octets of one of Pebble's in-memory tables; up to
	// memtables of them wait to be written before writers wait for them. On a
	// small disk they are smaller.
	memtable, memtables = 32 << 20, 4
	smallMemtable       = 4 << 20
	// separateAbove is the octets of a value that Pebble keeps in a blob file.
	separateAbove = 1 << 10
	// maxAccounts is how many accounts nobody uses stay loaded.
	maxAccounts = 10_000
	// idBlock is how many ids are reserved at once.
	idBlock = 1 << 20
	// maxUnsynced is how many deliveries wait for their sync at once; more
	// wait before they are given a UID.
	maxUnsynced = 512
	// maxLoose is how many UIDs one batch may give out without reserving them
	// first. A mailbox never has more than uidSkip UIDs that are not synced:
	// maxUnsynced deliveries and one larger batch, which waits for its sync
	// under the account's lock.
	maxLoose = 256
	uidSkip  = 1024
	// closePatience is how long Close waits for what is under way.
	closePatience = 3 * time.Second
)

// errBusy: an operation did not end in time.
var errBusy = errors.New("an operation goes on")

// Store is an open mail store. Its methods may be called from any goroutine.
type Store struct {
	dir   string
	o     Options
	fs    vfs.FS
	db    *pebble.DB
	lock  io.Closer
	epoch uint64 // starts that followed a crash

	open     sync.RWMutex // held for writing by Close
	opened   atomic.Bool
	closed   atomic.Bool
	mu       sync.Mutex // of accounts and idle
	accounts map[string]*account
	idle     list.List // of *account that nobody uses, oldest first
	shared   sync.Mutex
	ids      struct {
		sync.Mutex
		next, bound uint64
		validity    uint32
	}
	first uint64 // ids below it are of earlier processes
	// blobFault is set when a blob file was found damaged, until the next start.
	blobFault atomic.Bool
	unsynced  chan struct{}
	space     space
	domains   map[string]*atomic.Int64 // octets in use, of domains with a quota

	appendLimit atomic.Uint32

	removals removals
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	sweep    chan struct{} // there are removed mailboxes
	full     chan struct{} // mail was refused for want of room
	freed    atomic.Int64  // octets of bodies removed since the last reclaim
	working  sync.WaitGroup
}

// Open opens the store in a folder and makes it when there is none. It returns
// an error that wraps ErrInUse if another process has it open, and ErrFormat
// if it is of a newer version.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{
		dir: dir, o: o, fs: o.FS, accounts: make(map[string]*account),
		sweep: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	s.defaults()
	if err := s.openDir(); err != nil {
		return nil, fmt.Errorf("opening the mail store %s: %w", dir, err)
	}
	s.useSpare()
	if err := s.openIndex(); err != nil {
		if s.db != nil {
			_ = s.closeIndex()
		}
		_ = s.lock.Close()
		return nil, fmt.Errorf("opening the mail store %s: %w", dir, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.opened.Store(true)
	s.working.Go(s.clean)
	s.working.Go(s.reclaim)
	return s, nil
}

func (s *Store) defaults() {
	o := &s.o
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if o.CacheSize == 0 {
		o.CacheSize = DefaultCacheSize
	}
	if o.LargeBody == 0 {
		o.LargeBody = DefaultLargeBody
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			fmt.Fprintln(os.Stderr, "chmaild: the mail store cannot go on:", err)
			os.Exit(75)
		}
	}
	s.unsynced = make(chan struct{}, maxUnsynced)
}

func (s *Store) path(elem ...string) string {
	return s.fs.PathJoin(append([]string{s.dir}, elem...)...)
}

// openDir makes the folder, takes its lock and reads its format.
func (s *Store) openDir() error {
	if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	lock, err := s.fs.Lock(s.path("lock"))
	if errors.Is(err, os.ErrPermission) { // this account may not even ask
		return err
	}
	if err != nil {
		return fmt.Errorf("%w by another process, such as a chmaild that runs already (%w)", ErrInUse, err)
	}
	s.lock = lock
	if err := s.format(); err != nil {
		_ = lock.Close()
		return err
	}
	return nil
}

// format reads the version, and writes it when the store is new.
func (s *Store) format() error {
	f, err := s.fs.Open(s.path("FORMAT"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err != nil {
		return s.makeFormat(s.dir)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil:
		return fmt.Errorf("reading FORMAT: %w", err)
	case version > formatVersion:
		return fmt.Errorf("%w: it has format %d, this one knows up to %d: install the newer chmaild again",
			ErrFormat, version, formatVersion)
	case version < 1:
		return fmt.Errorf("FORMAT says %d, which never was", version)
	}
	return nil // formats before this one would be migrated here
}

// makeFormat makes the folders of bodies in dir, and then the file that makes
// dir a store. All of it is on the disk when it returns: also the folders above
// dir, which somebody else may have made without waiting for that.
func (s *Store) makeFormat(dir string) error {
	for i := range 256 {
		if err := s.fs.MkdirAll(s.fs.PathJoin(dir, "bodies", fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	tmp := s.fs.PathJoin(dir, "FORMAT.new")
	f, err := s.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", formatVersion)
	err = errors.Join(err, f.Sync(), f.Close(), syncDir(s.fs, s.fs.PathJoin(dir, "bodies")))
	if err == nil {
		err = s.fs.Rename(tmp, s.fs.PathJoin(dir, "FORMAT"))
	}
	if err == nil {
		err = syncDir(s.fs, dir)
	}
	for parent := s.fs.PathDir(dir); err == nil && parent != dir; dir, parent = parent, s.fs.PathDir(parent) {
		if err = syncDir(s.fs, parent); errors.Is(err, os.ErrPermission) {
			return nil // it is not ours, and older than the store
		}
	}
	return err
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) openIndex() error {
	fs := &indexFS{FS: s.fs, s: s}
	if err := fs.findMissing(); err != nil {
		return err
	}
	db, err := pebble.Open(s.path("index"), s.pebbleOptions(fs))
	if err != nil {
		return err
	}
	s.db = db
	if s.ids.bound, err = s.number(storeIDs); err != nil {
		return err
	}
	validity, err := s.number(storeValidity)
	if err != nil {
		return err
	}
	s.ids.validity = uint32(validity)
	if s.epoch, err = s.number(storeEpoch); err != nil {
		return err
	}
	clean, err := s.number(storeClean)
	if err != nil {
		return err
	}
	fresh := s.ids.bound == 0
	if clean == 0 && !fresh {
		s.epoch++
	}
	s.ids.next = max(s.ids.bound, 1)
	s.first = s.ids.next
	s.ids.bound = s.ids.next + idBlock
	b := db.NewBatch()
	err = errors.Join(
		b.Set(storeIDs, binary.AppendUvarint(nil, s.ids.bound), nil),
		b.Set(storeEpoch, binary.AppendUvarint(nil, s.epoch), nil),
		b.Delete(storeClean, nil),
		b.Commit(pebble.Sync))
	if err != nil {
		return err
	}
	return s.countDomains()
}

func (s *Store) pebbleOptions(fs vfs.FS) *pebble.Options {
	o := &pebble.Options{
		FS:                          s.waitForRoom(fs),
		CacheSize:                   s.o.CacheSize + 2*int64(s.memtableSize()), // Pebble takes memtables off it
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                s.memtableSize(),
		MemTableStopWritesThreshold: memtables,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		Logger:                      pebbleLog{s},
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	o.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) { s.o.Log.Error("mailstore: in the background", "err", err) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.o.Log.Error("mailstore: damaged file, run `chmaild store check`", "err", info.Details, "file", info.Path)
		},
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		policy := pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           separateAbove,
			MaxBlobReferenceDepth: 10,
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.3,
		}
		if s.blobFault.Load() { // Pebble would try to rewrite a damaged file without a pause
			policy.TargetGarbageRatio = 1
		}
		return policy
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// enter begins an operation; leave ends it. In between the store stays open.
func (s *Store) enter() error {
	s.open.RLock()
	if s.closed.Load() {
		s.open.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.open.RUnlock() }

// Close waits for the operations under way and closes the store. Those that
// take longer than closePatience it leaves to the end of the process: to the
// next start that is a crash, which loses nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	done := make(chan error, 1)
	go func() { // ends with the last operation, or with the process
		s.working.Wait()
		s.open.Lock()
		defer s.open.Unlock()
		err := s.db.Set(storeClean, []byte{1}, pebble.Sync)
		done <- errors.Join(err, s.closeIndex(), s.lock.Close())
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(closePatience):
		err = errBusy
	}
	if err != nil {
		return fmt.Errorf("closing the mail store: %w", err)
	}
	return nil
}

// closeIndex closes Pebble, which panics where it has read damaged files.
func (s *Store) closeIndex() (err error) {
	defer s.rescue(&err)
	return s.db.Close()
}

// Dir is the store's folder.
func (s *Store) Dir() string { return filepath.Clean(s.dir) }
