// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"os"
	"testing"
)

// TestOpenIMAPSQL opens no storage.imapsql that is not there, and makes none.
func TestOpenIMAPSQL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, dsn := range []string{"file:" + dir + "/imapsql.db?_txlock=immediate", dir + "/none.db"} {
		if _, err := OpenIMAPSQL("sqlite3", dsn, dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("it made %v", files)
	}
}
