// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Backup writes the store as it is at one moment into dir, which must not
// exist, while it goes on. Files are linked where dir is on the same file
// system, which takes no room until they change here. dir is a store then.
func (s *Store) Backup(ctx context.Context, dir string) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if _, err := s.fs.Stat(dir); err == nil {
		return fmt.Errorf("backing the mail store up: %s: %w", dir, os.ErrExist)
	}
	defer func() {
		if err != nil {
			_ = s.fs.RemoveAll(dir)
			err = fmt.Errorf("backing the mail store up: %w", err)
		}
	}()
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The log is copied. On the store's own disk that must not take its last room.
	usage, err := s.fs.GetDiskUsage(dir)
	if need := s.db.Metrics().WAL.PhysicalSize + 8*roomToGoOn; err == nil && usage.AvailBytes < need {
		return fmt.Errorf("%w at %s: it takes %d octets at the least, and %d are free",
			ErrFull, dir, need, usage.AvailBytes)
	}
	letGo := s.holdFiles()
	defer letGo()
	if err := s.db.Checkpoint(s.fs.PathJoin(dir, "index"), pebble.WithFlushedWAL()); err != nil {
		return err
	}
	for i := range 256 {
		if err := s.fs.MkdirAll(s.fs.PathJoin(dir, "bodies", fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	err = s.eachFile(func(id uint64, path string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Those that came after the checkpoint are orphans, which a store
		// removes when it is opened.
		err := vfs.LinkOrCopy(s.fs, path,
			s.fs.PathJoin(dir, "bodies", fmt.Sprintf("%02x", byte(id)), strconv.FormatUint(id, 16)))
		if errors.Is(err, os.ErrNotExist) {
			return nil // a delivery that was given up: no index ever named it
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := range 256 {
		if err := syncDir(s.fs, s.fs.PathJoin(dir, "bodies", fmt.Sprintf("%02x", i))); err != nil {
			return err
		}
	}
	return s.makeFormat(dir)
}

// Stats are figures of the whole store.
type Stats struct {
	Accounts  int    `json:"accounts"`
	Mailboxes int    `json:"mailboxes"`
	Messages  int64  `json:"messages"`
	Octets    int64  `json:"octets"` // with CRLF line ends
	Files     int    `json:"files"`  // bodies that are files
	Disk      uint64 `json:"disk"`   // octets of the index with the smaller bodies
	Cache     int64  `json:"cache"`  // octets in memory
	Format    int    `json:"format"`
}

// Stats adds the counters of all mailboxes up.
func (s *Store) Stats() (Stats, error) {
	if err := s.enter(); err != nil {
		return Stats{}, err
	}
	defer s.leave()
	st := Stats{Format: formatVersion}
	view := s.db.NewSnapshot()
	defer view.Close()
	err := s.eachAccount(func(_ string, id uint64) error {
		st.Accounts++
		boxes, err := s.loadMailboxes(view, id)
		for _, box := range boxes {
			st.Mailboxes++
			st.Messages += int64(box.count)
			st.Octets += box.counters.octets
		}
		return err
	})
	if err := errors.Join(err, s.eachOf(view, keyFile, func(_, _ []byte) error {
		st.Files++
		return nil
	})); err != nil {
		return Stats{}, fmt.Errorf("counting the mail store: %w", err)
	}
	m := s.db.Metrics()
	st.Disk = m.DiskSpaceUsage()
	st.Cache = m.BlockCache.Size
	return st, nil
}

// Usage is what a login keeps.
type Usage struct {
	Messages int64 `json:"messages"`
	Octets   int64 `json:"octets"` // with CRLF line ends
}

// Usage is what each login keeps.
func (s *Store) Usage() (map[string]Usage, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	view := s.db.NewSnapshot()
	defer view.Close()
	all := make(map[string]Usage)
	err := s.eachAccount(func(login string, id uint64) error {
		boxes, err := s.loadMailboxes(view, id)
		var u Usage
		for _, box := range boxes {
			u.Messages += int64(box.count)
			u.Octets += box.counters.octets
		}
		all[login] = u
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting the mail store: %w", err)
	}
	return all, nil
}

// QuotaOf is how many octets a login may keep; 0: there is no bound.
func (s *Store) QuotaOf(login string) int64 { return s.o.Quotas.of(login) }
