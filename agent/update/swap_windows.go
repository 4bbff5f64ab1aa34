// SPDX-License-Identifier: GPL-3.0-or-later

package update

import (
	"errors"
	"os"
)

// swap puts a new program in the place of an old one. Windows lets a program that runs be
// renamed, and not written over; the one of the update before is removed first.
func swap(fresh, path string) error {
	old := path + ".old"
	if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(path, old); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return errors.Join(err, os.Rename(old, path))
	}
	return nil
}
