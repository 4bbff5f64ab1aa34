// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/durable"
)

// maxSuppressed is how many addresses are remembered; the one that failed longest ago
// makes room.
const maxSuppressed = 20_000

// bounceMemory is how long a hard bounce counts, when too few have come.
const bounceMemory = 30 * 24 * time.Hour

// Suppressed is an address that mail was refused for, for good, and how often in a row.
// From Options.HardBounces on, until Until, no mail is taken for it.
type Suppressed struct {
	Address string    `json:"address"`
	Bounces int       `json:"bounces"`
	Last    time.Time `json:"last"`
	Answer  string    `json:"answer"`
	Until   time.Time `json:"until,omitzero"` // zero: mail is still taken
}

// SuppressedError says why no mail is taken for an address.
type SuppressedError struct{ Suppressed }

func (e *SuppressedError) Error() string {
	return fmt.Sprintf("queue: mail for %s failed %d times in a row", e.Address, e.Bounces)
}

// suppressed are the addresses, each in a file of the folder "suppressed".
type suppressed struct {
	dir  string
	most int // hard bounces in a row; 0: none is suppressed
	days int
	log  *slog.Logger

	mu sync.Mutex
	of map[string]Suppressed
}

func openSuppressed(o Options) (*suppressed, error) {
	s := &suppressed{dir: filepath.Join(o.Folder, "suppressed"), most: o.HardBounces, days: o.SuppressDays, log: o.Log,
		of: map[string]Suppressed{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the suppressed addresses: %w", err)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("opening the suppressed addresses: %w", err)
	}
	for _, f := range files {
		var one Suppressed
		text, err := os.ReadFile(filepath.Join(s.dir, f.Name()))
		if err == nil {
			err = json.Unmarshal(text, &one)
		}
		if err != nil || one.Address == "" || one.over(time.Now()) {
			_ = os.Remove(filepath.Join(s.dir, f.Name()))
			continue
		}
		s.of[one.Address] = one
	}
	return s, nil
}

func (one Suppressed) over(now time.Time) bool {
	if one.Until.IsZero() {
		return now.Sub(one.Last) > bounceMemory
	}
	return now.After(one.Until)
}

func (s *suppressed) path(address string) string {
	sum := sha256.Sum256([]byte(address))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16]))
}

// hard says whether an answer is about the address itself: no such mailbox, or one that
// takes no mail any more. A spam filter's refusal is not.
func hard(a Answer) bool {
	switch a.Status() {
	case "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1":
		return true
	case "5.0.0":
		return a.Enhanced[0] == 0 && (a.Code == 550 || a.Code == 551 || a.Code == 553)
	}
	return false
}

// failed counts a refusal.
func (s *suppressed) failed(address string, a Answer, now time.Time) {
	if s.most == 0 || !hard(a) {
		return
	}
	address = strings.ToLower(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of[address]
	if one.over(now) {
		one = Suppressed{}
	}
	one.Address, one.Last, one.Answer = address, now, a.String()
	if one.Bounces++; one.Bounces >= s.most {
		one.Until = now.Add(time.Duration(s.days) * 24 * time.Hour)
		s.log.Info("an address is suppressed", "rcpt", address, "bounces", one.Bounces,
			"until", one.Until.UTC().Format(time.RFC3339))
	}
	if _, known := s.of[address]; !known && len(s.of) >= maxSuppressed {
		oldest := address
		for a, o := range s.of {
			if oldest == address || o.Last.Before(s.of[oldest].Last) {
				oldest = a
			}
		}
		s.drop(oldest)
	}
	s.of[address] = one
	text, err := json.Marshal(one)
	if err == nil {
		err = durable.WriteFile(s.path(address), text, 0o600)
	}
	if err != nil {
		s.log.Error("storing a suppressed address", "err", err)
	}
}

// succeeded forgets the failures of an address.
func (s *suppressed) succeeded(address string) { _ = s.remove(address) }

func (s *suppressed) remove(address string) error {
	address = strings.ToLower(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.of[address]; !known {
		return ErrNotSuppressed
	}
	return s.drop(address)
}

func (s *suppressed) drop(address string) error {
	delete(s.of, address)
	if err := os.Remove(s.path(address)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing a suppressed address: %w", err)
	}
	return nil
}

// ErrNotSuppressed is the answer to Unsuppress of an address that never failed.
var ErrNotSuppressed = errors.New("queue: no mail for this address has failed")

// Check returns a *SuppressedError for an address that no mail is taken for.
func (q *Queue) Check(address string) error {
	s := q.suppressed
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.of[strings.ToLower(address)]
	if !known || one.Until.IsZero() || one.over(time.Now()) {
		return nil
	}
	return &SuppressedError{one}
}

// Suppressed lists the addresses that mail was refused for, the newest first.
func (q *Queue) Suppressed() []Suppressed {
	s := q.suppressed
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Suppressed{}
	for _, one := range s.of {
		if !one.over(time.Now()) {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b Suppressed) int { return b.Last.Compare(a.Last) })
	return list
}

// Unsuppress forgets the failures of an address.
func (q *Queue) Unsuppress(address string) error { return q.suppressed.remove(address) }
