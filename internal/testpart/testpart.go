// SPDX-License-Identifier: GPL-3.0-or-later

// Package testpart finds the real programs that tests run against.
//
// A missing program makes a test skip with a loud line on a developer's
// machine and fail in CI, where nothing may be left untried. `go test -short`
// leaves out every test that asks for one.
package testpart

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Need returns the path of the first of names that is installed. Debian keeps
// PostgreSQL's servers outside PATH, so their folders are looked into as well.
func Need(t testing.TB, names ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("a short test needs no %s", names[0])
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) > 0 {
			return found[len(found)-1]
		}
		if path := "/usr/sbin/" + name; executable(path) {
			return path
		}
	}
	Missing(t, fmt.Sprintf("one of %q: `make test` installs it from Debian", names))
	return ""
}

// Slow leaves a test out of a short run: what it tests is how long something takes,
// or it runs servers.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("a short test waits for nothing")
	}
}

// Missing ends a test that cannot run here because something is not there.
func Missing(t testing.TB, what string) {
	t.Helper()
	line := "NOT TESTED: missing " + what
	if os.Getenv("CI") == "true" {
		t.Fatal(line)
	}
	t.Skip(line)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on just now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
