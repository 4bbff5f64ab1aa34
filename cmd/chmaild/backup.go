// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/internal/sqlitecopy"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/modules"
)

// A backup is a folder: `mail` is a mail store, `state` is the SQLite databases
// (accounts, rooms, presence) and the DKIM keys of the state directory, `files`
// is the files of the conversations, and maddy.conf is the configuration.

var backupCommand = &cli.Command{
	Name:      "backup",
	Usage:     "write mail, accounts, rooms and presence as of one moment into a new folder DIR, while the server runs",
	ArgsUsage: "DIR",
	Flags:     []cli.Flag{storageFlag},
	Action: withStore(func(c *cli.Context, m *modules.Maildrop) error {
		if c.NArg() != 1 {
			return cli.Exit("usage: chmaild backup DIR", 2)
		}
		dir, err := invocationPath(c.Args().First())
		if err != nil {
			return err
		}
		if _, err := os.Stat(dir); err == nil {
			return fmt.Errorf("%s is there already: a backup goes into a new folder", dir)
		}
		f, err := config.Read(c.Path("config"))
		if err != nil {
			return err
		}
		work := dir + ".new"
		if err := backup(c.Context, f, m, work); err != nil {
			return errors.Join(err, os.RemoveAll(work))
		}
		if err := os.Rename(work, dir); err != nil {
			return err
		}
		fmt.Printf("Wrote %s. It holds the mail, the SQLite databases, the conversations' files, the DKIM keys\n"+
			"and the configuration; what is on PostgreSQL or Redis, certificates, and mail that waits to be\n"+
			"sent are not in it.\n", dir)
		return nil
	}),
}

func backup(ctx context.Context, f *config.File, m *modules.Maildrop, dir string) error {
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	databases, err := sqliteFiles(maddyconfig.StateDirectory)
	if err != nil {
		return err
	}
	// While rooms, presence and accounts hold still, the mail is linked, which
	// is a matter of milliseconds: this is the moment of the backup.
	frozen, err := sqlitecopy.Freeze(ctx, databases)
	if err != nil {
		return err
	}
	err = m.Admin().Backup(ctx, filepath.Join(dir, "mail"))
	if err == nil {
		err = frozen.CopyTo(ctx, state)
	}
	if err = errors.Join(err, frozen.Release()); err != nil {
		return err
	}
	keys := filepath.Join(maddyconfig.StateDirectory, "dkim_keys")
	if _, err := os.Stat(keys); err == nil {
		if err := os.CopyFS(filepath.Join(state, "dkim_keys"), os.DirFS(keys)); err != nil {
			return err
		}
	}
	// Every file that the databases' copies name is there still, unless it was
	// erased or has expired meanwhile.
	if files := filesPath(f); files != "" {
		if err := linkTree(files, filepath.Join(dir, "files")); err != nil {
			return fmt.Errorf("copying the conversations' files: %w", err)
		}
	}
	text, err := os.ReadFile(f.Path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "maddy.conf"), text, 0o600)
	}
	if err != nil {
		return err
	}
	return syncTree(dir)
}

// linkTree makes the folder to with the files of from, which are never changed,
// only removed: by links, or copies where that is another file system.
func linkTree(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // there are no files yet, or it was removed just now
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case !e.Type().IsRegular():
			return nil
		}
		err = os.Link(path, target)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			err = copyFile(path, filepath.Dir(target))
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

// copyFile copies a file, if it is there, into a folder.
func copyFile(path, dir string) error {
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, filepath.Base(path)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// sqliteFiles lists the SQLite databases of a folder, by what they begin with.
func sqliteFiles(dir string) (found []string, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		head := make([]byte, 16)
		_, err = io.ReadFull(f, head)
		f.Close()
		if err == nil && string(head) == "SQLite format 3\x00" {
			found = append(found, name)
		}
	}
	return found, nil
}

var restoreCommand = &cli.Command{
	Name:      "restore",
	Usage:     "put a backup into the state directory of the configuration, while no server runs",
	ArgsUsage: "DIR",
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit("usage: chmaild restore DIR", 2)
		}
		f, err := config.Read(c.Path("config"))
		if err != nil {
			return err
		}
		if _, err := f.Admin(); err != nil { // sets the state directory, opens nothing
			return err
		}
		dir, err := invocationPath(c.Args().First())
		if err != nil {
			return err
		}
		return restore(f, dir)
	},
}

func restore(f *config.File, dir string) error {
	to, err := storePath(f)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "mail", "FORMAT")); err != nil {
		return fmt.Errorf("%s is not a backup: %w", dir, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "state"))
	if err != nil {
		return fmt.Errorf("%s is not a backup: %w", dir, err)
	}
	targets := []string{to}
	files, kept := filesPath(f), filepath.Join(dir, "files")
	if _, err := os.Stat(kept); files == "" || err != nil {
		files = "" // none are kept, or the backup is of an older program
	} else {
		targets = append(targets, files)
	}
	for _, e := range entries {
		targets = append(targets, filepath.Join(maddyconfig.StateDirectory, e.Name()))
	}
	var there []string
	for _, target := range targets {
		if _, err := os.Lstat(target); err == nil {
			there = append(there, target)
		}
	}
	if len(there) > 0 {
		return fmt.Errorf("end the server and move away first what is there: %s", strings.Join(there, ", "))
	}
	work := to + ".restored"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.CopyFS(work, os.DirFS(filepath.Join(dir, "mail"))); err != nil {
		return err
	}
	s, err := mailstore.Open(work, mailstore.Options{MinFree: -1})
	if err != nil {
		return err
	}
	st, err := s.Stats()
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if err := os.CopyFS(maddyconfig.StateDirectory, os.DirFS(filepath.Join(dir, "state"))); err != nil {
		return err
	}
	if files != "" {
		if err := os.CopyFS(files, os.DirFS(kept)); err != nil {
			return err
		}
		if err := syncTree(files); err != nil {
			return err
		}
	}
	if err := errors.Join(syncTree(work), os.Rename(work, to), syncTree(maddyconfig.StateDirectory)); err != nil {
		return err
	}
	fmt.Printf("Restored %d messages of %d accounts and %d more files and folders.\n", st.Messages, st.Accounts, len(entries))
	return nil
}

// storePath is the folder of the configuration's storage.maildrop.
func storePath(f *config.File) (string, error) {
	path, there := pathIn(f, "storage.maildrop", "path", mailstore.DefaultPath)
	if !there {
		return "", errors.New("the configuration has no block storage.maildrop")
	}
	return path, nil
}

// filesPath is the folder of the conversations' files; empty: none are kept.
func filesPath(f *config.File) string {
	path, there := pathIn(f, "chat.relay", "files", "files")
	if !there || filepath.Base(path) == "off" {
		return ""
	}
	return path
}

// pathIn is what a directive of the first block of that name says, below the
// state directory, and whether there is such a block.
func pathIn(f *config.File, block, directive, standard string) (path string, there bool) {
	for _, n := range f.Nodes {
		if n.Name != block {
			continue
		}
		path = standard
		for _, d := range n.Children {
			if d.Name == directive && len(d.Args) == 1 {
				path = d.Args[0]
			}
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(maddyconfig.StateDirectory, path)
		}
		return path, true
	}
	return "", false
}

// syncTree makes what was written below dir stay.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// startDir is the folder that the command was called in: reading the
// configuration changes to the state directory.
var startDir, startDirErr = os.Getwd()

func invocationPath(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	return filepath.Join(startDir, path), startDirErr
}
