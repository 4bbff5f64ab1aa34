// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/chmail/chmail/chatrelay/direct"
)

// What was said in direct chats and stays on this computer: JSON, one message a line, in two files; when the newer
// one is full, it becomes the older one, whose messages are gone.

const (
	maxHistory  = 16 << 20 // octets of each file
	maxLine     = 256 << 10
	historyName = "direct.jsonl"
	olderName   = "direct.old.jsonl"
)

// history keeps messages. Its methods may be called at the same time.
type history struct {
	dir string
	mu  sync.Mutex
}

// add writes a message, and waits until it is on the disk.
func (h *history) add(m direct.Kept) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	path := filepath.Join(h.dir, historyName)
	if i, err := os.Stat(path); err == nil && i.Size() > maxHistory {
		if err := os.Rename(path, filepath.Join(h.dir, olderName)); err != nil {
			return fmt.Errorf("making room for messages that stay here: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("keeping a message that stays here: %w", err)
	}
	return nil
}

// History is what a folder's agent has kept of direct chats, the oldest first.
func History(dir string) iter.Seq2[direct.Kept, error] {
	return func(yield func(direct.Kept, error) bool) {
		for _, name := range []string{olderName, historyName} {
			b, err := os.Open(filepath.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(direct.Kept{}, fmt.Errorf("reading what was kept of direct chats: %w", err))
				return
			}
			more := read(b, yield)
			b.Close()
			if !more {
				return
			}
		}
	}
}

// read reports whether more is wanted. A line that a full disk or a crash has cut is left out.
func read(r io.Reader, yield func(direct.Kept, error) bool) bool {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var m direct.Kept
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &m) != nil {
			continue
		}
		if !yield(m, nil) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		yield(direct.Kept{}, fmt.Errorf("reading what was kept of direct chats: %w", err))
		return false
	}
	return true
}
