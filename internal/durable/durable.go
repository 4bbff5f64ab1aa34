// SPDX-License-Identifier: GPL-3.0-or-later

// Package durable writes files that outlive a power cut: keys, identities and
// other files that are made once and believed ever after.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// syncFile is replaced by the test, which cannot cut the power.
var syncFile = (*os.File).Sync

// WriteFile gives a file its content, or a new one, with the permissions perm.
// When it returns nil the content is on the disk under that name. After an
// error, or a power cut before it returns, the file has its old content or the
// new one: it is never empty or cut short.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(perm), syncFile(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return SyncDir(dir)
}

// SyncDir waits until the names in a folder are on the disk: those of files
// that were made, renamed or removed in it.
func SyncDir(dir string) error { return SyncFile(dir) }

// SyncFile waits until the content of a file that somebody else wrote is on
// the disk. Its name is there after a SyncDir of its folder.
func SyncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	if err := errors.Join(syncFile(f), f.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", path, err)
	}
	return nil
}
