// SPDX-License-Identifier: GPL-3.0-or-later

// Command pack writes the Thunderbird add-on, deploy/thunderbird, as an .xpi. The same
// files make the same octets. `make addons` runs it from the top of the repository.
package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("pack: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: pack FILE.xpi")
	}
	packed, err := pack(os.DirFS("deploy/thunderbird"))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(os.Args[1]), 0o755)
	}
	if err == nil {
		err = os.WriteFile(os.Args[1], packed, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// parts are the kinds of files of which an add-on consists.
var parts = []string{".css", ".html", ".js", ".json", ".svg"}

// pack returns the archive: files in the order of their names, and without times.
func pack(folder fs.FS) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	err := fs.WalkDir(folder, ".", func(path string, d fs.DirEntry, err error) error {
		part := slices.Contains(parts, filepath.Ext(path)) && !strings.HasSuffix(path, ".test.js")
		if err != nil || d.IsDir() || !part {
			return err
		}
		content, err := fs.ReadFile(folder, path)
		if err != nil {
			return err
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: path, Method: zip.Deflate})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	})
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("packing the add-on: %w", err)
	}
	return b.Bytes(), nil
}
