// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"
)

// SQLite writes a commit into its write-ahead log. A checkpoint copies the
// log's pages into the database; then the next commit begins the log again.
// The store does this by a goroutine and a connection of its own, so that no
// acknowledgement waits for it.

// checkpointer makes checkpoints while the store is open.
func (s *Store) checkpointer() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	var commits int64
	var made time.Time
	for {
		select {
		case <-tick.C:
		case <-s.open.Done():
			return // who closes the last connection makes the last one
		}
		n := s.commits.Load()
		if n-commits < checkpointCommits && (n == commits || time.Since(made) < checkpointRest) {
			continue
		}
		if err := s.checkpoint(s.open); err != nil && s.open.Err() == nil {
			s.opts.Log.Error("copying the write-ahead log into the rooms' database", "err", err)
		}
		commits, made = n, time.Now()
	}
}

// checkpoint copies the log's pages while commits go on. On a busy server some
// pages are always added meanwhile, and the log would grow for ever: when it is
// long, the writer waits while the last pages are copied.
func (s *Store) checkpoint(ctx context.Context) error {
	pages, left, err := s.copyLog(ctx)
	if err != nil || left == 0 || pages < longLog {
		return err
	}
	hold, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer hold.Close()
	_, _, err = s.copyLog(ctx)
	return err
}

// copyLog returns how many pages the log has, and how many of them could not
// be copied because they are newer or a reader needs the older ones.
func (s *Store) copyLog(ctx context.Context) (pages, left int64, err error) {
	var busy, copied int64
	err = s.checkpoints.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &pages, &copied)
	if err != nil {
		return 0, 0, fmt.Errorf("making a checkpoint: %w", err)
	}
	return pages, pages - copied, nil
}
