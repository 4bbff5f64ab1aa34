// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testLog keeps a test from ending in silence when Pebble gives up.
func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func openStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.MinFree == 0 {
		o.MinFree = -1
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func addAccounts(t testing.TB, s *Store, logins ...string) {
	t.Helper()
	for _, login := range logins {
		if err := s.CreateAccount(login, DefaultFolders...); err != nil {
			t.Fatal(err)
		}
	}
}

// put delivers a text to logins.
func put(s *Store, text string, logins ...string) error {
	st, err := s.Stage(strings.NewReader(text))
	if err != nil {
		return err
	}
	defer st.Abort()
	var to []Recipient
	for _, login := range logins {
		to = append(to, Recipient{Login: login, Prefix: []byte("Delivered-To: " + login + "\r\n")})
	}
	return st.Put(context.Background(), to)
}

func mustPut(t testing.TB, s *Store, text string, logins ...string) {
	t.Helper()
	if err := put(s, text, logins...); err != nil {
		t.Fatal(err)
	}
}

func text(subject string, octets int) string {
	head := "Subject: " + subject + "\r\n\r\n"
	line := strings.Repeat("x", 70) + "\r\n"
	return head + strings.Repeat(line, max(octets-len(head), 0)/len(line)+1)
}

func inbox(t testing.TB, s *Store, login string) *Mailbox {
	t.Helper()
	box, err := s.Mailbox(login, Inbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	return box
}

// contents reads every message of a mailbox, by UID.
func contents(t testing.TB, box *Mailbox) map[uint32]string {
	t.Helper()
	found := make(map[uint32]string)
	for _, uid := range uids(t, box) {
		r, err := box.Open(uid)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		found[uid] = string(b)
	}
	return found
}

func uids(t testing.TB, box *Mailbox) (list []uint32) {
	t.Helper()
	if err := box.list(0, math.MaxUint32, func(uid uint32, _ *message) bool {
		list = append(list, uid)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// checkClean runs Check and wants no problem.
func checkClean(t testing.TB, s *Store) *Report {
	t.Helper()
	r, err := s.Check(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error("check:", p)
	}
	return r
}

func TestDeliveryToSeveral(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{LargeBody: 128 << 10})
	addAccounts(t, s, "a@x", "b@x", "c@x")
	small, chunked, large := text("small", 100), text("chunked", 3*chunkSize), text("large", 200<<10)
	for _, body := range []string{small, chunked, large} {
		mustPut(t, s, body, "a@x", "b@x")
	}
	for _, login := range []string{"a@x", "b@x"} {
		got := contents(t, inbox(t, s, login))
		for i, body := range []string{small, chunked, large} {
			if want := "Delivered-To: " + login + "\r\n" + body; got[uint32(i+1)] != want {
				t.Errorf("%s: message %d differs: %d octets, want %d", login, i+1, len(got[uint32(i+1)]), len(want))
			}
		}
		st, _ := inbox(t, s, login).Status()
		if want := int64(len(small) + len(chunked) + len(large) + 3*len("Delivered-To: a@x\r\n")); st.Messages != 3 ||
			st.Unseen != 3 || st.Octets != want || st.Next != 4 {
			t.Errorf("%s: status %+v, want 3 messages of %d octets", login, st, want)
		}
	}
	var bad *RecipientError
	if err := put(s, small, "a@x", "nobody@x"); !errors.As(err, &bad) ||
		bad.Login != "nobody@x" || !errors.Is(err, ErrNoAccount) {
		t.Errorf("to nobody: %v", err)
	}
	if n := len(uids(t, inbox(t, s, "a@x"))); n != 3 {
		t.Errorf("a refused delivery left %d messages", n)
	}
	checkClean(t, s)
	// Bodies go with the last message that has them.
	for i, login := range []string{"a@x", "b@x"} {
		if n, err := inbox(t, s, login).remove([]uint32{1, 2, 3, 9}); n != 3 || err != nil {
			t.Fatal(n, err)
		}
		checkClean(t, s)
		files := 0
		s.eachFile(func(uint64, string) error { files++; return nil })
		if files != 1-i {
			t.Errorf("%d files are left after the removal of %d", files, i+1)
		}
	}
	if n := countKeys(t, s, keyChunk) + countKeys(t, s, keyShares) + countKeys(t, s, keyFile) +
		countKeys(t, s, keyMessage); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func countKeys(t testing.TB, s *Store, kind byte) (n int) {
	t.Helper()
	if err := s.eachOf(s.db, kind, func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUIDs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	addAccounts(t, s, "a@x")
	mustPut(t, s, "one\r\n", "a@x")
	mustPut(t, s, "two\r\n", "a@x")
	box := inbox(t, s, "a@x")
	validity := mustStatus(t, box).Validity
	if _, err := box.remove([]uint32{2}); err != nil {
		t.Fatal(err)
	}
	box.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// After a clean end the next UID follows; a removed one does not return.
	s = openStore(t, dir, Options{})
	mustPut(t, s, "three\r\n", "a@x")
	box = inbox(t, s, "a@x")
	if got := uids(t, box); !slices.Equal(got, []uint32{1, 3}) {
		t.Errorf("UIDs %v", got)
	}
	if v := mustStatus(t, box).Validity; v != validity {
		t.Errorf("UIDVALIDITY changed from %d to %d", validity, v)
	}
	// Without one, those that may have been seen are left out.
	box.Close()
	crash(s)
	s = openStore(t, dir, Options{})
	crash(s)
	s = openStore(t, dir, Options{})
	mustPut(t, s, "four\r\n", "a@x")
	mustPut(t, s, "five\r\n", "a@x")
	if got, want := uids(t, inbox(t, s, "a@x")),
		[]uint32{1, 3, 4 + 2*uidSkip, 5 + 2*uidSkip}; !slices.Equal(got, want) {
		t.Errorf("UIDs %v, want %v", got, want)
	}
	checkClean(t, s)
}

func mustStatus(t testing.TB, box *Mailbox) Status {
	t.Helper()
	st, err := box.Status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// crash ends a store without the mark of a clean end.
func crash(s *Store) {
	s.closed.Store(true)
	s.cancel()
	s.working.Wait()
	s.open.Lock()
	defer s.open.Unlock()
	s.db.Close()
	s.lock.Close()
}

func TestSecondProcessAndFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opened twice: %v", err)
	}
	if r, err := Open(filepath.Join(dir, "FORMAT", "x"), Options{}); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("opened below a file: %v, %v", r, err)
	}
	s.Close()
	if err := put(s, "x", "a@x"); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed store took mail: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(),
		"format 2, this one knows up to 1") {
		t.Errorf("a newer format was opened: %v", err)
	}
}
