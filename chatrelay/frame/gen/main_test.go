// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestCurrent: the pages have the frames as they are.
func TestCurrent(t *testing.T) {
	t.Parallel()
	have, err := os.ReadFile(filepath.Join("..", target))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, typescript()) {
		t.Error("web/ui/wire/frames.ts is of other frames: run go generate ./chatrelay/frame")
	}
}
