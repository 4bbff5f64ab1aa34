// SPDX-License-Identifier: GPL-3.0-or-later

package sqlitecopy

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

// TestOneMoment writes the same number into two databases, one after the
// other, while they are copied: the copies are at most one number apart.
func TestOneMoment(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	paths := []string{filepath.Join(dir, "a b.db"), filepath.Join(dir, "c.db")}
	write := func(n int) {
		for _, path := range paths {
			db, err := open(path, "_journal_mode=WAL")
			if err == nil {
				_, err = db.Exec(fmt.Sprintf("CREATE TABLE IF NOT EXISTS t (n); INSERT INTO t VALUES (%d)", n))
				db.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	write(1)
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for n := 2; ; n++ {
			select {
			case <-stop:
				return
			default:
				write(n)
			}
		}
	})
	defer func() { close(stop); writing.Wait() }()
	for range 5 {
		f, err := Freeze(ctx, paths)
		if err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if err := f.CopyTo(ctx, to); err != nil {
			t.Fatal(err)
		}
		if err := f.Release(); err != nil {
			t.Fatal(err)
		}
		var last [2]int
		for i, path := range paths {
			db, err := open(filepath.Join(to, filepath.Base(path)), "mode=ro")
			if err != nil {
				t.Fatal(err)
			}
			if err := db.QueryRow("SELECT max(n) FROM t").Scan(&last[i]); err != nil {
				t.Fatal(err)
			}
			db.Close()
		}
		if last[0]-last[1] > 1 || last[0] < last[1] {
			t.Errorf("copies of different moments: %d and %d", last[0], last[1])
		}
	}
}
