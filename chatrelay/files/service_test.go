// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// kept are the files that rooms have: "room/ID".
type kept struct {
	mu    sync.Mutex
	files map[string]chat.File
	panic bool // of HasFile, once
}

func (k *kept) keep(room string) func(context.Context, chat.File) error {
	return func(_ context.Context, f chat.File) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.files == nil {
			k.files = map[string]chat.File{}
		}
		k.files[room+"/"+f.ID] = f
		return nil
	}
}

func (k *kept) File(_ context.Context, room, id string, _, _ int64) (chat.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f, ok := k.files[room+"/"+id]; ok {
		return f, nil
	}
	return chat.File{}, chat.ErrUnknown
}

func (k *kept) FileOctets(context.Context, string) (int64, error) { return 0, nil }

func (k *kept) HasFile(_ context.Context, folder, id string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.panic {
		k.panic = false
		panic("a fault")
	}
	for _, f := range k.files {
		if f.Folder == folder && f.ID == id {
			return true, nil
		}
	}
	return false, nil
}

func newServices(t *testing.T, rooms Rooms, folders ...string) (list []*Service) {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range folders {
		s, err := StartService(ServiceOptions{Dir: dir, Folder: folder, MaxFile: 10, Rooms: rooms,
			Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		list = append(list, s)
	}
	return list
}

// Relays that share a folder serve each other's files.
func TestServiceServesOtherFolders(t *testing.T) {
	t.Parallel()
	rooms := new(kept)
	both := newServices(t, rooms, "a.example", "b.example")
	if err := both[0].Put(t.Context(), "room", "plan.txt", strings.NewReader("words"), rooms.keep("room")); err != nil {
		t.Fatal(err)
	}
	var f chat.File
	for _, f = range rooms.files {
	}
	if f.Folder != "a.example" || f.Name != "plan.txt" {
		t.Fatalf("%+v", f)
	}
	for _, s := range both {
		rec := httptest.NewRecorder()
		if err := s.Serve(rec, httptest.NewRequest("GET", "/", nil), "room", f.ID, 0, false); err != nil ||
			rec.Body.String() != "words" {
			t.Errorf("%q, %v", rec.Body, err)
		}
		if err := s.Serve(rec, httptest.NewRequest("GET", "/", nil), "another", f.ID, 0,
			false); !errors.Is(err, chat.ErrUnknown) {
			t.Errorf("another room: %v", err)
		}
	}
	var missing *MissingError
	f.Folder = "c.example"
	rooms.keep("room")(t.Context(), f)
	if err := both[0].Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "room",
		f.ID, 0, false); !errors.As(err, &missing) {
		t.Errorf("a folder that is not there: %v", err)
	}
	f.Folder = filepath.Join("..", "c.example")
	rooms.keep("room")(t.Context(), f)
	if err := both[0].Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "room", f.ID, 0,
		false); !errors.Is(err, chat.ErrUnknown) {
		t.Errorf("a folder elsewhere: %v", err)
	}
}

// Files that no room has any more go, also after a round that panicked.
func TestServiceCollects(t *testing.T) {
	t.Parallel()
	rooms := new(kept)
	s := newServices(t, rooms, "")[0]
	for _, body := range []string{"mine", "nobody's"} {
		if err := s.Put(t.Context(), "room", "x", strings.NewReader(body), rooms.keep("room")); err != nil {
			t.Fatal(err)
		}
	}
	for id, f := range rooms.files {
		if f.Size == int64(len("nobody's")) {
			delete(rooms.files, id)
		}
	}
	if n := s.collect(t.Context(), time.Hour); n != 0 {
		t.Errorf("%d young files went", n)
	}
	rooms.panic = true
	s.collect(t.Context(), -time.Minute)
	if n := s.collect(t.Context(), -time.Minute); n != 1 {
		t.Errorf("%d files went", n)
	}
	for id := range rooms.files {
		if err := s.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), "room",
			strings.TrimPrefix(id, "room/"), 0, false); err != nil {
			t.Error(err)
		}
	}
}

// A sender's limits are their own, and pass.
func TestServiceLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServices(t, new(kept), "")[0]
		defer s.Close()
		var often *TooOftenError
		net := func(i byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, i, 0}), 24) }
		var done []func()
		for range senderAtOnce {
			d, err := s.Begin(1, net(1))
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, d)
		}
		if _, err := s.Begin(1, net(1)); !errors.As(err, &often) || often.Wait <= 0 {
			t.Errorf("too many at once: %v", err)
		}
		for _, d := range done {
			d()
		}
		n := 0
		for ; n <= senderBurst; n++ {
			d, err := s.Begin(1, netip.Prefix{})
			if err != nil {
				break
			}
			d()
		}
		if n != senderBurst-senderAtOnce-1 {
			t.Errorf("%d files after the first ones", n)
		}
		if d, err := s.Begin(2, netip.Prefix{}); err != nil {
			t.Errorf("somebody else: %v", err)
		} else {
			d()
		}
		time.Sleep(senderEvery)
		if _, err := s.Begin(1, netip.Prefix{}); err != nil {
			t.Errorf("later: %v", err)
		}
		for id := int64(100); ; id++ { // many people of one network
			if d, err := s.Begin(id, net(2)); err == nil {
				d()
			} else if id != 100+networkBurst {
				t.Errorf("the network is refused at its file %d", id-99)
				break
			} else {
				break
			}
		}
	})
}

// Who was blocked sees the same as everybody.
func TestServiceDiscards(t *testing.T) {
	t.Parallel()
	s := newServices(t, new(kept), "")[0]
	if f, err := s.Discard("../a.txt", strings.NewReader("words")); err != nil ||
		f.Size != 5 || f.Name != Name("../a.txt") {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := s.Discard("x", strings.NewReader("01234567890")); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := s.Discard("x", strings.NewReader("")); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	var none *Service
	if _, err := none.Begin(1, netip.Prefix{}); !errors.Is(err, ErrNoFiles) || none.MaxFile() != 0 {
		t.Error(err)
	}
	none.Close()
}
