// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// budget counts octets before they are written.
type budget struct {
	opt   Options
	mu    sync.Mutex
	total int64 // stored and under way
	puts  int
	rooms map[string]*account // of uploads under way
}

// account is a room while something is uploaded to it.
type account struct {
	mu     sync.Mutex
	loaded bool
	used   int64 // guarded by budget.mu once loaded; uploads under way included
	puts   int
}

// loan is what one upload has taken of a budget.
type loan struct {
	b      *budget
	room   string
	a      *account
	octets int64 // to be given back
	stored int64 // taken, and now in the folder
}

// open begins an upload to room.
func (b *budget) open(ctx context.Context, room string) (*loan, error) {
	b.mu.Lock()
	if b.puts >= maxUploads {
		b.mu.Unlock()
		return nil, ErrBusy
	}
	b.puts++
	a := b.rooms[room]
	if a == nil {
		a = new(account)
		b.rooms[room] = a
	}
	a.puts++
	b.mu.Unlock()
	l := &loan{b: b, room: room, a: a}
	if err := a.load(ctx, b, room); err != nil {
		l.close(0)
		return nil, fmt.Errorf("counting a room's files: %w", err)
	}
	return l, nil
}

// load asks once how much the room's files take; uploads to other rooms go on.
func (a *account) load(ctx context.Context, b *budget, room string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loaded {
		return nil
	}
	used, err := b.opt.Used(ctx, room)
	if err != nil {
		return err
	}
	b.mu.Lock()
	a.used += used
	b.mu.Unlock()
	a.loaded = true
	return nil
}

// take takes n more octets, or none.
func (l *loan) take(n int64) error {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	switch {
	case n > l.b.opt.MaxRoom-l.a.used:
		return ErrRoomFull
	case n > l.b.opt.MaxTotal-l.b.total:
		return ErrFull
	}
	l.octets += n
	l.a.used += n
	l.b.total += n
	return nil
}

// give returns n octets.
func (l *loan) give(n int64) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.octets -= n
	l.a.used -= n
	l.b.total -= n
}

// onDisk says that n octets of the loan stay in the folder, whatever becomes
// of the upload.
func (l *loan) onDisk(n int64) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.octets -= n
	l.stored += n
}

// close ends the upload. The room's files have grown by kept octets.
func (l *loan) close(kept int64) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.a.used += kept - l.octets - l.stored
	l.b.total -= l.octets
	l.b.puts--
	if l.a.puts--; l.a.puts == 0 {
		delete(l.b.rooms, l.room)
	}
}

// removed says that n octets left the folder.
func (b *budget) removed(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total -= n
}

// spill is a temporary file whose octets are taken from a loan.
type spill struct {
	*os.File
	loan *loan
	max  int64
	size int64
}

// Write implements io.Writer. Beyond max it errs with ErrTooLarge.
func (t *spill) Write(p []byte) (int, error) {
	if int64(len(p)) > t.max-t.size {
		return 0, ErrTooLarge
	}
	if err := t.loan.take(int64(len(p))); err != nil {
		return 0, err
	}
	t.size += int64(len(p))
	return t.File.Write(p)
}

// drop removes the temporary file, if it is still there.
func (t *spill) drop() {
	t.Close()
	if os.Remove(t.Name()) == nil {
		t.loan.give(t.size)
	}
}
