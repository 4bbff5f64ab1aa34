// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	childEnv  = "CHMAIL_STORE_CHILD"  // the folder of a child's store, and its round
	roundsEnv = "CHMAIL_STORE_ROUNDS" // how often the kill test kills
	killLarge = 40 << 10              // octets above which bodies are files there
)

func TestMain(m *testing.M) {
	if dir, round, ok := strings.Cut(os.Getenv(childEnv), "|"); ok {
		work(dir, round)
	}
	if dir := os.Getenv(openEnv); dir != "" {
		openAndTell(dir)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ledger is what was said to whom: the truth that a store is compared with.
type ledger struct {
	mu        sync.Mutex
	delivered map[string][]string          // id to logins: answered 250
	deleting  map[string]bool              // login and id: a deletion was begun
	deleted   map[string]bool              // it was acknowledged
	begun     map[string][]string          // id to logins: a delivery was begun
	sessions  [][]string                   // login and id of what one QUIT was to delete
	seen      map[string]map[uint32]string // login to UID to id, as readers saw it
	faults    []string
}

func newLedger() *ledger {
	return &ledger{
		delivered: make(map[string][]string), deleting: make(map[string]bool),
		deleted: make(map[string]bool), begun: make(map[string][]string), seen: make(map[string]map[uint32]string),
	}
}

// note takes one line of a worker.
func (l *ledger) note(line string) {
	f := strings.Fields(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(f) > 2 && f[0] == "delivered":
		l.delivered[f[1]] = f[2:]
	case len(f) > 2 && f[0] == "delivering":
		l.begun[f[1]] = f[2:]
	case len(f) > 2 && f[0] == "deleting":
		var all []string
		for _, id := range f[2:] {
			l.deleting[f[1]+" "+id] = true
			all = append(all, f[1]+" "+id)
		}
		l.sessions = append(l.sessions, all)
	case len(f) == 3 && f[0] == "deleted":
		l.deleted[f[1]+" "+f[2]] = true
	case len(f) == 4 && f[0] == "seen":
		uid, _ := strconv.ParseUint(f[2], 10, 32)
		l.see(f[1], uint32(uid), f[3])
	case len(f) > 0 && f[0] == "fault":
		l.faults = append(l.faults, line)
	}
}

func (l *ledger) see(login string, uid uint32, id string) {
	if l.seen[login] == nil {
		l.seen[login] = make(map[uint32]string)
	}
	if old := l.seen[login][uid]; old != "" && old != id {
		l.faults = append(l.faults, fmt.Sprintf("fault: UID %d of %s was %s and is %s", uid, login, old, id))
	}
	l.seen[login][uid] = id
}

// events is how much was acknowledged.
func (l *ledger) events() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.delivered) + len(l.deleted)
}

func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLedger()
	for k, v := range l.delivered {
		c.delivered[k] = v
	}
	for k, v := range l.begun {
		c.begun[k] = v
	}
	c.sessions = slices.Clone(l.sessions)
	for k := range l.deleting {
		c.deleting[k] = true
	}
	for k := range l.deleted {
		c.deleted[k] = true
	}
	return c
}

// idOfText is the id that a test's message carries.
func idOfText(text string) string {
	_, rest, _ := strings.Cut(text, "Subject: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	return id
}

// compare holds a store against the ledger.
func (l *ledger) compare(t *testing.T, s *Store) {
	t.Helper()
	there := make(map[string]int) // login and id
	for _, login := range killLogins {
		for uid, text := range contents(t, inbox(t, s, login)) {
			id := idOfText(text)
			there[login+" "+id]++
			l.mu.Lock()
			l.see(login, uid, id)
			l.mu.Unlock()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := 0
	for id, logins := range l.delivered {
		for _, login := range logins {
			key := login + " " + id
			switch n := there[key]; {
			case n > 1:
				t.Errorf("%s is there %d times", key, n)
			case n == 0 && !l.deleting[key]:
				lost++
				t.Errorf("%s was answered 250 and is lost", key)
			}
			if lost > 20 {
				t.Fatal("and more")
			}
		}
	}
	for key := range l.deleted {
		if there[key] > 0 {
			t.Errorf("%s was acknowledged as deleted and is back", key)
		}
	}
	// What was not acknowledged happened as a whole or not at all.
	for id, logins := range l.begun {
		some, all := 0, 0
		for _, login := range logins {
			if key := login + " " + id; !l.deleting[key] {
				all++
				some += there[key]
			}
		}
		if some != 0 && some != all {
			t.Errorf("%s was delivered to %d of %v", id, some, logins)
		}
	}
	for _, keys := range l.sessions {
		// One that was seen before it was answered 250 may be lost.
		keys = slices.DeleteFunc(keys, func(key string) bool {
			login, id, _ := strings.Cut(key, " ")
			return !slices.Contains(l.delivered[id], login)
		})
		left := 0
		for _, key := range keys {
			left += there[key]
		}
		if left != 0 && left != len(keys) {
			t.Errorf("a session that was to delete %d messages left %d of them", len(keys), left)
		}
	}
	l.begun, l.sessions = make(map[string][]string), nil // later ones take what these left
	for _, f := range l.faults {
		t.Error(f)
	}
	l.faults = nil
	checkClean(t, s)
}

var killLogins = []string{"a@x", "b@x", "c@x"}

// runWorkers delivers, deletes and reads until ctx ends, and says so line by line.
func runWorkers(ctx context.Context, s *Store, round string, say func(string)) {
	var working sync.WaitGroup
	for w := range 4 {
		working.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				to := killLogins[:1+rand.IntN(len(killLogins))]
				id := fmt.Sprintf("r%s-w%d-%d", round, w, i)
				size := 200 + rand.IntN(8<<10)
				if i%20 == 0 {
					size = 2 * killLarge
				}
				say("delivering " + id + " " + strings.Join(to, " "))
				if err := put(s, text(id, size), to...); err == nil {
					say("delivered " + id + " " + strings.Join(to, " "))
				} else if !errors.Is(err, ErrClosed) {
					say("fault: delivering: " + err.Error())
				}
			}
		})
	}
	// A POP3 session after the other: some messages are read, some deleted.
	for _, login := range killLogins {
		working.Go(func() {
			for ctx.Err() == nil {
				if err := popSession(s, login, say); err != nil && !errors.Is(err, ErrClosed) {
					say("fault: POP3: " + err.Error())
				}
			}
		})
	}
	working.Wait()
}

func popSession(s *Store, login string, say func(string)) error {
	d, err := s.Maildrops().Open(context.Background(), login)
	if err != nil {
		return err
	}
	defer d.Close()
	drop := d.(*maildrop)
	if err := drop.List(context.Background()); err != nil {
		return err
	}
	var numbers []int
	var ids []string
	for n := 1; n <= drop.Count(); n++ {
		r, err := drop.Open(context.Background(), n, false)
		if err != nil {
			return err
		}
		head := make([]byte, 120)
		_, err = io.ReadAtLeast(r, head, 60)
		r.Close()
		if err != nil {
			return err
		}
		id := idOfText(string(head))
		say(fmt.Sprintf("seen %s %d %s", login, drop.messages[n-1].uid, id))
		if rand.IntN(3) == 0 {
			numbers, ids = append(numbers, n), append(ids, id)
		}
	}
	if len(ids) > 0 {
		say("deleting " + login + " " + strings.Join(ids, " "))
	}
	if err := drop.Delete(context.Background(), numbers); err != nil {
		return err
	}
	for _, id := range ids {
		say("deleted " + login + " " + id)
	}
	return nil
}

// work is the child: it works until it is killed.
func work(dir, round string) {
	s, err := Open(dir, Options{LargeBody: killLarge, MinFree: -1})
	if err != nil {
		fmt.Println("fault: opening:", err)
		os.Exit(1)
	}
	for _, login := range killLogins {
		if err := s.CreateAccount(login); err != nil && !errors.Is(err, ErrExists) {
			fmt.Println("fault: account:", err)
		}
	}
	fmt.Println("ready")
	runWorkers(context.Background(), s, round, func(line string) {
		os.Stdout.WriteString(line + "\n") // at once: what is said is said
	})
}

// TestKill kills a process that delivers and deletes at random moments, and
// compares what is there with what it had acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 50
	if n, err := strconv.Atoi(os.Getenv(roundsEnv)); err == nil {
		rounds = n
	}
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	l := newLedger()
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+dir+"|"+strconv.Itoa(round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var kill *time.Timer
		for enough := l.events() + 20 + rand.IntN(300); lines.Scan(); {
			l.note(lines.Text())
			if kill == nil && l.events() >= enough {
				kill = time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %v; %v", round, err, l.faults)
		}
		s, err := Open(dir, Options{LargeBody: killLarge, MinFree: -1})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		l.compare(t, s)
		if round%2 == 0 {
			crash(s)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d kills: %d deliveries acknowledged, %d deletions acknowledged", rounds, len(l.delivered), len(l.deleted))
	if len(l.delivered) < 10*rounds || len(l.deleted) == 0 {
		t.Errorf("too little happened: %d deliveries, %d deletions", len(l.delivered), len(l.deleted))
	}
}
