// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "presence.id")
	id, err := Identity(path)
	if err != nil || len(id) != 32 {
		t.Fatalf("id %q, error %v", id, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if again, err := Identity(path); err != nil || again != id {
		t.Errorf("id %q, error %v at the second start, want %q", again, err, id)
	}
	// What a power cut leaves of a file that was not synced: no octets.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	fresh, err := Identity(path)
	if err != nil || len(fresh) != 32 || fresh == id {
		t.Errorf("id %q, error %v from an empty file", fresh, err)
	}
	if again, err := Identity(path); err != nil || again != fresh {
		t.Errorf("id %q, error %v after an empty file, want %q", again, err, fresh)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identity(path); err == nil || !strings.Contains(err.Error(), "presence.id") {
		t.Errorf("a damaged id: error %v", err)
	}
}
