// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Folder is where a command wants something written. It need not exist.
type Folder struct {
	Path string `json:"path"` // absolute
	// Above is the nearest folder above Path that exists, and what it is there:
	// a server can see another folder under the same name, its own /tmp say.
	Above string `json:"above"`
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
}

// FolderAt returns the folder of a path, as this process sees it.
func FolderAt(path string) (Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Folder{}, err
	}
	for above := filepath.Dir(path); ; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		if errors.Is(err, fs.ErrNotExist) && above != "/" {
			continue
		}
		if err != nil {
			return Folder{}, err
		}
		stat := info.Sys().(*syscall.Stat_t)
		return Folder{Path: path, Above: above, Dev: uint64(stat.Dev), Ino: stat.Ino}, nil
	}
}

// same says whether this process sees the same folder under that name.
func (f Folder) same() error {
	here, err := FolderAt(f.Path)
	if err != nil {
		return f.explain(err)
	}
	if here != f {
		return fmt.Errorf("the running server sees another folder at %s, as with PrivateTmp of systemd: "+
			"name a folder below its state directory", f.Above)
	}
	return nil
}

// explain says what to do about a folder that cannot be written.
func (f Folder) explain(err error) error {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return fmt.Errorf("%w: what has the files open writes it, with the rights of %s; "+
		"name a folder that it may write into, like one below its state directory", err, nameOf(os.Geteuid()))
}

// nameOf is the name of a user, or else the number.
func nameOf(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}

// ownerOf is who owns a file or the nearest folder above it that can be seen.
func ownerOf(path string) int {
	info, err := os.Stat(path)
	for err != nil && path != "/" {
		path = filepath.Dir(path)
		info, err = os.Stat(path)
	}
	if err != nil {
		return 0
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// asOwner says that a command is to be run by who owns path.
func asOwner(path string) string {
	return fmt.Sprintf("it belongs to %s: run the command as that user, with `sudo -u %[1]s chmaild …`",
		nameOf(ownerOf(path)))
}
