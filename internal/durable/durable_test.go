// SPDX-License-Identifier: GPL-3.0-or-later

package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// watchSync notes each sync as "file" or "folder" and the content of path at
// that moment; it fails the sync number fail, counted from 1.
func watchSync(t *testing.T, path string, fail int) *[]string {
	t.Helper()
	var seen []string
	syncFile = func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		what := "file"
		if info.IsDir() {
			what = "folder"
		}
		there, _ := os.ReadFile(path)
		if seen = append(seen, what+": "+string(there)); len(seen) == fail {
			return errors.New("disk full")
		}
		return f.Sync()
	}
	t.Cleanup(func() { syncFile = (*os.File).Sync })
	return &seen
}

// The content is synced before it has its name, and the name before WriteFile
// returns.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	seen := watchSync(t, path, 0)
	for _, content := range []string{"first", "second"} {
		if err := WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"file: ", "folder: first", "file: first", "folder: second"}; !slices.Equal(*seen, want) {
		t.Errorf("synced %q, want %q", *seen, want)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	wantOnly(t, path)
}

// A disk that cannot take the content leaves the file as it was.
func TestWriteFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	watchSync(t, path, 1)
	if err := WriteFile(path, []byte("new"), 0o600); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the file", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the file has %q", b)
	}
	wantOnly(t, path)
	if err := WriteFile(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Error("a file was made in a file")
	}
}

// A folder that cannot be synced is an error: the name may be lost.
func TestWriteFileFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	watchSync(t, path, 2)
	if err := WriteFile(path, []byte("new"), 0o600); err == nil {
		t.Error("a name that may be lost was promised")
	}
}

// wantOnly fails when something lies beside the file.
func wantOnly(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("the folder has %v", entries)
	}
}
