// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Collect removes the files that were last stored longer than age ago and
// that used disowns, and returns how many they were. An upload under way, or
// one that ended since Collect began, keeps its file.
func (s *Store) Collect(
	ctx context.Context, age time.Duration, used func(ctx context.Context, id string) (bool, error),
) (removed int, err error) {
	s.collect.Lock()
	defer s.collect.Unlock()
	s.mu.Lock()
	s.touched = make(map[string]struct{})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.touched = nil
		s.mu.Unlock()
	}()
	before := time.Now().Add(-age)
	err = s.walk(func(id, path string, info fs.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if info.ModTime().After(before) {
			return nil
		}
		if ok, err := used(ctx, id); ok || err != nil {
			return err
		}
		gone, err := s.remove(id, path)
		if gone && !strings.HasSuffix(path, thumbSuffix) {
			removed++
		}
		return err
	})
	if err != nil {
		return removed, fmt.Errorf("collecting files that nobody has: %w", err)
	}
	return removed, nil
}

// remove removes a file unless an upload has, or had, to do with it.
func (s *Store) remove(id, path string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, touched := s.touched[id]; touched || s.pinned[id] > 0 {
		return false, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if err := os.Remove(path); err != nil {
		return false, err
	}
	s.budget.removed(info.Size())
	return true, nil
}

func (s *Store) pin(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinned[id]++
	if s.touched != nil {
		s.touched[id] = struct{}{}
	}
}

func (s *Store) unpin(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned[id]--; s.pinned[id] == 0 {
		delete(s.pinned, id)
	}
}

// walk calls do for each stored file and thumbnail. Whatever else lies in the
// folder is left alone.
func (s *Store) walk(do func(id, path string, info fs.FileInfo) error) error {
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() || len(folder.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.dir, folder.Name()))
		if err != nil {
			return err
		}
		for _, file := range files {
			id := folder.Name() + strings.TrimSuffix(file.Name(), thumbSuffix)
			info, err := file.Info()
			if errors.Is(err, fs.ErrNotExist) || !validID(id) || !file.Type().IsRegular() {
				continue
			}
			if err == nil {
				err = do(id, filepath.Join(s.dir, folder.Name(), file.Name()), info)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
