// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells how far a command is: in one line on a terminal, with a line a
// minute elsewhere, on standard error.
type progress struct {
	what     string
	out      io.Writer
	terminal bool
	mu       sync.Mutex
	done     int
	shown    time.Time
}

func newProgress(what string) *progress {
	return &progress{what: what, out: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd())), shown: time.Now()}
}

func (p *progress) step() { p.set(p.done+1, 0) }

func (p *progress) set(done, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	every := time.Minute
	if p.terminal {
		every = 100 * time.Millisecond
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	switch {
	case !p.terminal && all > 0:
		fmt.Fprintf(p.out, "%d of %d %s\n", done, all, p.what)
	case !p.terminal:
		fmt.Fprintf(p.out, "%d %s\n", done, p.what)
	case all > 0:
		const width = 40
		full := min(width*done/all, width)
		bar := strings.Repeat("#", full) + strings.Repeat(".", width-full)
		fmt.Fprintf(p.out, "\r[%s] %d of %d %s", bar, done, all, p.what)
	default:
		fmt.Fprintf(p.out, "\r%d %s", done, p.what)
	}
}

func (p *progress) end() {
	if p.terminal && p.done > 0 {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

// failed says in an error how far it came: what was done stays.
func (p *progress) failed(err error) error {
	if p.done == 0 {
		return err
	}
	return fmt.Errorf("after %d %s: %w", p.done, p.what, err)
}
