// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chmail/chmail/mailstore"
)

// Places are where the parts of a backup belong.
type Places struct {
	State string // state directory
	Mail  string // the mail store
	Files string // the conversations' files; empty: none are kept
	Mall  MallFiles
}

// Restored counts what Restore brought back.
type Restored struct {
	Accounts int
	Messages int64
	Others   int // files and folders of the state directory
}

// Restore puts a backup into its places, where nothing may be yet but files of
// conversations, which are named by what they hold. The state directory must be
// this process' (Claim).
func Restore(dir string, to Places) (r Restored, err error) {
	mail, files := filepath.Join(dir, inMail), filepath.Join(dir, inFiles)
	if _, err := os.Stat(filepath.Join(mail, "FORMAT")); err != nil {
		return r, fmt.Errorf("%s is not a backup: %w", dir, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, inState))
	if err != nil {
		return r, fmt.Errorf("%s is not a backup: %w", dir, err)
	}
	mall, err := mallTargets(dir, to.Mall)
	if err != nil {
		return r, err
	}
	targets := append([]string{to.Mail}, slices.Collect(maps.Values(mall))...)
	for _, e := range entries {
		targets = append(targets, filepath.Join(to.State, e.Name()))
	}
	var there []string
	for _, target := range targets {
		if _, err := os.Lstat(target); err == nil {
			there = append(there, target)
		}
	}
	if len(there) > 0 {
		return r, fmt.Errorf("move away first what is there: %s", strings.Join(there, ", "))
	}
	// The mail is looked at before it counts.
	work := to.Mail + ".restored"
	if err := os.RemoveAll(work); err != nil {
		return r, err
	}
	if err := os.CopyFS(work, os.DirFS(mail)); err != nil {
		return r, err
	}
	s, err := mailstore.Open(work, mailstore.Options{MinFree: -1})
	if err != nil {
		return r, err
	}
	st, err := s.Stats()
	if err = errors.Join(err, s.Close()); err != nil {
		return r, err
	}
	if to.Files != "" { // a backup of an older program has none
		if err := errors.Join(os.MkdirAll(to.Files, 0o700), linkTree(files, to.Files), syncTree(to.Files)); err != nil {
			return r, err
		}
	}
	if err := putMall(mall); err != nil {
		return r, err
	}
	if err := os.CopyFS(to.State, os.DirFS(filepath.Join(dir, inState))); err != nil {
		return r, err
	}
	if err := errors.Join(syncTree(work), os.Rename(work, to.Mail), syncTree(to.State)); err != nil {
		return r, err
	}
	return Restored{st.Accounts, st.Messages, len(entries)}, nil
}
