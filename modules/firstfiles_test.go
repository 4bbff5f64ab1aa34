// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"os"
	"path/filepath"
	"testing"
)

// A power cut after the first start leaves a DKIM key without its content, with
// which maddy does not start.
func TestRemoveEmptyKeys(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := removeEmptyKeys(state); err != nil {
		t.Errorf("before the first start: %v", err)
	}
	keys := filepath.Join(state, "dkim_keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"whole.key": "-----BEGIN PRIVATE KEY-----\n", "empty.key": "", "zeros.key": "\x00\x00", "empty.dns": ""} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeEmptyKeys(state); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"whole.key": true, "empty.key": false,
		"zeros.key": false, "empty.dns": true} {
		if _, err := os.Stat(filepath.Join(keys, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := syncFirstFiles(state); err != nil {
		t.Error(err)
	}
}
