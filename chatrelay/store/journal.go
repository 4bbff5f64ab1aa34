// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// JournalSuffix is what the name of a SQLite database's journal ends with. A
// copy of the database is not complete without it.
const JournalSuffix = "-redo"

var (
	errJournalHeld = errors.New("another process has the rooms' database open")
	errJournalFull = errors.New("the journal has no room for the batch")
	castagnoli     = crc32.MakeTable(crc32.Castagnoli)
)

const halfJournal = journalSize / 2

// recordHead is length (4 octets), CRC-32C of all that follows (4) and number
// (8) of a record, each big-endian.
const recordHead = 16

// journal is a file of records that are synced when they are written. It has
// two halves; when one is full, the other is written from its beginning, if
// nobody needs its records any more. The file has its full size from the start,
// so that a write changes no metadata of the file system, and goes past the
// page cache where the file system lets it: this takes half the processor time.
// Records are numbered without gaps, which tells new ones from those that they
// have overwritten.
type journal struct {
	file *os.File
	half int      // that is written
	end  int64    // where the next record goes
	seq  int64    // number of the newest record
	last [2]int64 // and of the newest in each half
	buf  []byte   // begins on a block's boundary, with what the block at end has before it
}

// block is the unit of writes past the page cache, in memory and in the file.
const block = 4096

// aligned returns size octets that begin on a block's boundary in memory.
func aligned(size int) []byte {
	b := make([]byte, size+block)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (block - 1)
	return b[skip : skip+size]
}

// logged is a message in the journal.
type logged struct {
	Room   string
	Offset int64
	ID     string
	From   int64
	Kind   string
	Text   string
	At     int64 // µs
}

// encode appends the message: texts with their lengths, and numbers, as
// varints (encoding/binary).
func (l *logged) encode(b []byte) []byte {
	for _, s := range [...]string{l.Room, l.ID, l.Kind, l.Text} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, n := range [...]int64{l.Offset, l.From, l.At} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// decode reads a message and returns what is behind it, or nil if there is no
// message.
func (l *logged) decode(b []byte) []byte {
	for _, s := range [...]*string{&l.Room, &l.ID, &l.Kind, &l.Text} {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil
		}
		*s, b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	for _, v := range [...]*int64{&l.Offset, &l.From, &l.At} {
		var n int
		if *v, n = binary.Varint(b); n <= 0 {
			return nil
		}
		b = b[n:]
	}
	return b
}

// openJournal opens or makes a journal; errJournalHeld: another process or
// another Store has it.
func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_DSYNC|direct, 0o600)
	if errors.Is(err, syscall.EINVAL) {
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_DSYNC, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errJournalHeld
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < journalSize {
		_, err = f.WriteAt(aligned(journalSize), 0)
		if err == nil {
			err = syncFolder(filepath.Dir(path))
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making %s: %w", path, err)
	}
	return &journal{file: f, buf: aligned(16 * block)[:0]}, nil
}

// syncFolder makes a new file's name last.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replay calls do with the messages of every whole record, oldest first, and
// prepares the journal to be written behind the last of them.
func (j *journal) replay(do func(seq int64, list []logged) error) error {
	whole := aligned(journalSize)
	if _, err := j.file.ReadAt(whole, 0); err != nil {
		return err
	}
	starts := [2]int64{0, halfJournal}
	if firstSeq(whole[halfJournal:]) < firstSeq(whole) {
		starts = [2]int64{halfJournal, 0}
	}
	for _, start := range starts {
		for at := start; at < journalSize; {
			seq, text := record(whole[at:])
			// Between the halves there may be a gap, of records nobody needed.
			if text == nil || seq <= j.seq || at > start && seq != j.seq+1 {
				break
			}
			var list []logged
			for rest := text; len(rest) > 0; {
				var l logged
				if rest = l.decode(rest); rest == nil {
					return fmt.Errorf("record %d is none of this program's", seq)
				}
				list = append(list, l)
			}
			if err := do(seq, list); err != nil {
				return err
			}
			at += int64(recordHead + len(text))
			j.seq, j.end, j.half = seq, at, int((at-1)/halfJournal)
			j.last[j.half] = seq
		}
	}
	j.buf = append(j.buf[:0], whole[j.end&^(block-1):j.end]...)
	return nil
}

// firstSeq is the number of the record at the beginning of b, 0 if there is
// none.
func firstSeq(b []byte) int64 {
	seq, text := record(b)
	if text == nil {
		return 0
	}
	return seq
}

// record returns the number and the messages of the record at the beginning of
// b; nil: there is none.
func record(b []byte) (seq int64, text []byte) {
	if len(b) < recordHead {
		return 0, nil
	}
	size, sum := int64(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])
	if size == 0 || size > int64(len(b)-recordHead) || sum != crc32.Checksum(b[8:recordHead+size], castagnoli) {
		return 0, nil
	}
	return int64(binary.BigEndian.Uint64(b[8:])), b[recordHead : recordHead+size]
}

// write adds a record. When it returns, the record is on disk. Records up to
// free may be overwritten for it.
func (j *journal) write(list []logged, free int64) error {
	if j.seq <= free { // all
		j.rewind(j.half)
	}
	start := len(j.buf)
	buf := append(j.buf, make([]byte, recordHead)...)
	for i := range list {
		buf = list[i].encode(buf)
	}
	record := buf[start:]
	binary.BigEndian.PutUint32(record, uint32(len(record)-recordHead))
	binary.BigEndian.PutUint64(record[8:], uint64(j.seq+1))
	binary.BigEndian.PutUint32(record[4:], crc32.Checksum(record[8:], castagnoli))
	base := j.end - int64(start)
	if whole := int64(len(buf)+block-1) &^ (block - 1); base+whole > int64(j.half+1)*halfJournal {
		if j.last[1-j.half] > free || len(record) > halfJournal-block {
			return errJournalFull
		}
		j.rewind(1 - j.half)
		base = j.end
		buf = append(j.buf[:0], record...)
	}
	size := len(buf)
	if cap(j.buf) < size+block { // it has moved, perhaps off the boundary
		buf = append(aligned(2 * (size + block))[:0], buf...)
	}
	whole := (size + block - 1) &^ (block - 1)
	clear(buf[size:whole])
	// A record of which a part was written, and was not acknowledged, keeps its
	// number: the next one takes its place.
	if _, err := j.file.WriteAt(buf[:whole], base); err != nil {
		return err
	}
	j.seq++
	j.end = base + int64(size)
	j.last[j.half] = j.seq
	j.buf = buf[:copy(buf, buf[size&^(block-1):size])]
	return nil
}

// rewind lets the next record go to the beginning of a half.
func (j *journal) rewind(half int) {
	j.half, j.end, j.buf = half, int64(half)*halfJournal, j.buf[:0]
}

// needs says whether the half that is not written holds records beyond free.
func (j *journal) needs(free int64) bool { return j.last[1-j.half] > free }

func (j *journal) close() error { return j.file.Close() }
