// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/imapd"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestFlagsCopyMove(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{})
	addAccounts(t, s, "a@x")
	for i := range 3 {
		mustPut(t, s, text(fmt.Sprint(i), 50_000), "a@x")
	}
	box := inbox(t, s, "a@x")
	got, err := box.changeFlags([]uint32{1, 2, 7}, imapd.AddFlags, []string{`\seen`, "$Later", `\Recent`}, nil)
	if err != nil || len(got) != 2 || !slices.Equal(got[0].msg.flagNames(), []string{`\Seen`, "$Later"}) {
		t.Fatal(got, err)
	}
	if st := mustStatus(t, box); st.Unseen != 1 {
		t.Errorf("%d unseen, want 1", st.Unseen)
	}
	if _, err := box.transfer([]uint32{1, 3}, "Archive", false); err != nil {
		t.Fatal(err)
	}
	if _, err := box.transfer([]uint32{1}, Inbox, false); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s)
	if _, err := box.transfer([]uint32{1, 2}, "Trash", true); err != nil {
		t.Fatal(err)
	}
	if _, err := box.transfer([]uint32{3}, Inbox, true); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s)
	if got := uids(t, box); !slices.Equal(got, []uint32{4, 5}) {
		t.Errorf("INBOX has %v", got)
	}
	if _, err := box.transfer([]uint32{4}, "None", false); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("copied into none: %v", err)
	}
	original := contents(t, box)[4]
	if err := s.DeleteMailbox("a@x", "Archive"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMailbox("a@x", "Trash"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "removed mailboxes to be emptied", func() bool { return countKeys(t, s, keyTrash) == 0 })
	if contents(t, box)[4] != original {
		t.Error("a copy went with its original")
	}
	checkClean(t, s)
	if err := s.DeleteAccount("a@x"); err != nil {
		t.Fatal(err)
	}
	if _, err := box.Status(); !errors.Is(err, ErrNoMailbox) {
		t.Errorf("the mailbox of a removed account: %v", err)
	}
	waitFor(t, "the removed account to be emptied", func() bool { return countKeys(t, s, keyTrash) == 0 })
	if n := countKeys(t, s, keyChunk) + countKeys(t, s, keyShares) + countKeys(t, s, keyCounters) +
		countKeys(t, s, keyMailbox); n != 0 {
		t.Errorf("%d keys of a removed account are left", n)
	}
	addAccounts(t, s, "a@x")
	checkClean(t, s)
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for", what)
		}
	}
}

func TestMaildropKeepsMessages(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{})
	addAccounts(t, s, "a@x")
	mustPut(t, s, "one\r\n", "a@x")
	pop, other := inbox(t, s, "a@x"), inbox(t, s, "a@x")
	if _, err := pop.Hold(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Hold(); !errors.Is(err, ErrInUse) {
		t.Errorf("held twice: %v", err)
	}
	for name, try := range map[string]func() error{
		"remove": func() error { _, err := other.remove([]uint32{1}); return err },
		"move":   func() error { _, err := other.transfer([]uint32{1}, "Trash", true); return err },
		"rename": func() error { return s.RenameMailbox("a@x", Inbox, "Old") },
	} {
		if err := try(); !errors.Is(err, ErrInUse) {
			t.Errorf("%s beside a POP3 session: %v", name, err)
		}
	}
	if n, err := s.Expire(context.Background(), time.Now().Add(time.Hour),
		func(string, string) bool { return true }); n != 0 || err != nil {
		t.Errorf("expired %d beside a POP3 session: %v", n, err)
	}
	if _, err := other.transfer([]uint32{1}, "Trash", false); err != nil {
		t.Error("a copy harms nobody:", err)
	}
	if n, err := pop.remove([]uint32{1}); n != 1 || err != nil {
		t.Error(n, err)
	}
	pop.Close()
	if _, err := other.Hold(); err != nil {
		t.Error("after the session:", err)
	}
}

func TestQuotasAndRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Quotas: Quotas{Login: 10_000, Logins: map[string]int64{"big@x": 0},
		Domains: map[string]int64{"x": 25_000}}}
	s := openStore(t, dir, o)
	addAccounts(t, s, "a@x", "big@x", "a@y")
	if err := s.Fits("a@x", 10_001); !errors.Is(err, ErrTooLarge) {
		t.Errorf("larger than the quota: %v", err)
	}
	mustPut(t, s, text("", 6000), "a@x")
	if err := s.Fits("a@x", 6000); !errors.Is(err, ErrQuota) {
		t.Errorf("over quota: %v", err)
	}
	var bad *RecipientError
	if err := put(s, text("", 6000), "a@y", "a@x"); !errors.Is(err, ErrQuota) ||
		!errors.As(err, &bad) || bad.Login != "a@x" {
		t.Errorf("over quota: %v", err)
	}
	if len(uids(t, inbox(t, s, "a@y"))) != 0 {
		t.Error("one recipient over quota, and another one got the message")
	}
	mustPut(t, s, text("", 15_000), "big@x")
	if err := s.Fits("big@x", 6000); !errors.Is(err, ErrQuota) {
		t.Errorf("over the domain's quota: %v", err)
	}
	s.Close()
	s = openStore(t, dir, o)
	if err := s.Fits("big@x", 6000); !errors.Is(err, ErrQuota) {
		t.Errorf("after a start, over the domain's quota: %v", err)
	}
	if _, err := inbox(t, s, "a@x").remove([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Fits("big@x", 6000), s.Fits("a@x", 6000)); err != nil {
		t.Error("after a removal:", err)
	}
	s.Close()
	s = openStore(t, dir, Options{MinFree: math.MaxInt64 / 2})
	if err := put(s, "x", "a@x"); !errors.Is(err, ErrFull) {
		t.Errorf("with no room: %v", err)
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{})
	addAccounts(t, s, "a@x")
	for range 2*cleanBatch + 3 {
		if err := deliverTo(s, "a@x", `\Trash`, "Trash"); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, s, "kept", "a@x")
	box, err := s.Mailbox("a@x", "Trash")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if _, err := box.changeFlags([]uint32{5}, imapd.AddFlags, []string{`\Flagged`}, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Expire(context.Background(), time.Now().Add(-time.Minute),
		Named([]string{"trash"})); n != 0 || err != nil {
		t.Error("young mail expired:", n, err)
	}
	if n, err := s.Expire(context.Background(), time.Now().Add(time.Minute),
		Named([]string{"trash"})); n != 2*cleanBatch+2 || err != nil {
		t.Error("expired:", n, err)
	}
	if got := uids(t, box); !slices.Equal(got, []uint32{5}) {
		t.Error("left:", got)
	}
	checkClean(t, s)
}

func deliverTo(s *Store, login, use, name string) error {
	st, err := s.Stage(strings.NewReader("x\r\n"))
	if err != nil {
		return err
	}
	defer st.Abort()
	return st.Put(context.Background(), []Recipient{{Login: login, Use: use, Mailbox: name}})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{LargeBody: 1000})
	addAccounts(t, s, "a@x", "b@x")
	large := text("large", 5000)
	mustPut(t, s, large, "a@x")
	mustPut(t, s, "small", "a@x")
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			if err := put(s, large, "b@x"); err != nil {
				t.Error(err)
			}
			if _, err := inbox(t, s, "b@x").remove(uids(t, inbox(t, s, "b@x"))); err != nil {
				t.Error(err)
			}
		}
	})
	dir := filepath.Join(t.TempDir(), "backup")
	err := s.Backup(context.Background(), dir)
	cancel()
	writing.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inbox(t, s, "a@x").remove([]uint32{1, 2}); err != nil {
		t.Fatal(err)
	}
	checkClean(t, s)
	again := openStore(t, dir, Options{})
	if got := contents(t, inbox(t, again, "a@x")); !strings.HasSuffix(got[1], large) ||
		!strings.HasSuffix(got[2], "small") {
		t.Errorf("the backup has %d messages", len(got))
	}
	checkClean(t, again)
	if err := s.Backup(context.Background(), dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("a backup over another: %v", err)
	}
}

func TestReaderSkips(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), Options{FS: vfs.NewMem(), LargeBody: 3 * chunkSize})
	addAccounts(t, s, "a@x")
	for i, size := range []int{10, chunkSize, 2*chunkSize + 5, 4 * chunkSize} {
		body := text("", size)
		mustPut(t, s, body, "a@x")
		want := "Delivered-To: a@x\r\n" + body
		for _, skip := range []int{0, 5, 19, 20, chunkSize, len(want) - 1, len(want), len(want) + 9} {
			r, err := inbox(t, s, "a@x").Open(uint32(i + 1))
			if err != nil {
				t.Fatal(err)
			}
			r.Skip(int64(skip))
			var b bytes.Buffer
			if _, err := r.WriteTo(&b); err != nil || b.String() != want[min(skip, len(want)):] {
				t.Errorf("size %d, skipped %d: %d octets, %v", size, skip, b.Len(), err)
			}
			r.Close()
		}
	}
}

func TestBareLF(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "\n": 1, "\r\n": 0, "a\nb\n": 2, "a\r\nb\n\r\n\n": 2, "\r\r\n": 0} {
		for cut := range len(text) + 1 {
			var m meter
			m.Write([]byte(text[:cut]))
			m.Write([]byte(text[cut:]))
			if m.bare != want {
				t.Errorf("%q cut at %d: %d bare LFs, want %d", text, cut, m.bare, want)
			}
		}
	}
}
