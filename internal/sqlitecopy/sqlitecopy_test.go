// SPDX-License-Identifier: GPL-3.0-or-later

package sqlitecopy

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
)

// TestNobodyWaits copies a database again and again while somebody writes who
// does not wait for any lock: each commit succeeds, and each copy has all that
// was committed before it.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b.db")
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_busy_timeout=0&_synchronous=OFF")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE t (n INTEGER, filler BLOB)"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var last int
	insert := func(n int) {
		if _, err := db.Exec("INSERT INTO t VALUES (?, randomblob(10000))", n); err != nil {
			t.Errorf("a writer waits: %v", err)
		}
		mu.Lock()
		last = n
		mu.Unlock()
	}
	for n := range 200 {
		insert(n)
	}
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for n := 200; ; n++ {
			select {
			case <-stop:
				return
			default:
				insert(n)
			}
		}
	})
	defer func() { close(stop); writing.Wait() }()
	for range 5 {
		mu.Lock()
		before := last
		mu.Unlock()
		to := filepath.Join(t.TempDir(), "copy.db")
		if err := Copy(t.Context(), path, to); err != nil {
			t.Fatal(err)
		}
		copied, err := sql.Open("sqlite3", "file:"+to+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		var got, rows int
		err = copied.QueryRow("SELECT max(n), count(*) FROM t").Scan(&got, &rows)
		copied.Close()
		if err != nil || got < before || rows != got+1 {
			t.Errorf("a copy of %d rows up to %d, at least %d were committed: %v", rows, got, before, err)
		}
	}
}

// TestErrors: a database that is not there is none, and no copy is written over.
func TestErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	there := filepath.Join(dir, "there.db")
	db, err := sql.Open("sqlite3", there)
	if err == nil {
		_, err = db.Exec("CREATE TABLE t (n)")
		db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "a.db")); err == nil {
		t.Error("copied what is not there")
	}
	if err := Copy(t.Context(), there, there); err == nil {
		t.Error("copied over what is there")
	}
}
