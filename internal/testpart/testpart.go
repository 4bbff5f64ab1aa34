// SPDX-License-Identifier: GPL-3.0-or-later

// Package testpart finds the real programs that tests run against.
//
// A missing program makes a test skip with a loud line on a developer's
// machine and fail in CI, where nothing may be left untried. `go test -short`
// leaves out every test that asks for one.
package testpart

import (
	"fmt"
	"math/rand/v2"
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

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on; see FreePorts.
func FreePort(t testing.TB) int {
	t.Helper()
	return FreePorts(t, 1)
}

// FreePorts returns the first of n TCP ports in a row of 127.0.0.1 that nobody
// listens on. They lie below those that the system gives to whoever connects
// (32768 and up), so a server that comes back finds its port free; so do those
// 10,000 above, which a node of a Redis cluster takes too.
func FreePorts(t testing.TB, n int) int {
	t.Helper()
	for range 100 {
		first, free := 10_000+rand.IntN(9_900-n), true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}
