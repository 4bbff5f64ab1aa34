// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/foxcpp/maddy/framework/log"

	"github.com/chmail/chmail/internal/durable"
)

// removeEmptyKeys removes DKIM keys without content. maddy writes a key without
// syncing it and does not start with an empty one: a power cut soon after the
// first start leaves such a file. maddy then makes a new key.
func removeEmptyKeys(state string) error {
	keys, err := filepath.Glob(filepath.Join(state, "dkim_keys", "*.key"))
	if err != nil {
		return fmt.Errorf("looking for DKIM keys: %w", err)
	}
	for _, path := range keys {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("looking at a DKIM key: %w", err)
		}
		if len(bytes.Trim(content, "\x00")) > 0 {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing an empty DKIM key: %w", err)
		}
		log.Printf("%s was empty, as a power cut leaves it: a new key is made; publish its record,"+
			" which stands beside it", path)
	}
	return nil
}

// syncFirstFiles syncs what maddy made at the first start and believes ever
// after: DKIM keys and accounts.
func syncFirstFiles(state string) error {
	var problems []error
	folders := map[string]bool{}
	for _, pattern := range []string{"dkim_keys/*", "credentials.db*"} {
		files, err := filepath.Glob(filepath.Join(state, pattern))
		problems = append(problems, err)
		for _, path := range files {
			problems = append(problems, durable.SyncFile(path))
			folders[filepath.Dir(path)], folders[state] = true, true
		}
	}
	for dir := range folders {
		problems = append(problems, durable.SyncDir(dir))
	}
	return errors.Join(problems...)
}
