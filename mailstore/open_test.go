// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	openEnv     = "CHMAIL_STORE_OPEN"     // the folder of a store that a child opens
	messagesEnv = "CHMAIL_STORE_MESSAGES" // of the store that TestOpenLarge opens
)

// opened is what a child says of the store that it opened.
type opened struct {
	Seconds  float64
	Octets   int64 // resident, at its most
	Messages int64
}

// openAndTell is the child: it opens a store, looks at one mailbox, and says
// how long that took and how much memory.
func openAndTell(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	start := time.Now()
	s, err := Open(dir, Options{MinFree: -1})
	fail(err)
	box, err := s.Mailbox("u0@x", Inbox)
	fail(err)
	st, err := box.Status()
	fail(err)
	o := opened{Seconds: time.Since(start).Seconds(), Messages: int64(st.Messages)}
	var usage syscall.Rusage
	fail(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	o.Octets = usage.Maxrss << 10
	fail(json.NewEncoder(os.Stdout).Encode(o))
	box.Close()
	fail(s.Close())
}

// TestOpenLarge measures how long a store takes to open, and with how much
// memory: after a clean end, and after a kill, when up to 32 MB of log are read
// again. With CHMAIL_STORE_MESSAGES=1000000 the bounds are 2 s and 200 MB;
// without it the store is small and only has to open.
func TestOpenLarge(t *testing.T) {
	t.Parallel()
	messages, err := strconv.Atoi(os.Getenv(messagesEnv))
	measured := err == nil
	if !measured {
		messages = 2_000
	}
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	logins := make([]string, 100)
	for i := range logins {
		logins[i] = fmt.Sprintf("u%d@x", i)
	}
	addAccounts(t, s, logins...)
	fillStore(t, s, messages, logins)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tell := func(how string) {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), openEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		var o opened
		if err == nil {
			err = json.Unmarshal(out, &o)
		}
		if err != nil {
			t.Fatalf("opening %s: %v: %s", how, err, out)
		}
		t.Logf("a store of %d messages opened %s in %.2f s, with %d MB resident",
			messages, how, o.Seconds, o.Octets>>20)
		if o.Messages == 0 {
			t.Error("its mailbox was empty")
		}
		if measured && o.Octets > 200<<20 {
			t.Errorf("%d MB, want 200 at most", o.Octets>>20)
		}
		if measured && o.Seconds > 2 {
			t.Errorf("%.2f s, want 2 at most", o.Seconds)
		}
	}
	tell("after a clean end")

	// As much as the log can hold before its messages are in tables.
	s = openStore(t, dir, Options{})
	fillStore(t, s, min(messages, 7_000), logins)
	crash(s)
	tell("after a kill")
	s = openStore(t, dir, Options{})
	if st, err := s.Stats(); err != nil || st.Messages != int64(messages+min(messages, 7_000)) {
		t.Errorf("%+v, %v", st, err)
	}
}

// fillStore delivers messages of 4 KiB, each with a body of its own.
func fillStore(t *testing.T, s *Store, messages int, logins []string) {
	t.Helper()
	const writers = 50
	var next atomic.Int64
	failed := make(chan error, writers)
	for range writers {
		go func() {
			for n := int(next.Add(1)); n <= messages; n = int(next.Add(1)) {
				body := text(strconv.Itoa(n), 4<<10)
				if err := put(s, body, logins[n%len(logins)]); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}
