// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bytes"
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
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// book is what a caller records: rooms' files.
type book struct {
	mu    sync.Mutex
	rooms map[string][]chat.File
}

func (b *book) used(_ context.Context, room string) (n int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.rooms[room] {
		n += f.Octets
	}
	return n, nil
}

func (b *book) keep(room string) func(context.Context, chat.File) error {
	return func(_ context.Context, f chat.File) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.rooms == nil {
			b.rooms = make(map[string][]chat.File)
		}
		b.rooms[room] = append(b.rooms[room], f)
		return nil
	}
}

func (b *book) has(_ context.Context, id string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, files := range b.rooms {
		for _, f := range files {
			if f.ID == id {
				return true, nil
			}
		}
	}
	return false, nil
}

func (b *book) erase(room string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rooms, room)
}

type harness struct {
	*Store
	t    *testing.T
	book *book
}

func open(t *testing.T, opt Options) *harness {
	t.Helper()
	h := &harness{t: t, book: new(book)}
	opt.Used = h.book.used
	s, err := Open(filepath.Join(t.TempDir(), "files"), opt)
	if err != nil {
		t.Fatal(err)
	}
	h.Store = s
	return h
}

func (h *harness) put(room, name string, b []byte) (chat.File, error) {
	return h.Put(h.t.Context(), room, name, bytes.NewReader(b), h.book.keep(room))
}

func (h *harness) mustPut(room, name string, b []byte) chat.File {
	h.t.Helper()
	f, err := h.put(room, name, b)
	if err != nil {
		h.t.Fatal(err)
	}
	return f
}

func (h *harness) read(f chat.File, thumb bool) []byte {
	h.t.Helper()
	r, err := h.Open(f.ID, thumb)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// check looks whether the count of octets is that of the disk, nothing is
// left half done, and nothing is pinned.
func (h *harness) check() {
	h.t.Helper()
	var sum int64
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		if filepath.Base(filepath.Dir(path)) == tempFolder {
			h.t.Errorf("left behind: %s", path)
		}
		return nil
	})
	if err != nil || sum != h.Total() {
		h.t.Errorf("%d octets on disk, %d counted; %v", sum, h.Total(), err)
	}
	if len(h.pinned) != 0 || len(h.budget.rooms) != 0 || h.budget.puts != 0 {
		h.t.Errorf("left open: %v, %v, %d", h.pinned, h.budget.rooms, h.budget.puts)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	text := []byte("hello, 안녕")
	f := h.mustPut("r1", "../메모.txt", text)
	sum := sha256.Sum256(text)
	want := chat.File{ID: hex.EncodeToString(sum[:]), Name: "메모.txt", Type: "text/plain; charset=utf-8",
		Size: int64(len(text)), Octets: int64(len(text))}
	if f != want || f.Picture() {
		t.Errorf("got %+v, want %+v", f, want)
	}
	if got := h.read(f, false); !bytes.Equal(got, text) {
		t.Errorf("read %q", got)
	}
	again := h.mustPut("r2", "other", text)
	if again.ID != f.ID || h.Total() != int64(len(text)) {
		t.Errorf("the same octets: %s, %d octets in all", again.ID, h.Total())
	}
	h.check()
	for _, id := range []string{"", "../../etc/passwd", strings.Repeat("0", 64),
		strings.Repeat("G", 64), f.ID + thumbSuffix, "tmp"} {
		if _, err := h.Open(id, false); !errors.Is(err, ErrUnknown) {
			t.Errorf("Open(%q): %v", id, err)
		}
	}
	// What another process left half done goes; what is whole stays.
	if err := os.WriteFile(filepath.Join(h.dir, tempFolder, "half"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(h.dir, Options{Used: h.book.used})
	if err != nil {
		t.Fatal(err)
	}
	h.Store = s
	h.check()
}

// broken gives some octets and then an error.
type broken struct{ n int }

var errBroken = errors.New("the connection broke")

func (b *broken) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, errBroken
	}
	n := min(b.n, len(p))
	b.n -= n
	return n, nil
}

func TestRefused(t *testing.T) {
	t.Parallel()
	h := open(t, Options{MaxFile: 1000, MaxRoom: 2500, MaxTotal: 4000})
	block := func(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }
	if _, err := h.put("r1", "x", block('x', 1001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := h.put("r1", "x", nil); !errors.Is(err, ErrEmpty) {
		t.Errorf("empty: %v", err)
	}
	if _, err := h.Put(t.Context(), "r1", "x", &broken{500}, h.book.keep("r1")); !errors.Is(err, errBroken) {
		t.Errorf("broken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Put(ctx, "r1", "x", strings.NewReader("x"), h.book.keep("r1")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if h.Total() != 0 {
		t.Errorf("%d octets after what was refused", h.Total())
	}
	h.mustPut("r1", "a", block('a', 1000))
	h.mustPut("r1", "b", block('b', 1000))
	if _, err := h.put("r1", "c", block('c', 501)); !errors.Is(err, ErrRoomFull) {
		t.Errorf("room full: %v", err)
	}
	h.mustPut("r1", "c", block('c', 500))
	h.mustPut("r2", "d", block('d', 1000))
	if _, err := h.put("r3", "e", block('e', 501)); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if _, err := h.Put(t.Context(), "r3", "e", bytes.NewReader(block('e', 400)),
		func(context.Context, chat.File) error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("not recorded: %v", err)
	}
	h.check() // the file that was not recorded is an orphan, and counts
	if h.Total() != 3900 {
		t.Errorf("%d octets", h.Total())
	}
	if n, err := h.Collect(t.Context(), -time.Hour, h.book.has); n != 1 || err != nil {
		t.Errorf("Collect: %d, %v", n, err)
	}
	h.check()
}

func TestBusy(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	hold := make(chan struct{})
	var held, ended sync.WaitGroup
	for i := range maxUploads {
		held.Add(1)
		ended.Go(func() {
			_, err := h.Put(t.Context(), "r", "x", strings.NewReader(fmt.Sprint(i)),
				func(context.Context, chat.File) error {
					held.Done()
					<-hold
					return nil
				})
			if err != nil {
				t.Error(err)
			}
		})
	}
	held.Wait()
	if _, err := h.put("r", "x", []byte("x")); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	close(hold)
	ended.Wait()
	h.check()
}

// TestRoomAtOnce: uploads at the same time do not exceed a room's bound.
func TestRoomAtOnce(t *testing.T) {
	t.Parallel()
	h := open(t, Options{MaxRoom: 10_000})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			_, err := h.put("r", "x", bytes.Repeat([]byte{byte('a' + i)}, 1000))
			if err != nil && !errors.Is(err, ErrRoomFull) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, _ := h.book.used(t.Context(), "r"); n > 10_000 || n == 0 {
		t.Errorf("%d octets in the room", n)
	}
	h.check()
}

func TestCollect(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	kept := h.mustPut("r1", "x", []byte("kept"))
	gone := h.mustPut("r2", "x", []byte("gone"))
	pic := h.mustPut("r2", "x.png", pngOf(600, 400))
	both := h.mustPut("r2", "x", []byte("kept"))
	h.book.erase("r2")
	if n, err := h.Collect(t.Context(), time.Hour, h.book.has); n != 0 || err != nil {
		t.Errorf("young files: %d, %v", n, err)
	}
	asked := errors.New("no database")
	if _, err := h.Collect(t.Context(), -time.Hour, func(context.Context, string) (bool, error) {
		return false, asked
	}); !errors.Is(err, asked) {
		t.Errorf("an error: %v", err)
	}
	if n, err := h.Collect(t.Context(), -time.Hour, h.book.has); n != 2 || err != nil {
		t.Errorf("collected %d, %v", n, err)
	}
	for _, f := range []chat.File{gone, pic} {
		if _, err := h.Open(f.ID, false); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s is still there: %v", f.Name, err)
		}
	}
	if _, err := h.Open(pic.ID, true); !errors.Is(err, ErrUnknown) {
		t.Errorf("its thumbnail is still there: %v", err)
	}
	h.read(kept, false)
	h.read(both, false)
	h.check()

	// Between the look into the database and the removal the file is sent again.
	h.book.erase("r1")
	n, err := h.Collect(t.Context(), -time.Hour, func(ctx context.Context, id string) (bool, error) {
		h.mustPut("r3", "x", []byte("kept"))
		return false, nil
	})
	if n != 0 || err != nil {
		t.Errorf("a file sent again: %d, %v", n, err)
	}
	h.read(kept, false)
	h.check()
}
