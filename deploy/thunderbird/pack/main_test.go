// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/chmail/chmail/internal/testpart"
)

// TestPack: the archive is the same each time, and has all that the manifest and the pages
// name, and no tests.
func TestPack(t *testing.T) {
	t.Parallel()
	first, err := pack(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := pack(os.DirFS("..")); err != nil || !bytes.Equal(first, second) {
		t.Errorf("packed again it is another archive: %v", err)
	}
	z, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	want := []string{"_locales/en/messages.json", "_locales/ko/messages.json", "background.js", "device.js", "icon.svg",
		"manifest.json", "options.html", "options.js", "page.css", "popup.html", "popup.js", "trust.js"}
	if !slices.Equal(names, want) {
		t.Errorf("it has %v, want %v", names, want)
	}
}

// TestWords: both languages say everything that the add-on says.
func TestWords(t *testing.T) {
	t.Parallel()
	keys := func(lang string) []string {
		var all map[string]struct{ Message string }
		b, err := os.ReadFile(filepath.Join("..", "_locales", lang, "messages.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(all))
	}
	en := keys("en")
	if ko := keys("ko"); !slices.Equal(en, ko) {
		t.Errorf("en has %v, ko has %v", en, ko)
	}
	said := regexp.MustCompile(`__MSG_(\w+)__|say\('(\w+)'|data-say="(\w+)"`)
	for _, pattern := range []string{"*.js", "*.html", "manifest.json"} {
		files, err := fs.Glob(os.DirFS(".."), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range said.FindAllSubmatch(b, -1) {
				key := string(slices.Concat(m[1], m[2], m[3]))
				if !slices.Contains(en, key) && key != "state_" {
					t.Errorf("%s says %s, which no language has", name, key)
				}
			}
		}
	}
}

// TestTrust runs the tests of what is believed, in Node.
func TestTrust(t *testing.T) {
	t.Parallel()
	node := testpart.Need(t, "node")
	built := api.Build(api.BuildOptions{EntryPoints: []string{"../trust.test.js"}, Bundle: true,
		Format: api.FormatESModule, Platform: api.PlatformNode, Target: api.ES2022})
	if len(built.Errors) > 0 {
		t.Fatal(built.Errors[0].Text)
	}
	file := filepath.Join(t.TempDir(), "test.mjs")
	if err := os.WriteFile(file, built.OutputFiles[0].Contents, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, node, "--test-reporter=spec", file).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
