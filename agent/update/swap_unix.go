// SPDX-License-Identifier: GPL-3.0-or-later

//go:build !windows

package update

import "os"

// swap puts a new program in the place of an old one, at one stroke.
func swap(fresh, path string) error { return os.Rename(fresh, path) }
