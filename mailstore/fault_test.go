// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/chmail/chmail/internal/testpart"
)

// TestTornWrites drops data that was not synced: all of it, or at random, at
// random moments between deliveries and deletions.
func TestTornWrites(t *testing.T) {
	t.Parallel()
	l := newLedger()
	fs := vfs.NewCrashableMem()
	rounds := 50
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		s := openStore(t, "/store", Options{FS: fs, LargeBody: killLarge})
		for _, login := range killLogins {
			if err := s.CreateAccount(login); err != nil && !errors.Is(err, ErrExists) {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		var working sync.WaitGroup
		want := l.events() + 5 + rand.IntN(300)
		// On a busy machine the workers could outrun the copy of the disk for ever.
		note, enough := l.note, want+500
		working.Go(func() {
			runWorkers(ctx, s, fmt.Sprint(round), func(line string) {
				if note(line); l.events() >= enough {
					<-ctx.Done()
				}
			})
		})
		waitFor(t, "something to happen", func() bool { return l.events() >= want })
		before := l.copy()
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[round%3],
			RNG: rand.New(rand.NewPCG(rand.Uint64(), 1))})
		cancel()
		working.Wait()
		after := l.copy()
		s.Close()
		// What was begun until now may or may not be in the clone.
		before.deleting = after.deleting
		before.seen = l.seen
		again := openStore(t, "/store", Options{FS: clone, LargeBody: killLarge})
		before.compare(t, again)
		crash(again)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		fs, l = clone, before
	}
	t.Logf("%d crashes: %d deliveries acknowledged, %d deletions", rounds, len(l.delivered), len(l.deleted))
	if len(l.delivered) < 5*rounds || len(l.deleted) == 0 {
		t.Error("too little happened")
	}
}

// TestFullDisk fills a small file system: mail is refused, nothing is damaged,
// and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		testpart.Missing(t, fmt.Sprint("a file system of its own: ", err))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	store := filepath.Join(dir, "store")
	s := openStore(t, store, Options{MinFree: 16 << 20, LargeBody: 100 << 10})
	addAccounts(t, s, "a@x")
	n := 0
	for ; n < 3000; n++ {
		size := 60 << 10
		if n%10 == 9 {
			size = 200 << 10
		}
		err := put(s, text(fmt.Sprint(n), size), "a@x")
		if errors.Is(err, ErrFull) { // so it is thought: is it?
			time.Sleep(2 * spaceEvery)
			err = put(s, text(fmt.Sprint(n), size), "a@x")
		}
		if errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n < 50 || n == 3000 {
		t.Fatalf("refused after %d messages", n)
	}
	if r := checkClean(t, s); r.Messages != n {
		t.Errorf("%d messages, want %d", r.Messages, n)
	}
	// Deleting goes on in the octets that are kept for it, and makes room.
	box := inbox(t, s, "a@x")
	if _, err := box.remove(uids(t, box)[:n-5]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "room", func() bool { return s.room(100<<10, false) == nil })
	mustPut(t, s, text("again", 60<<10), "a@x")
	checkClean(t, s)
	box.Close()
	s.Close()

	// Somebody else fills the disk to its end: what is under way waits for
	// room instead of ending the server.
	s = openStore(t, store, Options{LargeBody: 100 << 10, Log: testLog(t)})
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	if err := put(s, text("file", 200<<10), "a@x"); !errors.Is(err, ErrFull) {
		t.Errorf("a large body on a full disk: %v", err)
	}
	if err := s.Backup(context.Background(), filepath.Join(dir, "backup")); !errors.Is(err, ErrFull) {
		t.Errorf("a backup onto a full disk: %v", err)
	}
	checkClean(t, s)
	done := make(chan error, 1)
	go func() {
		for range 400 { // more than what was allocated in advance
			if err := put(s, text("waits", 60<<10), "a@x"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		t.Fatal("nothing waited on a full disk:", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error("with room again:", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("with room again, deliveries still wait")
	}
	if r := checkClean(t, s); r.Messages != 6+400 {
		t.Errorf("%d messages, want %d", r.Messages, 6+400)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			if len(block) == 512 {
				return
			}
			block = block[:512]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestBodyFileFails lets the file system refuse at each step of a large body.
func TestBodyFileFails(t *testing.T) {
	t.Parallel()
	var armed sync.Map
	injector := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if _, on := armed.Load(op.Kind); on && strings.Contains(op.Path, "bodies") {
			return syscall.ENOSPC
		}
		return nil
	})
	s := openStore(t, "/store", Options{FS: errorfs.Wrap(vfs.NewMem(), injector), LargeBody: 1000})
	addAccounts(t, s, "a@x")
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileWrite,
		errorfs.OpFileSync, errorfs.OpOpenDir} {
		armed.Store(kind, true)
		if err := put(s, text("large", 5000), "a@x"); !errors.Is(err, ErrFull) {
			t.Errorf("operation %d failed, and the delivery: %v", kind, err)
		}
		armed.Delete(kind)
		mustPut(t, s, text("large", 5000), "a@x")
	}
	if r := checkClean(t, s); r.Messages != 4 {
		t.Errorf("%d messages, want 4", r.Messages)
	}
	files := 0
	s.eachFile(func(uint64, string) error { files++; return nil })
	if files != 4 {
		t.Errorf("%d files, want 4", files)
	}
}

// TestFlippedBit damages files: Check names the messages that are hit, and all
// others can be read.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, Options{LargeBody: 40_000})
	logins := []string{"a@x", "b@x"}
	addAccounts(t, s, logins...)
	const each = 300
	for i := range each {
		size := 4000
		if i%100 == 50 {
			size = 50_000
		}
		for _, login := range logins {
			mustPut(t, s, text(fmt.Sprintf("%s-%d", login, i), size), login)
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, pattern := range []string{"bodies/*/*", "index/*.blob", "index/*.sst"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal("no files like", pattern, err)
		}
		for range 2 {
			file := files[rand.IntN(len(files))]
			undo := flipBit(t, file)
			hits := damaged(t, dir, logins, each)
			t.Logf("%s: %d messages hit", strings.TrimPrefix(file, dir), hits)
			if strings.HasPrefix(pattern, "bodies") && hits != 1 {
				t.Errorf("one file is damaged, and %d messages are", hits)
			}
			undo()
		}
	}
	s = openStore(t, dir, Options{})
	checkClean(t, s)
}

// flipBit flips a bit in the first two thirds of a file, where data is.
func flipBit(t *testing.T, path string) (undo func()) {
	t.Helper()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte(nil), good...)
	bad[rand.IntN(len(bad)*2/3)] ^= 1 << rand.IntN(8)
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// damaged opens a damaged store on a copy, and counts the messages that its
// check names; every other message must be readable.
func damaged(t *testing.T, dir string, logins []string, each int) int {
	t.Helper()
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, work, Options{})
	defer s.Close()
	r, err := s.Check(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Found == 0 {
		t.Error("the damage was not found")
	}
	hit := make(map[string]bool)
	boxes := make(map[string]bool)
	for _, p := range r.Problems {
		if p.UID != 0 {
			hit[fmt.Sprintf("%s %d", p.Login, p.UID)] = true
		} else if p.Login != "" {
			boxes[p.Login] = true
		} else { // the list of accounts itself
			for _, login := range logins {
				boxes[login] = true
			}
		}
	}
	for _, login := range logins {
		box, err := s.Mailbox(login, Inbox)
		if err != nil {
			if !boxes[login] {
				t.Errorf("%s cannot be opened and is not named: %v", login, err)
			}
			continue
		}
		for uid := uint32(1); uid <= uint32(each); uid++ {
			if hit[fmt.Sprintf("%s %d", login, uid)] {
				continue
			}
			want := fmt.Sprintf("%s-%d", login, uid-1)
			reader, err := box.Open(uid)
			var b strings.Builder
			if err == nil {
				_, err = reader.WriteTo(&b)
				reader.Close()
			}
			if err != nil || idOfText(b.String()) != want {
				t.Errorf("%s UID %d was not named and cannot be read: %v", login, uid, err)
				return len(hit)
			}
		}
		box.Close()
	}
	return len(hit)
}

// TestPowerCutAtFirstStart cuts the power at every step of the first start and
// of the first mail behind it, and keeps nothing that was not synced: the store
// opens again each time, and has the mail once it was acknowledged.
func TestPowerCutAtFirstStart(t *testing.T) {
	t.Parallel()
	var (
		mu     sync.Mutex
		clones []*vfs.MemFS
		steps  int
	)
	disk := vfs.NewCrashableMem()
	cut := func() {
		clones = append(clones, disk.CrashClone(vfs.CrashCloneCfg{}))
	}
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if steps++; op.Kind.ReadOrWrite() == errorfs.OpIsWrite &&
			(!strings.Contains(op.Path, "bodies") || steps%16 == 0) {
			cut()
		}
		return nil
	}))
	s := openStore(t, "/var/lib/store", Options{FS: fs})
	addAccounts(t, s, "a@x")
	mustPut(t, s, text("first", 3000), "a@x")
	mu.Lock()
	cut()
	states := clones
	mu.Unlock()
	t.Logf("%d states of the disk", len(states))
	if len(states) < 20 {
		t.Error("too few")
	}
	for i, state := range states {
		again, err := Open("/var/lib/store", Options{FS: state, MinFree: -1})
		if err != nil {
			t.Fatalf("after the power was cut at write %d of %d: %v", i, len(states), err)
		}
		if i == len(states)-1 {
			if n := len(uids(t, inbox(t, again, "a@x"))); n != 1 {
				t.Errorf("%d mails, want the one that was acknowledged", n)
			}
		}
		checkClean(t, again)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// noise is a text that cannot be compressed.
func noise(n, octets int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %d\r\n\r\n", n)
	for b.Len() < octets {
		fmt.Fprintf(&b, "%016x%016x%016x%016x\r\n", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
	}
	return b.String()
}

// TestStartOnFullDisk fills the disk to its end, and starts the store again,
// after a clean end and after a kill: mail can be read and removed.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			disk := t.TempDir()
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=160m"); err != nil {
				testpart.Missing(t, fmt.Sprintf("the right to mount a file system: %v", err))
			}
			t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
			dir := filepath.Join(disk, "store")
			o := Options{MinFree: 40 << 20, LargeBody: 100 << 10, Log: testLog(t)}
			s := openStore(t, dir, o)
			addAccounts(t, s, "a@x")
			waitFor(t, "the spare file", func() bool {
				_, err := os.Stat(filepath.Join(dir, spareName))
				return err == nil
			})
			const mails = 300 // of 40 KiB, so that some are in the log alone
			for i := range mails {
				mustPut(t, s, noise(i, 40<<10), "a@x")
			}
			mustPut(t, s, noise(mails, 200<<10), "a@x")
			if how == "closed" {
				must(t, s.Close())
			} else {
				crash(s)
			}
			filler := filepath.Join(disk, "filler")
			fill(t, filler)

			began := time.Now()
			s = openStore(t, dir, o)
			if took := time.Since(began); took >= openPatience {
				t.Errorf("it took %v to open", took)
			}
			address := servePOP3(t, s)
			if err := put(s, "more", "a@x"); !errors.Is(err, ErrFull) {
				t.Errorf("mail on a full disk: %v", err)
			}
			c := popSignIn(t, address, "a@x")
			for n := 1; n <= mails+1; n++ {
				if n%50 == 1 {
					c.ask("+OK", "RETR %d", n)
					c.lines()
				}
				c.ask("+OK", "DELE %d", n)
			}
			c.ask("+OK", "QUIT")
			checkClean(t, s)
			must(t, os.Remove(filler))
			waitFor(t, "room", func() bool { return put(s, "again", "a@x") == nil })
			must(t, s.Close())
			s = openStore(t, dir, o)
			waitFor(t, "the spare file", func() bool {
				_, err := os.Stat(filepath.Join(dir, spareName))
				return err == nil
			})
			if r := checkClean(t, s); r.Messages != 1 {
				t.Errorf("%d messages, want 1", r.Messages)
			}
		})
	}
}

// TestCloseIsBounded closes a store while an operation does not end, and one
// whose writers wait for room on a full disk.
func TestCloseIsBounded(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	fatal := func(err error) { t.Error("the process would have ended:", err) }
	closes := func(t *testing.T, s *Store) error {
		began := time.Now()
		err := s.Close()
		if took := time.Since(began); took > closePatience+2*time.Second {
			t.Errorf("it took %v", took)
		}
		return err
	}
	t.Run("busy", func(t *testing.T) {
		t.Parallel()
		s, err := Open("/store", Options{FS: vfs.NewMem(), MinFree: -1, Fatal: fatal})
		must(t, err)
		must(t, s.enter())
		if err := closes(t, s); !errors.Is(err, errBusy) {
			t.Errorf("closed: %v", err)
		}
		s.leave()
	})
	t.Run("slow sender", func(t *testing.T) {
		t.Parallel()
		s, err := Open("/store", Options{FS: vfs.NewMem(), MinFree: -1, Fatal: fatal})
		must(t, err)
		must(t, s.CreateAccount("a@x"))
		in, out := io.Pipe()
		staged := make(chan *Staged)
		go func() {
			st, err := s.Stage(in)
			if err != nil {
				t.Error(err)
			}
			staged <- st
		}()
		_, err = io.WriteString(out, "Subject: half\r\n")
		must(t, err)
		must(t, closes(t, s))
		must(t, out.Close())
		if err := (<-staged).Put(context.Background(), []Recipient{{Login: "a@x"}}); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed store took mail: %v", err)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
			testpart.Missing(t, fmt.Sprintf("the right to mount a file system: %v", err))
		}
		t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
		s, err := Open(filepath.Join(dir, "store"), Options{MinFree: -1, Log: testLog(t), Fatal: fatal})
		must(t, err)
		addAccounts(t, s, "a@x")
		fill(t, filepath.Join(dir, "filler"))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for i := range 1000 {
				if err := put(s, noise(i, 60<<10), "a@x"); err != nil {
					return
				}
			}
		}()
		select {
		case <-ended:
			t.Error("nothing waited on a full disk")
		case <-time.After(time.Second):
		}
		if err := closes(t, s); err == nil {
			t.Error("it closed well on a full disk")
		}
	})
}
