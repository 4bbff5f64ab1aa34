// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/chmail/chmail/internal/sqlitecopy"
)

// Malls are what a command can ask of a server's shopping mall.
type Malls interface {
	// RotateMallKeys seals all personal data of the mall with a new key, and drops the
	// old ones. It returns how many texts were sealed anew.
	RotateMallKeys(ctx context.Context) (int, error)
}

// Mall is the mall of a server that runs.
type Mall interface {
	RotateKeys(ctx context.Context) (int, error)
}

// MallFiles are where a mall keeps what is its own. The zero value: there is no mall.
type MallFiles struct {
	Database string // SQLite; empty: it is on PostgreSQL
	Keys     string // that seal personal data
	Pictures string
}

// In a backup's folder of the mall.
const (
	mallDatabase = "mall.db"
	mallKeys     = "mall.keys"
	mallPictures = "pictures"
)

// RotateMallKeys implements Malls. A backup has the database and the keys of one time, so
// that one waits for the other.
func (o *Owner) RotateMallKeys(ctx context.Context) (int, error) {
	m, err := o.Parts.Mall()
	if err != nil {
		return 0, err
	}
	o.mallKeys.Lock()
	defer o.mallKeys.Unlock()
	return m.RotateKeys(ctx)
}

// copyMall copies the mall into a new folder.
func (o *Owner) copyMall(ctx context.Context, to string) error {
	if o.Mall == (MallFiles{}) {
		return nil
	}
	o.mallKeys.Lock()
	defer o.mallKeys.Unlock()
	if err := os.MkdirAll(filepath.Join(to, mallPictures), 0o700); err != nil {
		return err
	}
	if o.Mall.Database != "" {
		err := sqlitecopy.Copy(ctx, o.Mall.Database, filepath.Join(to, mallDatabase))
		if err != nil {
			return err
		}
	}
	if err := copyFile(o.Mall.Keys, filepath.Join(to, mallKeys)); err != nil {
		return fmt.Errorf("copying the mall's keys: %w", err)
	}
	if err := linkTree(o.Mall.Pictures, filepath.Join(to, mallPictures)); err != nil {
		return fmt.Errorf("copying the mall's pictures: %w", err)
	}
	return nil
}

// mallTargets are the files of a backed-up mall, and where each belongs.
func mallTargets(dir string, to MallFiles) (map[string]string, error) {
	targets := map[string]string{}
	places := map[string]string{mallDatabase: to.Database, mallKeys: to.Keys, mallPictures: to.Pictures}
	for name, place := range places {
		path := filepath.Join(dir, inMall, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue // of PostgreSQL, or of a server without a mall
		} else if err != nil {
			return nil, err
		}
		if place == "" {
			return nil, fmt.Errorf("the backup has %s, and the configuration has no place for it", path)
		}
		targets[path] = place
	}
	return targets, nil
}

// putMall puts a backed-up mall into its places.
func putMall(targets map[string]string) error {
	for from, to := range targets {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		var err error
		if filepath.Base(from) == mallPictures {
			err = errors.Join(os.MkdirAll(to, 0o700), linkTree(from, to))
		} else {
			err = copyFile(from, to)
		}
		if err = errors.Join(err, syncTree(to)); err != nil {
			return err
		}
	}
	return nil
}

// without removes a database from a list of paths.
func without(paths []string, database string) []string {
	return slices.DeleteFunc(paths, func(path string) bool { return filepath.Clean(path) == filepath.Clean(database) })
}
