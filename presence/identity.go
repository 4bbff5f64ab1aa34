// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/chmail/chmail/internal/durable"
)

// Identity reads the file that says which process this is across restarts, 128
// random bits in hexadecimal, and makes it when it is missing. An empty file is
// made anew: a power cut left it before anybody used it.
func Identity(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("reading the identity of this machine: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == 16 {
		return id, nil
	}
	if len(b) > 0 {
		return "", fmt.Errorf("%s is damaged: remove it, and a new one is made", path)
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // it never fails
	id = hex.EncodeToString(raw)
	return id, durable.WriteFile(path, []byte(id+"\n"), 0o600)
}
