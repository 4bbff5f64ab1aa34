// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/chmail/chmail/internal/sqlitecopy"
)

// The folders and the file of a backup.
const (
	inMail   = "mail"        // a mail store
	inState  = "state"       // SQLite databases (accounts, rooms, presence) and DKIM keys, as in the state directory
	inFiles  = "files"       // the files of the conversations
	inMall   = "mall"        // the mall's database, keys and pictures
	inConfig = "maddy.conf"  // the configuration
	unready  = ".unfinished" // ends the name of a backup that is being made
)

// Backup implements Admin. The parts are copied one after the other while all
// of them go on. The mail is first: what a mail refers to, its room and its
// granted port, is in a database that is copied later, and the files that the
// rooms refer to are last.
func (o *Owner) Backup(ctx context.Context, to Folder) (err error) {
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return err
	}
	if err := to.same(); err != nil {
		return err
	}
	if _, err := os.Stat(to.Path); err == nil {
		return fmt.Errorf("%s is there already: a backup goes into a new folder", to.Path)
	}
	work := to.Path + unready
	if err := os.RemoveAll(work); err != nil {
		return to.explain(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(to.explain(err), os.RemoveAll(work))
		}
	}()
	state := filepath.Join(work, inState)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if err := mail.Backup(ctx, filepath.Join(work, inMail)); err != nil {
		return err
	}
	if err := o.copyDatabases(ctx, state); err != nil {
		return err
	}
	if err := o.copyMall(ctx, filepath.Join(work, inMall)); err != nil {
		return err
	}
	keys := os.DirFS(filepath.Join(o.State, "dkim_keys"))
	if err := os.CopyFS(filepath.Join(state, "dkim_keys"), keys); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copying the DKIM keys: %w", err)
	}
	if o.Files != "" {
		if err := os.MkdirAll(filepath.Join(work, inFiles), 0o700); err != nil {
			return err
		}
		if err := linkTree(o.Files, filepath.Join(work, inFiles)); err != nil {
			return fmt.Errorf("copying the conversations' files: %w", err)
		}
	}
	if err := copyFile(o.Config, filepath.Join(work, inConfig)); err != nil {
		return err
	}
	if err := syncTree(work); err != nil {
		return err
	}
	return os.Rename(work, to.Path)
}

// copyDatabases copies the SQLite databases of the state directory: the rooms
// by their owner, the others as they are in their files.
func (o *Owner) copyDatabases(ctx context.Context, to string) error {
	databases, err := sqliteFiles(o.State)
	if err != nil {
		return err
	}
	databases = without(databases, o.Mall.Database)
	if rooms, err := o.Parts.Rooms(); err == nil { // a server of mail alone has none
		name, err := rooms.BackupTo(ctx, to)
		if err != nil {
			return err
		}
		databases = slices.DeleteFunc(databases, func(path string) bool { return filepath.Base(path) == name })
	}
	for _, path := range databases {
		if err := sqlitecopy.Copy(ctx, path, filepath.Join(to, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
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

// linkTree makes what is below from also appear below to: by links, or by
// copies on another file system. The files are never changed, only removed and
// made anew. One that is removed meanwhile, or is there already, is left out.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err == nil {
			err = linkOne(from, to, path, e)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

func linkOne(from, to, path string, e os.DirEntry) error {
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
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrExist) {
		err = copyFile(path, target)
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// copyFile copies a file to a new one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
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
