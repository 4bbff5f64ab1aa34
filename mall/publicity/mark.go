// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/chmail/chmail/internal/durable"
	"github.com/chmail/chmail/mall/store"
)

// mark is the file of a host that says which batch of mails went last. It also says
// which file it is, so that a copy of it, as in a restored state directory, is known
// and says nothing.
type mark struct {
	file *os.File
	id   string // of the file
	host string // the name of this host in leases
	last string // mark of the last batch that the host knows of
	new  bool   // it was written by nobody yet
}

// MarkFile is the path of the mark's file in a state directory.
func MarkFile(state string) string { return filepath.Join(state, "mall-sent.mark") }

// noMark stands for no mark, in as many octets.
var noMark = strings.Repeat("-", len(store.NewID()))

func openMark(path string) (m *mark, err error) {
	m = &mark{}
	defer func() {
		if err != nil {
			m.close()
			err = fmt.Errorf("opening the mark of what was sent: %w", err)
		}
	}()
	if m.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return m, err
	}
	// cp, tar, rsync make other files: with another inode, or born later on the same.
	var st unix.Statx_t
	if err := unix.Statx(int(m.file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return m, err
	}
	m.id = fmt.Sprintf("%020d-%020d-%09d", st.Ino, uint64(st.Btime.Sec), st.Btime.Nsec)
	b := make([]byte, 256)
	n, _ := m.file.ReadAt(b, 0) // what cannot be read is no mark
	said := strings.Fields(string(b[:n]))
	if len(said) == 3 && said[2] == m.id {
		m.host = said[0]
		if said[1] != noMark {
			m.last = said[1]
		}
		return m, nil
	}
	m.host, m.new = store.NewID(), true
	return m, durable.SyncDir(filepath.Dir(path))
}

// write stores a mark in the place of the one before: its length is always the same.
func (m *mark) write(last string) error {
	said := last
	if said == "" {
		said = noMark
	}
	_, err := m.file.WriteAt([]byte(m.host+" "+said+" "+m.id+"\n"), 0)
	if err := errors.Join(err, m.file.Sync()); err != nil {
		return fmt.Errorf("writing the mark of what was sent: %w", err)
	}
	m.last, m.new = last, false
	return nil
}

func (m *mark) close() {
	if m.file != nil {
		m.file.Close() // each write was synced
	}
}
