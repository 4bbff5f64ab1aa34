// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/file"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// crashOptions are those of the process that is killed and of the next one.
func crashOptions(url, path string) Options {
	return Options{URL: url, Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(30)},
		{Host: pt.OtherHost, Range: pt.Narrow(30)}}, ID: "machine", Path: path,
		Timeout: time.Second}
}

// TestCrashingProcess is a process of its own that TestRedisAndProcessCrash
// starts: it grants, writes what it granted, and waits to be killed.
func TestCrashingProcess(t *testing.T) {
	url := os.Getenv("PRESENCE_TEST_REDIS")
	if url == "" {
		t.Skip("started by TestRedisAndProcessCrash")
	}
	r := openRedis(t, crashOptions(url, os.Getenv("PRESENCE_TEST_PATH")))
	var gs []presence.Grant
	for i := range 50 {
		gs = append(gs, pt.MustGrant(t, r, fmt.Sprint("u", i)))
	}
	pt.OK(t, r.Hold(t.Context(), gs[11]))
	time.Sleep(100 * time.Millisecond) // the journal is written behind
	fmt.Println(string(pt.Must[[]byte](t)(json.Marshal(gs))))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Redis and the process are killed together, and both come back with nothing
// but the journal: everybody has the same port, and what a conversation was on
// is nobody else's.
func TestRedisAndProcessCrash(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "presence.db")
	child := exec.Command(os.Args[0], "-test.run=^TestCrashingProcess$", "-test.v")
	child.Env = append(os.Environ(), "PRESENCE_TEST_REDIS="+s.url(), "PRESENCE_TEST_PATH="+path)
	child.Stderr = os.Stderr
	stdin := pt.Must[io.WriteCloser](t)(child.StdinPipe())
	defer stdin.Close()
	out := pt.Must[io.ReadCloser](t)(child.StdoutPipe())
	pt.OK(t, child.Start())
	var gs []presence.Grant
	for lines := bufio.NewScanner(out); gs == nil && lines.Scan(); {
		if line := lines.Bytes(); len(line) > 0 && line[0] == '[' {
			pt.OK(t, json.Unmarshal(line, &gs))
		}
	}
	pt.OK(t, child.Process.Kill())
	_ = child.Wait()
	if len(gs) != 50 {
		t.Fatalf("the process granted %d ports", len(gs))
	}
	s.kill()
	s.start()

	r := openRedis(t, crashOptions(s.url(), path))
	pt.OK(t, r.Ready(ctx))
	for i := range 10 {
		late := pt.MustGrant(t, r, fmt.Sprint("late", i))
		for _, g := range gs {
			if late.Host == g.Host && late.Port == g.Port {
				t.Errorf("a newcomer got the port %d of %s", g.Port, g.Login)
			}
		}
	}
	for _, g := range gs {
		of := pt.Must[presence.Grant](t)(r.GrantOf(ctx, g.Login))
		if again := pt.MustGrant(t, r, g.Login); again.Host != g.Host || again.Port != g.Port || of.Port != g.Port {
			t.Errorf("%s has %s %d, want %s %d", g.Login, again.Host, again.Port, g.Host, g.Port)
		}
		if of.Held != (g.Login == "u11") {
			t.Errorf("%s is held: %v", g.Login, of.Held)
		}
	}

	// Redis is the authority where it knows better than the journal.
	pt.OK(t, r.Close())
	pt.OK(t, os.Remove(path))
	fresh := openRedis(t, crashOptions(s.url(), path))
	pt.OK(t, fresh.Ready(ctx))
	pt.OK(t, fresh.Close())
	j := pt.Must[*file.File](t)(file.OpenReadOnly(path))
	defer j.Close()
	var n int
	pt.OK(t, j.Grants(func(file.Grant) { n++ }))
	if n != 60 {
		t.Errorf("the journal has %d grants, want the 60 of Redis", n)
	}
}
