// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/safely"
)

// Limits of senders, and times.
const (
	senderBurst    = 20 // files a participant may send at once
	senderEvery    = 3 * time.Second
	networkBurst   = 60 // of an address prefix; then one a second
	senderAtOnce   = 3  // of one participant under way; the next is refused
	maxTracked     = 20000
	collectEvery   = time.Hour
	collectAge     = time.Hour // files that nobody has are kept for so long
	databaseWithin = 10 * time.Second
)

// ErrNoFiles: this server keeps no files.
var ErrNoFiles = errors.New("this server keeps no files")

// TooOftenError says when to come back.
type TooOftenError struct{ Wait time.Duration }

func (e *TooOftenError) Error() string { return "too many files; wait " + e.Wait.String() }

// MissingError: the room has the file, but it is not in the folder.
type MissingError struct{ Folder string }

func (e *MissingError) Error() string { return fmt.Sprintf("the folder %q does not have it", e.Folder) }

// Rooms is what a Service uses of the rooms' database.
type Rooms interface {
	// File returns a file of a room, as the message at an offset names it, or at 0 the
	// newest one, from the offset since on; chat.ErrUnknown: there is none of the ID.
	File(ctx context.Context, roomID, id string, since, at int64) (chat.File, error)
	// FileOctets is how many octets a room's files take.
	FileOctets(ctx context.Context, roomID string) (int64, error)
	// HasFile says whether a room has a file of a folder.
	HasFile(ctx context.Context, folder, id string) (bool, error)
}

// ServiceOptions are what StartService needs. Bounds are octets; 0 is the
// default of Options.
type ServiceOptions struct {
	Dir                        string // relays that share the rooms share it
	Folder                     string // of this relay within Dir; empty: Dir itself
	MaxFile, MaxRoom, MaxFiles int64
	Rooms                      Rooms
	Log                        *slog.Logger // nil: nothing is logged
}

// Service keeps the files of conversations: it takes them, within each sender's
// limits, serves its own and those of other relays' folders, and removes those
// that no room has any more. A nil Service keeps no files.
type Service struct {
	opt         ServiceOptions
	own         *Store
	participant *limit.Buckets
	network     *limit.Buckets
	stop        context.CancelFunc
	owned       sync.WaitGroup

	mu      sync.Mutex
	others  map[string]*Store // other relays' folders
	sending map[int64]int     // files under way by participant
}

// StartService opens the folder and returns a service that runs until Close.
func StartService(opt ServiceOptions) (*Service, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	own, err := Open(filepath.Join(opt.Dir, opt.Folder), Options{
		MaxFile: opt.MaxFile, MaxRoom: opt.MaxRoom, MaxTotal: opt.MaxFiles, Used: opt.Rooms.FileOctets})
	if err != nil {
		return nil, err
	}
	s := &Service{opt: opt, own: own, others: map[string]*Store{}, sending: map[int64]int{},
		participant: limit.NewBuckets(limit.Rate{Every: rate.Every(senderEvery), Burst: senderBurst}, maxTracked),
		network:     limit.NewBuckets(limit.Rate{Every: 1, Burst: networkBurst}, maxTracked)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.owned.Go(func() { s.run(ctx) })
	return s, nil
}

// Close returns when the service's goroutine has ended. Files may be taken and
// served afterwards.
func (s *Service) Close() {
	if s != nil {
		s.stop()
		s.owned.Wait()
	}
}

// MaxFile is how many octets a file may have; 0: no files are kept.
func (s *Service) MaxFile() int64 {
	if s == nil {
		return 0
	}
	return s.own.MaxFile()
}

// Begin counts a file that a participant sends, until done; network is their
// address prefix, or not valid. *TooOftenError; ErrNoFiles.
func (s *Service) Begin(participant int64, network netip.Prefix) (done func(), err error) {
	if s == nil {
		return nil, ErrNoFiles
	}
	wait := s.participant.Wait(strconv.FormatInt(participant, 10))
	if wait == 0 && network.IsValid() {
		wait = s.network.Wait(network.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait == 0 && s.sending[participant] >= senderAtOnce {
		wait = senderEvery
	}
	if wait > 0 {
		return nil, &TooOftenError{wait}
	}
	s.sending[participant]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sending[participant]--; s.sending[participant] == 0 {
			delete(s.sending, participant)
		}
	}, nil
}

// Put stores a file of a room and has keep record it there. Errors are those of
// Store.Put.
func (s *Service) Put(ctx context.Context, roomID, name string, body io.Reader,
	keep func(context.Context, chat.File) error) error {
	_, err := s.own.Put(ctx, roomID, name, body, func(ctx context.Context, f chat.File) error {
		f.Folder = s.opt.Folder
		return keep(ctx, f)
	})
	return err
}

// Discard reads a file and keeps nothing of it, as for a sender who was blocked
// and must not learn of it. It returns what Put would have recorded.
func (s *Service) Discard(name string, body io.Reader) (chat.File, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(body, s.MaxFile()+1))
	switch {
	case err != nil:
		return chat.File{}, err
	case n > s.MaxFile():
		return chat.File{}, ErrTooLarge
	case n == 0:
		return chat.File{}, ErrEmpty
	}
	return chat.File{ID: strings.Repeat("0", 64), Name: Name(name), Type: octetStream, Size: n}, nil
}

// Serve answers a GET or HEAD of a file of a room, or of its thumbnail, that came
// with a message from the offset since on. On an error nothing has been answered:
// ErrNoFiles, chat.ErrUnknown, *MissingError.
func (s *Service) Serve(
	w http.ResponseWriter, req *http.Request, roomID, id string, since int64, thumb bool,
) error {
	if s == nil {
		return ErrNoFiles
	}
	ctx, cancel := context.WithTimeout(req.Context(), databaseWithin)
	at, _ := strconv.ParseInt(req.URL.Query().Get("at"), 10, 64) // what is no number is 0
	f, err := s.opt.Rooms.File(ctx, roomID, id, since, at)
	cancel()
	if err != nil {
		return err
	}
	folder, err := s.folder(f.Folder)
	if err != nil {
		return err
	}
	err = folder.Serve(w, req, f, thumb)
	if errors.Is(err, ErrUnknown) {
		// As when relays share the rooms but not their folder of files.
		return fmt.Errorf("a file is missing: %w", &MissingError{f.Folder})
	}
	return err
}

// folder is the store of the relay that took a file.
func (s *Service) folder(name string) (*Store, error) {
	switch {
	case name == s.opt.Folder:
		return s.own, nil
	case name != "" && name != filepath.Base(name) || strings.HasPrefix(name, "."):
		return nil, chat.ErrUnknown // unreachable: relays' names are host names
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others[name] == nil {
		s.others[name] = View(filepath.Join(s.opt.Dir, name))
	}
	return s.others[name], nil
}

func (s *Service) run(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.collect(ctx, collectAge)
		case <-ctx.Done():
			return
		}
	}
}

// collect removes the files older than age that no room has any more, and
// returns how many they were.
func (s *Service) collect(ctx context.Context, age time.Duration) int {
	defer safely.Recover(s.opt.Log, "collecting files")
	n, err := s.own.Collect(ctx, age, func(ctx context.Context, id string) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, databaseWithin)
		defer cancel()
		return s.opt.Rooms.HasFile(ctx, s.opt.Folder, id)
	})
	if err != nil && ctx.Err() == nil {
		s.opt.Log.Warn("removing files that no room has", "removed", n, "err", err)
	}
	return n
}
