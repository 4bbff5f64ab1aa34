// SPDX-License-Identifier: GPL-3.0-or-later

package update

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"aead.dev/minisign"
)

// files are a server's page /download.
type files map[string]string

var errMissing = errors.New("404")

func (f files) Fetch(_ context.Context, path string, max int64, to io.Writer) error {
	text, ok := f[strings.TrimPrefix(path, "/download/")]
	if !ok || int64(len(text)) > max {
		return errMissing
	}
	_, err := io.WriteString(to, text)
	return err
}

func key(t *testing.T) (public string, private minisign.PrivateKey) {
	t.Helper()
	pub, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pub.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(text), private
}

// offer is a server that has one version, signed.
func offer(version, program string, by minisign.PrivateKey) files {
	name := "chmail-" + version + "-" + runtime.GOOS + "-" + runtime.GOARCH
	sums := fmt.Sprintf("%064d  chmaild-%s-linux-amd64\n%x  %s\n", 0, version, sha256.Sum256([]byte(program)), name)
	return files{name: program, SumsFile: sums, SumsFile + ".minisig": string(minisign.Sign(by, []byte(sums)))}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	public, private := key(t)
	_, stranger := key(t)
	changed := func(f files, name, text string) files {
		for have := range f {
			if strings.HasPrefix(have, name) {
				f[have] = text
				return f
			}
		}
		t.Fatalf("no %s in %v", name, f)
		return nil
	}
	for name, c := range map[string]struct {
		of      files
		key     string
		version string
		updates bool
		says    string
	}{
		"newer":          {offer("1.3.0", "new", private), public, "1.2.9", true, "from 1.2.9 to 1.3.0"},
		"after the next": {offer("0.0.0-12.gabc", "new", private), public, "0.0.0-9.gfff", true, "to 0.0.0-12.gabc"},
		"the same":       {offer("1.3.0", "new", private), public, "1.3.0", false, "is the newest"},
		"older":          {offer("1.2.0", "new", private), public, "1.3.0", false, ErrOlder.Error()},
		"another key":    {offer("1.3.0", "new", stranger), public, "1.2.0", false, ErrKey.Error()},
		"changed list": {changed(offer("1.3.0", "new", private), SumsFile+".min", "x"), public, "1.2.0", false,
			ErrKey.Error()},
		"changed program": {changed(offer("1.3.0", "new", private), "chmail-1", "bad"), public, "1.2.0", false,
			"not the one that was signed"},
		"no key":        {offer("1.3.0", "new", private), "", "1.2.0", false, "sign in again"},
		"no version":    {offer("1.3.0", "new", private), public, "dev", false, "has no version"},
		"nothing there": {files{}, public, "1.2.0", false, "fetching SHA256SUMS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "chmail")
			if err := os.WriteFile(path, []byte("old"), 0o755); err != nil {
				t.Fatal(err)
			}
			did, err := Run(t.Context(), Options{Server: c.of, Key: c.key, Version: c.version, Program: path})
			if err != nil {
				did = err.Error()
			}
			if !strings.Contains(did, c.says) {
				t.Errorf("it says %q, want %q", did, c.says)
			}
			want := "old"
			if c.updates {
				want = "new"
			}
			b, _ := os.ReadFile(path)
			info, err := os.Stat(path)
			if err != nil || string(b) != want || info.Mode().Perm() != 0o755 {
				t.Errorf("the program is %q, %v, want %q", b, info.Mode(), want)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".chmail-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestFullDisk: what a full disk means is said in words.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	err := full("/opt/chmail", fmt.Errorf("writing: %w", syscall.ENOSPC))
	if !strings.Contains(err.Error(), "make room") {
		t.Error(err)
	}
}
