// SPDX-License-Identifier: GPL-3.0-or-later

// Package greylist asks senders who were never seen to come again in a few minutes, which
// servers do and most senders of spam do not (RFC 6647).
//
// A sender is a domain that proved itself by SPF or DKIM, or else a network and a domain. Who
// has come again is known for 36 days after the last mail, and so is every address that
// people here have written to.
package greylist

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/durable"
)

const (
	// Wait is how long a new sender has to wait.
	Wait = 5 * time.Minute
	// Window is how long after the first try a sender may come again.
	Window = 48 * time.Hour
	// Keep is how long a sender is known after the last mail: a monthly newsletter's is.
	Keep = 36 * 24 * time.Hour
	// Max is how many senders are remembered; those longest unseen make room.
	Max = 100_000

	saveEvery = 10 * time.Minute
)

// List are the senders. It lives in memory and is written to a file now and then: what is
// lost with a power cut is asked again.
type List struct {
	path string
	log  *slog.Logger
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	of      map[string]sender
	changed bool
}

type sender struct {
	First time.Time `json:"f"`
	Last  time.Time `json:"l"`
	Known bool      `json:"k,omitempty"`
}

func (s sender) over(now time.Time) bool {
	if s.Known {
		return now.Sub(s.Last) > Keep
	}
	return now.Sub(s.First) > Window
}

// Open reads the file, if there is one.
func Open(path string, log *slog.Logger) (*List, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &List{path: path, log: log, stop: make(chan struct{}), of: map[string]sender{}}
	text, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(text, &l.of); err != nil {
			log.Error("the file of known senders cannot be read: all are new", "err", err)
			l.of = map[string]sender{}
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the known senders: %w", err)
	}
	l.done.Go(l.run)
	return l, nil
}

// Close writes the file.
func (l *List) Close() error {
	close(l.stop)
	l.done.Wait()
	return l.save()
}

func (l *List) run() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			if err := l.save(); err != nil {
				l.log.Error("storing the known senders", "err", err)
			}
		}
	}
}

func (l *List) save() error {
	l.mu.Lock()
	if !l.changed {
		l.mu.Unlock()
		return nil
	}
	l.sweep(time.Now())
	text, err := json.Marshal(l.of)
	l.changed = false
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return durable.WriteFile(l.path, text, 0o600)
}

// sweep forgets who was not seen for long. l.mu is held.
func (l *List) sweep(now time.Time) {
	for key, s := range l.of {
		if s.over(now) {
			delete(l.of, key)
		}
	}
}

// Mail is what is known of a mail.
type Mail struct {
	Addr   netip.Addr // of the server that brings it
	From   string     // of the envelope
	Proven string     // a domain that SPF or DKIM proves; empty: none
}

func (m Mail) key() string {
	if m.Proven != "" {
		return strings.ToLower(m.Proven)
	}
	bits := 24
	addr := m.Addr.Unmap().WithZone("")
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits)
	return prefix.String() + " " + strings.ToLower(m.From[strings.LastIndexByte(m.From, '@')+1:])
}

// Seen notes a mail and says how long its sender is to wait; 0: it is let in.
func (l *List) Seen(m Mail) time.Duration {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w, known := l.of["to "+strings.ToLower(m.From)]; known && !w.over(now) {
		return 0
	}
	l.changed = true
	key := m.key()
	s, known := l.of[key]
	if !known || s.over(now) {
		l.put(key, sender{First: now, Last: now})
		return Wait
	}
	s.Last = now
	if wait := Wait - now.Sub(s.First); !s.Known && wait > 0 {
		return wait
	}
	s.Known = true
	l.of[key] = s
	return 0
}

// Wrote notes that somebody here has written to an address.
func (l *List) Wrote(address string) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
	l.put("to "+strings.ToLower(address), sender{First: now, Last: now, Known: true})
}

// put adds a sender. Where there is no room, it forgets those of a sample that were unseen
// for longest. l.mu is held.
func (l *List) put(key string, s sender) {
	if _, there := l.of[key]; !there && len(l.of) >= Max {
		const sample = 50
		oldest, n := "", 0
		for k, o := range l.of { // in random order
			if oldest == "" || o.Last.Before(l.of[oldest].Last) {
				oldest = k
			}
			if n++; n == sample {
				break
			}
		}
		delete(l.of, oldest)
	}
	l.of[key] = s
}
