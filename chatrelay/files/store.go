// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

const (
	tempFolder  = "tmp"
	thumbSuffix = ".thumb"
)

// Store keeps files in one folder. Its methods may be called at the same time.
type Store struct {
	dir      string
	opt      Options
	budget   *budget
	pictures chan struct{} // holds a value for each picture being decoded
	patience time.Duration // pictureTime, less in tests
	shown    int           // maxShown, less in tests

	mu      sync.Mutex
	pinned  map[string]int      // IDs of uploads under way
	touched map[string]struct{} // pinned since Collect began; nil when none runs
	collect sync.Mutex          // held by Collect
}

// Open opens or makes the folder dir, removes what uploads left half done, and
// counts what is there.
func Open(dir string, opt Options) (*Store, error) {
	for bound, standard := range map[*int64]int64{&opt.MaxFile: defaultFile,
		&opt.MaxRoom: defaultRoom, &opt.MaxTotal: defaultTotal} {
		if *bound <= 0 {
			*bound = standard
		}
	}
	if opt.Used == nil {
		return nil, errors.New("opening the folder of files: Used is needed")
	}
	s := &Store{
		dir: dir, opt: opt,
		budget:   &budget{opt: opt, rooms: make(map[string]*account)},
		pictures: make(chan struct{}, maxPictures),
		patience: pictureTime,
		shown:    maxShown,
		pinned:   make(map[string]int),
	}
	temp := filepath.Join(dir, tempFolder)
	err := os.RemoveAll(temp)
	if err == nil {
		err = os.MkdirAll(temp, 0o700)
	}
	if err == nil {
		err = s.walk(func(_, _ string, info fs.FileInfo) error { s.budget.total += info.Size(); return nil })
	}
	if err != nil {
		return nil, fmt.Errorf("opening the folder of files: %w", err)
	}
	return s, nil
}

// View is the folder of another process, for Open and Serve alone.
func View(dir string) *Store { return &Store{dir: dir} }

// MaxFile returns how many octets a file may have.
func (s *Store) MaxFile() int64 { return s.opt.MaxFile }

// Put stores what r gives and calls keep, which records the file as one of
// the room's; until keep returns, the file is not collected as an orphan. If
// Put errs, the room has no new file.
//
// name is what the sender calls the file. The errors are ErrTooLarge,
// ErrRoomFull, ErrFull, ErrBusy, ErrEmpty, ErrPicture, those of r, keep and
// Used, and those of the file system.
func (s *Store) Put(
	ctx context.Context, room, name string, r io.Reader, keep func(context.Context, chat.File) error,
) (f chat.File, err error) {
	loan, err := s.budget.open(ctx, room)
	if err != nil {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	var kept int64
	defer func() { loan.close(kept) }()
	raw, err := s.temp(loan, s.opt.MaxFile)
	if err != nil {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	defer raw.drop()
	// Only Write, and a reader that ends with its context: no hidden copying.
	if _, err := io.Copy(struct{ io.Writer }{raw}, reader{ctx, r}); err != nil {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	if raw.size == 0 {
		return chat.File{}, fmt.Errorf("storing a file: %w", ErrEmpty)
	}
	head := make([]byte, sniffLen)
	n, err := raw.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	kind := sniff(head[:n])
	full, thumb := raw, (*spill)(nil)
	if decodable(kind) {
		pic, err := s.picture(ctx, raw, kind, loan)
		switch {
		case errors.Is(err, errDamaged):
			kind = octetStream // it lied about its type, or is broken: a download
		case err != nil:
			return chat.File{}, fmt.Errorf("storing a picture: %w", err)
		default:
			defer pic.drop()
			raw.drop()
			full, thumb, kind = pic.full, pic.thumb, pic.kind
			f.Width, f.Height, f.Thumb = pic.width, pic.height, thumb != nil
		}
	}
	f.Name, f.Type, f.Size, f.Octets = Name(name), kind, full.size, full.size
	if f.Picture() {
		f.Name = withExtension(f.Name, kind)
	}
	if f.ID, err = digest(full.File); err != nil {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	s.pin(f.ID)
	defer s.unpin(f.ID)
	if thumb != nil { // first, so that what has an ID has its thumbnail
		f.Octets += thumb.size
		err = s.install(thumb, f.ID+thumbSuffix)
	}
	if err == nil {
		err = s.install(full, f.ID)
	}
	if err != nil {
		return chat.File{}, fmt.Errorf("storing a file: %w", err)
	}
	if err := keep(ctx, f); err != nil {
		return chat.File{}, fmt.Errorf("recording a file: %w", err)
	}
	kept = f.Octets
	return f, nil
}

// Open opens a stored file, or its thumbnail, for reading. It errs with
// ErrUnknown if there is none.
func (s *Store) Open(id string, thumb bool) (*os.File, error) {
	if !validID(id) {
		return nil, ErrUnknown
	}
	if thumb {
		id += thumbSuffix
	}
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnknown
	} else if err != nil {
		return nil, fmt.Errorf("opening a file: %w", err)
	}
	return f, nil
}

// Total returns the octets of the folder's files, uploads under way included.
func (s *Store) Total() int64 {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.total
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name[:2], name[2:]) }

func (s *Store) temp(l *loan, max int64) (*spill, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tempFolder), "")
	if err != nil {
		return nil, err
	}
	return &spill{File: f, loan: l, max: max}, nil
}

// install makes a temporary file a stored one: synced, renamed, and its
// folder synced.
func (s *Store) install(t *spill, name string) error {
	path := s.path(name)
	if info, err := os.Stat(path); err == nil && info.Size() == t.size { // the same was sent before
		now := time.Now()
		if err := os.Chtimes(path, now, now); err != nil {
			return err
		}
		return syncFolder(filepath.Dir(path)) // who sent it may not have got so far
	}
	folder := filepath.Dir(path)
	if err := os.Mkdir(folder, 0o700); err == nil {
		if err := syncFolder(s.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if err := s.rename(t, path); err != nil {
		return err
	}
	return syncFolder(folder)
}

// rename counts a file that two uploads store at once only once.
func (s *Store) rename(t *spill, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if info, err := os.Stat(path); err == nil {
		s.budget.removed(info.Size())
	}
	if err := os.Rename(t.Name(), path); err != nil {
		return err
	}
	t.loan.onDisk(t.size)
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func digest(f *os.File) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func validID(id string) bool {
	return len(id) == 2*sha256.Size && strings.Trim(id, "0123456789abcdef") == ""
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
